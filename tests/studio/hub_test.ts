/**
 * The engine with a hub on this machine: what it answers, and models that come from it.
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { AutoModelForCausalLM, AutoTokenizer, exportGguf } from "../../mod.ts";
import type { ErrorKind, Progress } from "../../studio/protocol.ts";
import { type FakeHub, serveHub } from "../io/fake_hub.ts";
import { ASSETS, refusalOf, type Started, startEngine } from "./harness.ts";

const SOURCE = { kind: "hub", repo: "org/tiny" } as const;

/** A hub with the built-in model's files. */
async function hubWithModel(): Promise<FakeHub> {
  const hub = serveHub();
  hub.files.clear();
  for (const { name } of Deno.readDirSync(ASSETS.model)) {
    hub.files.set(name, await Deno.readFile(ASSETS.model + name));
  }
  return hub;
}

async function startedWith(hub: FakeHub): Promise<Started> {
  const started = startEngine();
  await started.client.call("start", { assetsUrl: "http://127.0.0.1:1/", hubEndpoint: hub.url });
  return started;
}

Deno.test("the engine: a hub's model comes once, with progress, goes on after a cancelled download, and works without network", async () => {
  const hub = await hubWithModel();
  try {
    const { client, root } = await startedWith(hub);
    const progress: Progress[] = [];
    const model = await client.call("openModel", { source: SOURCE }, {
      onEvent: (event) => void (event.event === "progress" && progress.push(event.progress)),
    });
    assertEquals([model.name, model.parameters], ["org/tiny", 908_032]);
    const loads = progress.filter(({ phase, file }) => phase === "download" && file === "model.safetensors");
    assertEquals([loads.at(-1)?.done, loads.at(-1)?.total], [3_637_160, 3_637_160]);
    const hits = hub.hits.length;
    await client.call("openModel", { source: { ...SOURCE, repo: `${hub.url}/org/tiny/` } }); // as pasted from its page
    assertEquals(hub.hits.length, hits);
    const { entries } = await client.call("storage", {});
    assertEquals(entries.map(({ kind, name, inUse }) => [kind, name, inUse]), [["model", "org/tiny", true]]);
    await refusalOf(client.call("deleteStored", { entryId: entries[0].entryId }), "busy");

    hub.api = () => new Response("down", { status: 503, headers: { "Retry-After": "0" } });
    await client.call("openModel", { source: SOURCE });
    hub.api = undefined;
    await client.call("closeModel", {});
    await client.call("deleteStored", { entryId: entries[0].entryId });
    assert(root.quota.used < 1000, `${root.quota.used} bytes are left`);

    const abort = new AbortController();
    const cut = client.call("openModel", { source: SOURCE }, {
      signal: abort.signal,
      onEvent: (event) => {
        if (event.event === "progress" && event.progress.file === "model.safetensors") abort.abort();
      },
    });
    await refusalOf(cut, "cancelled");
    await client.call("openModel", { source: SOURCE });
    await client.call("closeModel", {});
  } finally {
    await hub.stop();
  }
});

Deno.test("the engine: a hub's GGUF file is opened, of several the named one", async () => {
  const hub = await hubWithModel();
  const folder = await Deno.makeTempDir();
  try {
    const base = await AutoModelForCausalLM.fromPretrained(ASSETS.model);
    const tokenizer = await AutoTokenizer.fromPretrained(ASSETS.model);
    await exportGguf(base, `${folder}/m.gguf`, { dtype: "q8_0", tokenizer });
    base.dispose();
    hub.files.clear();
    hub.files.set("tiny-Q8_0.gguf", await Deno.readFile(`${folder}/m.gguf`));
    const { client } = await startedWith(hub);
    const model = await client.call("openModel", { source: SOURCE });
    assertEquals([model.name, model.format, model.ggufProblem], ["org/tiny", "q8_0", null]);
    const ask = {
      messages: [{ role: "user", content: "Once upon a time" }],
      temperature: 0,
      maxNewTokens: 5,
    } as const;
    const { text } = await client.call("chat", ask);
    hub.files.set("tiny-F16.gguf", new Uint8Array(9));
    const several = await refusalOf(client.call("openModel", { source: SOURCE }), "bad-settings");
    assertStringIncludes(several.detail, '"tiny-Q8_0.gguf"');
    await client.call("openModel", { source: { ...SOURCE, file: "tiny-Q8_0.gguf" } });
    assertEquals((await client.call("chat", ask)).text, text);

    // The same file, dropped.
    const bytes = await Deno.readFile(`${folder}/m.gguf`);
    const files = [{ path: "m.gguf", file: new File([bytes], "m.gguf") }];
    await client.call("openModel", { source: { kind: "files", name: "m.gguf", files } });
    assertEquals((await client.call("chat", ask)).text, text);
    const cut = [{ path: "m.gguf", file: new File([bytes.subarray(0, bytes.length / 2)], "m.gguf") }];
    await refusalOf(
      client.call("openModel", { source: { kind: "files", name: "m.gguf", files: cut } }),
      "bad-file",
    );
    await client.call("closeModel", {});
  } finally {
    await hub.stop();
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the engine: what a hub answers is told in plain words", async () => {
  const hub = await hubWithModel();
  const { client } = await startedWith(hub);
  const answers: [status: number, kind: ErrorKind][] = [
    ...[[401, "hub-login"], [403, "hub-gated"], [404, "hub-missing"], [429, "hub-busy"]] as const,
  ].map(([status, kind]) => [status, kind]);
  const waits: string[] = [];
  try {
    for (const [status, kind] of answers) {
      hub.api = () => new Response("no", { status, headers: { "Retry-After": "0.01" } });
      const call = client.call("openModel", { source: SOURCE }, {
        onEvent: (event) => void (event.event === "progress" && waits.push(event.progress.text)),
      });
      await refusalOf(call, kind);
    }
    assert(waits.some((text) => text.startsWith("The hub asks to wait")), waits.join(", "));
    hub.api = undefined;
    hub.files.clear();
    hub.files.set("pytorch_model.bin", new Uint8Array(9));
    await refusalOf(client.call("openModel", { source: SOURCE }), "pickle");
    await refusalOf(client.call("openModel", { source: { kind: "hub", repo: "no name" } }), "bad-settings");
  } finally {
    await hub.stop();
  }
  await refusalOf(client.call("openModel", { source: SOURCE }), "hub-silent");
  const url = "http://127.0.0.1:1/model.gguf";
  await refusalOf(client.call("openModel", { source: { kind: "url", url } }), "hub-silent");
});
