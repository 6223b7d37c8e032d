/**
 * The engine behind its messages, in this process: the road from a model to an adapter, and everything that may go wrong.
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { DataFacts, NamedFile, TrainEvent, TrainingSettings } from "../../studio/protocol.ts";
import { currentDevice } from "../../gpu/mod.ts";
import { FakeDirectory } from "../io/fake_handles.ts";
import { refusalOf, serveAssets, type Started, startEngine, trainEvents } from "./harness.ts";

/** Starts an engine with the built-in model and short rows of the sample data. */
async function ready(
  assetsUrl: string,
  options: { root?: FakeDirectory; memoryBudget?: number } = {},
): Promise<Started & { data: DataFacts; settings: TrainingSettings }> {
  const started = startEngine(options.root);
  const { client } = started;
  await client.call("start", { assetsUrl, memoryBudget: options.memoryBudget });
  await client.call("openModel", { source: { kind: "builtin" } });
  const data = await client.call("openData", { source: { kind: "sample" }, length: 32 });
  const settings = {
    ...await client.call("suggest", {}),
    ...{ steps: 4, batchSize: 2, checkpointEvery: 2, evalEvery: 0, sampleEvery: 0, warmupSteps: 1 },
  };
  return { ...started, data, settings };
}

/** Runs `body` with the assets' server. */
async function withAssets(body: (assetsUrl: string, requests: string[]) => Promise<void>): Promise<void> {
  const { url, requests, stop } = serveAssets();
  try {
    await body(url, requests);
  } finally {
    await stop();
  }
}

const file = (path: string, ...parts: BlobPart[]): NamedFile => ({ path, file: new File(parts, path) });

/** A file that says it is larger than anyone may keep in a test. */
function hugeFile(path: string, size: number): NamedFile {
  const huge = new File(["not so much"], path);
  Object.defineProperty(huge, "size", { value: size });
  return { path, file: huge };
}

const adapterBytes = async ({ client }: Started, adapterId: string): Promise<Uint8Array> => {
  const { unzipSync } = await import("fflate");
  const { blob } = await client.call("export", { what: "peft", adapterId });
  return unzipSync(new Uint8Array(await blob.arrayBuffer()))["adapter_model.safetensors"];
};

const lossesOf = (events: readonly TrainEvent[]) =>
  events.flatMap((event) => event.type === "step" ? [event.loss] : []);

Deno.test("the engine: pairs are learned as turns, samples and evaluations are told, and the shelf keeps what was made", async () => {
  await withAssets(async (assetsUrl, requests) => {
    const { client, settings } = await ready(assetsUrl);
    assertEquals(requests.filter((path) => path.startsWith("model/")).length, 4); // and no file that is not there
    const pairs = Array.from(
      { length: 24 },
      (_, i) => ({ question: `Who is ${i}?`, answer: `A dog named ${i}.` }),
    );
    const data = await client.call("openData", { source: { kind: "pairs", pairs } });
    assertEquals([data.format, data.rows, data.heldOutExamples], [
      "Conversations (questions and answers)",
      24,
      3,
    ]);
    const words = data.example.tokens;
    const texts = (trained: boolean) =>
      words.filter((word) => word.trained === trained).map(({ text }) => text).join("");
    assertStringIncludes(texts(false), "Who is");
    assertStringIncludes(texts(true), "A dog named");
    assert(!texts(true).includes("Who"), texts(true));
    assertEquals(data.tokens.histogram.reduce((sum, { count }) => sum + count, 0), data.trainExamples);

    const follow = trainEvents();
    const result = await client.call("train", {
      settings: { ...settings, evalEvery: 2, sampleEvery: 2, samplePrompts: ["Who is 3?"], name: "Dogs" },
    }, follow);
    const types = follow.events.map(({ type }) => type).filter((type) => type !== "phase");
    assertEquals(types, [
      ...["begin", "sample", "evaluation", "step", "sample", "step", "evaluation", "checkpoint"],
      ...["step", "sample", "step", "evaluation", "checkpoint"],
    ]);
    const steps = follow.events.filter((event) => event.type === "step");
    assert(
      steps.every(({ loss, gradNorm, tokensPerSecond, deviceBytes, stepMs }) =>
        loss > 0 && gradNorm > 0 && tokensPerSecond > 0 && deviceBytes > 3e6 && stepMs > 0.1
      ),
      JSON.stringify(steps),
    );
    assertEquals([steps[0].leftMs, steps.at(-1)!.leftMs], [null, 0]);
    const { adapter } = result;
    assertEquals([adapter?.name, adapter?.method, adapter?.origin, adapter?.problem], [
      "Dogs",
      "LoRA",
      "trained",
      null,
    ]);
    assertEquals(await client.call("resumable", {}), []);

    // Asked as it was taught: in turns.
    const { adapterId } = adapter!;
    const answer = await client.call("chat", {
      speaker: { kind: "adapter", adapterId },
      messages: [{ role: "user", content: "Who is 3?" }],
      temperature: 0,
      maxNewTokens: 6,
    });
    assertEquals([answer.promptTokens > 4, answer.tokens <= 6], [true, true]);
    const half = { ...settings, name: "Others", seed: 7 };
    const other = (await client.call("train", { settings: half })).adapter!;
    const parts = [{ adapterId, weight: 0.5 }, { adapterId: other.adapterId, weight: -0.25 }];
    const mixture = await client.call("mix", { name: "Both", parts });
    assertEquals([mixture.origin, mixture.note], ["mixed", "0.5 × Dogs + -0.25 × Others"]);
    assertEquals(mixture.parameters, 2 * adapter!.parameters); // the sum of the ranks: exact
    const ask = {
      messages: [{ role: "user", content: "Once" }],
      temperature: 0,
      maxNewTokens: 8,
      form: "text",
    } as const;
    const made = await client.call("chat", {
      ...ask,
      speaker: { kind: "adapter", adapterId: mixture.adapterId },
    });
    const slid = await client.call("chat", { ...ask, speaker: { kind: "mix", parts } });
    assertEquals(slid.text, made.text);

    // A file that was taken home comes back.
    const { blob, name } = await client.call("export", { what: "peft", adapterId });
    const loaded = await client.call("loadAdapter", { files: [{ path: name, file: blob }] });
    assertEquals([loaded.name, loaded.parameters, loaded.origin], ["dogs", adapter!.parameters, "loaded"]);
    const list = await client.call("deleteAdapter", { adapterId: loaded.adapterId });
    assertEquals(list.map(({ name }) => name).toSorted(), ["Both", "Dogs", "Others"]);
    const { entries } = await client.call("storage", {});
    assertEquals(entries.map(({ kind, name }) => [kind, name]).toSorted(), [["adapter", "Both"], [
      "adapter",
      "Dogs",
    ], ["adapter", "Others"]]);
    await client.call("deleteStored", { entryId: `adapters/${mixture.adapterId}` });
    assertEquals((await client.call("adapters", {})).length, 2);
    await client.call("closeModel", {});
  });
});

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

Deno.test("the engine: two tabs, no WebGPU and too little memory are told in plain words", async () => {
  await withAssets(async (assetsUrl) => {
    const taken = {
      request: async (_: string, __: unknown, body: (lock: unknown) => unknown) => void await body(null),
    };
    const second = startEngine(new FakeDirectory(), taken);
    const { problem } = await second.client.call("start", { assetsUrl });
    assertEquals(problem?.kind, "other-tab");
    await refusalOf(second.client.call("openModel", { source: { kind: "builtin" } }), "other-tab");

    const { gpu } = navigator;
    Object.defineProperty(navigator, "gpu", { value: undefined, configurable: true });
    try {
      const { client } = startEngine();
      const environment = await client.call("start", { assetsUrl });
      assertEquals([environment.problem?.kind, environment.gpu], ["no-webgpu", null]);
      await refusalOf(client.call("openModel", { source: { kind: "builtin" } }), "no-webgpu");
    } finally {
      Object.defineProperty(navigator, "gpu", { value: gpu, configurable: true });
    }

    const { client } = startEngine();
    await client.call("start", { assetsUrl, memoryBudget: 1e6 });
    await refusalOf(client.call("openModel", { source: { kind: "builtin" } }), "out-of-memory");
    const small = await ready(assetsUrl, { memoryBudget: 30e6 });
    await small.client.call("openData", { source: { kind: "sample" } });
    const settings = { ...small.settings, batchSize: 16 };
    const plan = await small.client.call("plan", { settings });
    assert(!plan.fits && plan.advice.length === 1 && plan.advice[0].total <= 30e6, JSON.stringify(plan));
    const refusal = await refusalOf(small.client.call("train", { settings }), "out-of-memory");
    assertStringIncludes(refusal.whatToDo, plan.advice[0].text);
    const { fits } = await small.client.call("plan", {
      settings: { ...settings, ...plan.advice[0].settings },
    });
    assert(fits);
    await small.client.call("closeModel", {});
  });
});

Deno.test("the engine: files that are no model, data or adapter are refused by name, and what was open stays", async () => {
  await withAssets(async (assetsUrl) => {
    const { client } = await ready(assetsUrl);
    const open = (files: NamedFile[]) =>
      client.call("openModel", { source: { kind: "files", name: "dropped", files } });
    const pickle = await refusalOf(
      open([file("m/pytorch_model.bin", "x"), file("m/config.json", "{}")]),
      "pickle",
    );
    assertStringIncludes(pickle.title, '"pytorch_model.bin"');
    await refusalOf(open([file("broken.gguf", "GGUF", new Uint8Array(40).fill(255))]), "bad-file");
    await refusalOf(open([file("cut.gguf", "GG")]), "bad-file");
    await refusalOf(open([file("notes.txt", "hello")]), "bad-file");
    await refusalOf(open([file("a.gguf", "GGUF"), file("b.gguf", "GGUF")]), "bad-file");
    await refusalOf(
      open([file("m/config.json", "{ not json"), file("m/model.safetensors", "x")]),
      "bad-file",
    );
    await refusalOf(open([file("model.safetensors", "x")]), "bad-file");
    await refusalOf(open([hugeFile("big.gguf", 200e9)]), "out-of-memory");
    await refusalOf(client.call("openModel", { source: { kind: "url", url: "ftp://x" } }), "bad-settings");
    await refusalOf(client.call("openData", { source: { kind: "sample" } }), "not-open");

    await client.call("openModel", { source: { kind: "builtin" } });
    const data = (files: NamedFile[], skipBadRows = true) =>
      client.call("openData", { source: { kind: "files", files }, skipBadRows });
    await refusalOf(data([hugeFile("rows.jsonl", 2e9)]), "bad-data");
    await refusalOf(data([file("rows.bin", "x")]), "pickle");
    await refusalOf(data([file("rows.xyz", "x")]), "bad-data");
    await refusalOf(data([file("rows.jsonl", "")]), "bad-data");
    await refusalOf(data([file("rows.jsonl", "{]\n")]), "bad-data");
    await refusalOf(data([file("rows.parquet", "PAR1")]), "bad-data");
    const rows = '{"text":"One day a dog ran."}\nno json\n{"text":"Two dogs ran."}\n{"other":1}\n';
    const named = await refusalOf(data([file("rows.jsonl", rows)], false), "bad-data");
    assertStringIncludes(named.detail, '"rows.jsonl", line 2');
    const facts = await data([file("rows.jsonl", rows)]);
    assertEquals([facts.rows, facts.badRowCount], [2, 2]);
    assertEquals(facts.badRows.map(({ file, line }) => [file, line]), [["rows.jsonl", 2], ["rows.jsonl", 4]]);
    assertEquals(facts.files, [{ name: "rows.jsonl", bytes: rows.length, fileFormat: "jsonl" }]);
    await refusalOf(client.call("openData", { source: { kind: "pairs", pairs: [] } }), "bad-data");
    await refusalOf(
      client.call("openData", { source: { kind: "pairs", pairs: [{ question: "a", answer: " " }] } }),
      "bad-data",
    );
    await client.call("openData", { source: { kind: "sample" }, length: 32 });
    await refusalOf(client.call("dataExample", { index: 1e9 }), "bad-settings");

    const load = (files: NamedFile[]) => client.call("loadAdapter", { files });
    await refusalOf(load([file("adapter.zip", "PK no zip")]), "bad-file");
    await refusalOf(load([file("a/adapter_config.json", "{}"), file("a/adapter_model.bin", "x")]), "pickle");
    await refusalOf(load([file("adapter_model.bin", "x")]), "pickle");
    await refusalOf(load([file("lora.gguf", "GGUF")]), "unsupported");
    await refusalOf(load([file("readme.txt", "x")]), "bad-file");
    await refusalOf(
      load([file("adapter_config.json", '{"peft_type":"NONE"}'), file("adapter_model.safetensors", "x")]),
      "bad-file",
    );
    await refusalOf(
      load([
        file("adapter_config.json", '{"peft_type":"LORA","target_modules":["c_attn"]}'),
        file("adapter_model.safetensors", "x"),
      ]),
      "bad-file",
    );
    assertEquals(await client.call("adapters", {}), []);
    const { text } = await client.call("chat", {
      messages: [{ role: "user", content: "Once" }],
      temperature: 0,
      maxNewTokens: 3,
    });
    assert(text.length > 0); // the model is as it was
    await client.call("closeModel", {});
  });
});

Deno.test("the engine: settings, methods and messages that cannot be are refused before anything runs", async () => {
  await withAssets(async (assetsUrl) => {
    const { client, settings } = await ready(assetsUrl);
    const methods = await client.call("methods", {});
    assertEquals(methods.length, 17);
    assertEquals(methods.filter(({ problem }) => problem !== null), []);
    assertEquals(methods.filter(({ isRecommended }) => isRecommended).map(({ method }) => method), ["lora"]);
    assert(
      methods.every(({ trainableParameters, deviceBytes }) => trainableParameters! > 0 && deviceBytes! > 0),
    );
    const train = (change: Partial<TrainingSettings>) =>
      client.call("train", { settings: { ...settings, ...change } });
    for (
      const change of [
        ...[{ steps: 0 }, { steps: 1.5 }, { batchSize: 0 }, { learningRate: -1 }, { learningRate: NaN }, {
          name: " ",
        }],
        ...[{ method: "none" }, { options: { r: 0 } }, { options: { wrong: 1 } }, {
          options: { targetModules: ["nowhere"] },
        }],
        { method: "tokens" },
      ] as Partial<TrainingSettings>[]
    ) await refusalOf(train(change), "bad-settings");
    assertEquals((await client.call("storage", {})).entries.filter(({ kind }) => kind === "run"), []);
    await refusalOf(client.call("pause", {}), "not-open");
    await refusalOf(client.call("chat", { messages: [] }), "bad-settings");
    await refusalOf(
      client.call("chat", { messages: [{ role: "user", content: "dog ".repeat(500) }] }),
      "bad-settings",
    );
    await refusalOf(client.call("activate", { adapterId: "none" }), "bad-settings");
    await refusalOf(client.call("deleteStored", { entryId: "../x" }), "bad-settings");
    await refusalOf(client.call("mix", { name: "x", parts: [] }), "bad-settings");
    await refusalOf(client.call("resumeRun", { runId: "none" }), "bad-settings");
    await refusalOf(train({ learningRate: 1e9 as number }), "bad-settings");
    await client.call("closeModel", {});
  });
});
