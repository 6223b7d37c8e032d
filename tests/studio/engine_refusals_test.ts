/**
 * The engine and everything that may be wrong: each is told in plain words, and what was open stays.
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { NamedFile, TrainingSettings } from "../../studio/protocol.ts";
import { FakeDirectory } from "../io/fake_handles.ts";
import { file, hugeFile, ready, refusalOf, startEngine, withAssets } from "./harness.ts";

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
    const { gpu: more } = await small.client.call("start", { assetsUrl, memoryBudget: 60e6 });
    assertEquals([more?.memoryBudget, more?.isBudgetGuessed], [60e6, false]);
    assertEquals((await small.client.call("plan", { settings })).budget, 60e6);
    await small.client.call("start", { assetsUrl, memoryBudget: 30e6 });
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
    const still = await client.call("dataExample", { index: 0 }); // model and data that were open still are
    assert(still.tokens.length > 0);

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
    const cut = await refusalOf(load([file("lora.gguf", "GGUF")]), "bad-file");
    assertStringIncludes(cut.title, "GGUF file holds no adapter");
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
