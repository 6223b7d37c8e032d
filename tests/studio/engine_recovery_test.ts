/**
 * The engine when a run is paused, stopped or cut off: nothing is lost, and nothing changes.
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { currentDevice } from "../../gpu/mod.ts";
import { FakeDirectory } from "../io/fake_handles.ts";
import {
  adapterBytes,
  ASSETS,
  file,
  lossesOf,
  ready,
  refusalOf,
  type Started,
  startEngine,
  trainEvents,
  withAssets,
} from "./harness.ts";

Deno.test("the engine: a paused run answers, a stopped one is kept or not, and a lost device changes nothing", async () => {
  await withAssets(async (assetsUrl) => {
    const started = await ready(assetsUrl);
    const { client, settings } = started;
    const whole = trainEvents();
    const { adapter } = await client.call("train", { settings }, whole);
    const bytes = await adapterBytes(started, adapter!.adapterId);

    let reached = () => {};
    const first = new Promise<void>((resolve) => reached = resolve);
    const follow = trainEvents();
    const training = client.call("train", { settings }, {
      onEvent: (event) => {
        follow.onEvent(event);
        if (event.event === "train" && event.train.type === "step") reached();
      },
    });
    await refusalOf(client.call("train", { settings }), "busy"); // a button pressed twice
    await first;
    await refusalOf(client.call("openModel", { source: { kind: "builtin" } }), "busy");
    await refusalOf(client.call("chat", { messages: [{ role: "user", content: "A" }] }), "busy");
    await client.call("pause", {});
    const ask = { messages: [{ role: "user", content: "Once" }], temperature: 0, maxNewTokens: 4 } as const;
    const base = await client.call("chat", { ...ask, speaker: { kind: "base" } });
    await client.call("chat", { ...ask, speaker: { kind: "training" } });
    await refusalOf(
      client.call("chat", { ...ask, speaker: { kind: "adapter", adapterId: adapter!.adapterId } }),
      "busy",
    );
    assertEquals(base.tokens, 4);
    await client.call("continue", {});
    const second = await training;
    assertEquals(lossesOf(follow.events), lossesOf(whole.events));
    assertEquals(await adapterBytes(started, second.adapter!.adapterId), bytes);

    const lost = trainEvents();
    let losses = 0;
    const recovered = await client.call("train", { settings }, {
      onEvent: (event) => {
        lost.onEvent(event);
        if (event.event !== "train" || event.train.type !== "step" || event.train.step !== 3) return;
        if (losses++ === 0) currentDevice().destroy();
      },
    });
    assertEquals(started.events.map(({ event }) => event), ["deviceLost"]);
    assert(lost.events.some((event) => event.type === "phase" && event.phase === "recovering"));
    const begins = lost.events.filter((event) => event.type === "begin");
    assertEquals(begins.map(({ step }) => step), [0, 2]);
    assertEquals(await adapterBytes(started, recovered.adapter!.adapterId), bytes);

    for (const keep of [true, false]) {
      const stopped = client.call("train", { settings: { ...settings, steps: 50, checkpointEvery: 0 } }, {
        onEvent: (event) => {
          if (event.event === "train" && event.train.type === "step" && event.train.step === 1) {
            void client.call("stop", { keep });
          }
        },
      });
      const { end, step, adapter } = await stopped;
      assertEquals([end, step < 50, adapter !== null], ["stopped", true, keep]);
      const runs = await client.call("resumable", {});
      assertEquals(runs.map(({ steps }) => steps), keep ? [50] : [50]);
    }
    await client.call("discardRun", { runId: (await client.call("resumable", {}))[0].runId });
    assertEquals(await client.call("resumable", {}), []);

    const abort = new AbortController();
    const cut = client.call("chat", { ...ask, maxNewTokens: 100, speaker: { kind: "base" } }, {
      signal: abort.signal,
      onEvent: () => abort.abort(),
    });
    assertEquals((await cut).end, "cancelled");
    await client.call("closeModel", {});
  });
});

Deno.test("the engine: a run with dropped files goes on in another tab, once they are dropped again", async () => {
  await withAssets(async (assetsUrl) => {
    const names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    const files = await Promise.all(
      names.map(async (name) => file(`tiny/${name}`, await Deno.readFile(ASSETS.model + name))),
    );
    const rows = file("rows.jsonl", await Deno.readFile(`${ASSETS.data}pirate_held_out.jsonl`));
    const root = new FakeDirectory();
    const open = async (started: Started) => {
      const { client } = started;
      await client.call("start", { assetsUrl });
      const model = await client.call("openModel", { source: { kind: "files", name: "tiny", files } });
      assertEquals([model.name, model.parameters], ["tiny", 908_032]);
      await client.call("openData", { source: { kind: "files", files: [rows] }, length: 32 });
      const suggested = await client.call("suggest", {});
      return { ...suggested, steps: 4, batchSize: 2, checkpointEvery: 2, evalEvery: 0, sampleEvery: 0 };
    };
    const first = startEngine(root);
    const settings = await open(first);
    const whole = await first.client.call("train", { settings });
    const bytes = await adapterBytes(first, whole.adapter!.adapterId);
    let third = () => {};
    const reached = new Promise<void>((resolve) => third = resolve);
    // The tab is closed while it trains: the other finds what is stored then.
    const training = first.client.call("train", { settings }, {
      onEvent: (event) =>
        event.event === "train" && event.train.type === "step" && event.train.step === 3 && third(),
    });
    await reached;
    await first.client.call("pause", {});
    const stored = root.copy();
    await first.client.call("stop", { keep: false });
    await training;
    await first.client.call("closeModel", {});

    const second = startEngine(stored);
    const { client } = second;
    await client.call("start", { assetsUrl });
    const [run] = await client.call("resumable", {});
    assertEquals([run.modelName, run.dataName, run.step >= 3, run.needsFiles], [
      "tiny",
      "rows.jsonl",
      true,
      names,
    ]);
    const missing = await refusalOf(client.call("resumeRun", { runId: run.runId }), "bad-file");
    assertStringIncludes(missing.title, '"config.json"');
    const others = files.map(({ path }) => file(path, "something else"));
    await refusalOf(client.call("resumeRun", { runId: run.runId, files: others }), "bad-file");
    const resumed = await client.call("resumeRun", { runId: run.runId, files });
    assertEquals(await adapterBytes(second, resumed.adapter!.adapterId), bytes);
    await client.call("closeModel", {});

    // A device that is lost while nothing runs is told of at once, and the model can be opened again.
    await client.call("openModel", { source: { kind: "builtin" } });
    currentDevice().destroy();
    await client.call("adapters", {});
    for (let tries = 0; second.events.length === 0 && tries < 50; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    assertEquals(second.events.map((event) => event.event === "deviceLost" && event.recovering), [false]);
    await refusalOf(client.call("chat", { messages: [{ role: "user", content: "A" }] }), "not-open");
    await client.call("openModel", { source: { kind: "builtin" } });
    await client.call("closeModel", {});
  });
});

Deno.test("the engine: a full storage costs the checkpoint alone, and the adapter stays in memory", async () => {
  await withAssets(async (assetsUrl) => {
    const root = new FakeDirectory();
    const { client, settings } = await ready(assetsUrl, { root });
    const follow = trainEvents();
    root.quota.limit = root.quota.used + 300_000; // less than one checkpoint
    const { end, adapter } = await client.call("train", { settings }, follow);
    const failed = follow.events.filter((event) => event.type === "checkpointFailed");
    assertEquals([end, failed.map(({ step }) => step)], ["done", [2, 4]]);
    assertEquals(failed[0].error.kind, "storage-full");
    root.quota.limit = root.quota.used;
    const full = await client.call("train", { settings });
    assertStringIncludes(full.adapter!.note, "take it home before the tab is closed");
    assertEquals((await client.call("adapters", {})).length, adapter ? 2 : 1);
    const { bytes } = await client.call("export", { what: "peft", adapterId: full.adapter!.adapterId });
    assert(bytes > 200_000);
    await client.call("closeModel", {});
  });
});
