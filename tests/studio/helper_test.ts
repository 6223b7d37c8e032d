/**
 * The engine of a tab that works for others: which base a tab has, and what keeps it from joining.
 * @module
 */
import { assertEquals, assertMatch } from "@std/assert";
import { findBase } from "../../cli/sweep/files.ts";
import { Helper } from "../../studio/engine/helper.ts";
import type { ModelSource, Progress } from "../../studio/protocol.ts";
import { freePort } from "../free_port.ts";
import { encoder, serveHub } from "../io/fake_hub.ts";
import { FakeDirectory } from "../io/fake_handles.ts";
import { inFolder } from "../train/tiny_run.ts";
import { ASSETS, file, refusalOf, startEngine, withAssets } from "./harness.ts";

/** An engine whose page offers to work for others. */
const startHelper = (locks?: { request: unknown }) =>
  startEngine(new FakeDirectory(), locks, (bench, send) => new Helper(bench, send));

Deno.test("the engine: a base that a tab takes from anywhere is known by the hash by which ./run worker knows it", () =>
  withAssets((assetsUrl) =>
    inFolder(async (folder) => {
      const hub = serveHub();
      try {
        hub.files.clear();
        hub.files.set("README.md", encoder.encode("not a part of it"));
        const names = [...Deno.readDirSync(ASSETS.model)].map(({ name }) => name);
        for (const name of names) hub.files.set(name, await Deno.readFile(ASSETS.model + name));
        const { client } = startHelper();
        await client.call("start", { assetsUrl, hubEndpoint: hub.url });
        const progress: Progress[] = [];
        const hashOf = async (source: ModelSource) => {
          const onEvent = (event: unknown) => {
            const { progress: one } = event as { progress?: Progress };
            if (one?.phase === "verify") progress.push(one);
          };
          return (await client.call("chooseBase", { source }, { onEvent })).hash;
        };
        const { hash } = await findBase(ASSETS.model);
        assertEquals(await hashOf({ kind: "builtin" }), hash);
        const { done, total, unit } = progress.at(-1)!;
        assertEquals([done, unit], [total, "bytes"]);
        assertEquals(await hashOf({ kind: "hub", repo: "org/tiny" }), hash);
        const files = [...hub.files].map(([name, bytes]) => file(`a folder/${name}`, bytes as BlobPart));
        assertEquals(await hashOf({ kind: "files", name: "a folder", files }), hash);

        const path = `${folder}/tiny.gguf`;
        const gguf = encoder.encode("GGUF and the rest, which nobody reads yet");
        await Deno.writeFile(path, gguf);
        const one = { kind: "files", name: "tiny.gguf", files: [file("tiny.gguf", gguf)] } as const;
        assertEquals(await hashOf(one), (await findBase(path)).hash);
        await refusalOf(
          client.call("chooseBase", { source: { ...one, files: [file("a.txt", "?")] } }),
          "bad-file",
        );
      } finally {
        await hub.stop();
      }
    })
  ));

Deno.test("the engine: a tab joins no broker that is not there, none without a base, and beside another tab it keeps nothing", () =>
  withAssets(async (assetsUrl) => {
    const taken = {
      request: (_name: string, _options: unknown, body: (lock: unknown) => unknown) =>
        Promise.resolve(void body(null)),
    };
    const { client, root } = startHelper(taken);
    const environment = await client.call("start", { assetsUrl, worksBesideOthers: true });
    assertEquals([environment.problem, environment.storage.isAvailable], [null, false]);
    const broker = `ws://127.0.0.1:${freePort()}`;
    assertEquals(
      (await refusalOf(client.call("join", { broker }), "not-open")).title,
      "No base model is chosen.",
    );
    await client.call("chooseBase", { source: { kind: "builtin" } });
    const { title, detail } = await refusalOf(client.call("join", { broker }), "broker-silent");
    assertEquals(title, "No broker answers at this address.");
    assertMatch(detail, /^Cannot connect to NATS at ws:/);
    assertEquals(root.quota.used, 0);

    const studio = startEngine();
    await studio.client.call("start", { assetsUrl });
    await refusalOf(studio.client.call("chooseBase", { source: { kind: "builtin" } }), "internal");
  }));
