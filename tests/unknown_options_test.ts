/**
 * Options that do not exist: every call that takes options refuses them, so that none is left out in silence.
 * @module
 */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  AutoTokenizer,
  EarlyStoppingCallback,
  exportGguf,
  getPeftModel,
  GPT2Config,
  initDevice,
  LoraConfig,
  memoryFolder,
  PeftModel,
  RowDataset,
  TextStreamer,
} from "@peft/webgpu";
import { LlamaConfig } from "@peft/webgpu/model";
import { acting, bytesOf, tinyModel } from "./peft/tiny_model.ts";

Deno.test("calls refuse options that do not exist and name those that were meant, and change nothing", async () => {
  const { peftModel } = await acting();
  const { model } = await tinyModel();
  const tokenizer = await AutoTokenizer.fromPretrained("gpt2");
  const rows = RowDataset.from([{ text: "a" }, { text: "b" }]);
  const config = new LoraConfig({ targetModules: ["c_attn"] });
  const folder = memoryFolder();
  const before = [await bytesOf(model), await bytesOf(peftModel)];
  const calls: readonly [given: object, action: string, meant: string, call: (options: object) => unknown][] =
    [
      [{ max_shard_size: "1GB" }, "save the model", "maxShardSize", (o) => model.savePretrained(folder, o)],
      [{ format_: "gguf" }, "save adapters", "format", (o) => peftModel.savePretrained(folder, o)],
      [{ max_shard_size: 1 }, "push to the hub", "maxShardSize", (o) => model.pushToHub("me/x", o)],
      [
        { d_type: "q8_0" },
        "export the model",
        "dtype",
        (o) => exportGguf(model, { folder, name: "x.gguf" }, o),
      ],
      [{ safe_merge: true }, "merge", "safeMerge", (o) => peftModel.mergeAdapter(o)],
      [{ safe_merge: true }, "merge", "safeMerge", (o) => peftModel.mergeAndUnload(o)],
      [
        { combination_type: "ties" },
        "add a weighted adapter",
        "combinationType",
        (o) => peftModel.addWeightedAdapter(["default"], [1], "sum", o),
      ],
      [{ Seed: 1 }, "add an adapter", "seed", (o) => getPeftModel(model, config, "default", o)],
      [{ Seed: 1 }, "add an adapter", "seed", (o) => peftModel.addAdapter("second", config, o)],
      [{ strict_: false }, "load an adapter", "strict", (o) => PeftModel.fromPretrained(model, folder, o)],
      [{ power_preference: "low-power" }, "open the device", "powerPreference", (o) => initDevice(o)],
      [{ skip_prompt: true }, "stream text", "skipPrompt", (o) => new TextStreamer(tokenizer, o)],
      [{ skip_special_tokens: true }, "decode", "skipSpecialTokens", (o) => tokenizer.decode([1], o)],
      [{ skip_special_tokens: true }, "decode", "skipSpecialTokens", (o) => tokenizer.batchDecode([[1]], o)],
      [{ skip_special_tokens: true }, "decode", "skipSpecialTokens", (o) => tokenizer.decodeStream(o)],
      [{ test_size: 0.5 }, "split rows", "testSize", (o) => rows.trainTestSplit(o as { testSize: number })],
      [{ sed: 1 }, "shuffle rows", "seed", (o) => rows.shuffle(o)],
      [
        { early_stopping_patience: 3 },
        "stop early",
        "earlyStoppingPatience",
        (o) => new EarlyStoppingCallback(o),
      ],
    ];
  for (const [given, action, meant, call] of calls) {
    const message = `Cannot ${action}: unknown option "${Object.keys(given)[0]}", did you mean "${meant}"?`;
    await assertRejects(async () => await call(given), TypeError, message);
  }
  assertThrows(
    () => new GPT2Config({ n_layer: 2 } as object),
    TypeError,
    'unknown field "n_layer", did you mean "nLayer"?',
  );
  assertThrows(
    () => new LlamaConfig("llama", { hidden_size: 8 } as object),
    TypeError,
    'did you mean "hiddenSize"?',
  );
  const after = [await bytesOf(model), await bytesOf(peftModel)];
  assertEquals(after, before);
  assertEquals([...folder.files.keys()], []);
  for (const each of [peftModel, model]) each.dispose();
});
