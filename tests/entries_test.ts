/**
 * What each entry of the package holds.
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import * as root from "@peft/webgpu";
import * as all from "../entries/all.ts";
import config from "../deno.json" with { type: "json" };

/** What a script written for `transformers` and `peft` names. */
const EXPECTED = [
  "AutoModelForCausalLM",
  "AutoTokenizer",
  "GPT2LMHeadModel",
  "GPT2Config",
  "TextStreamer",
  "getPeftModel",
  "PeftModel",
  "PeftConfig",
  "AutoPeftModelForCausalLM",
  "LoraConfig",
  "AdaLoraConfig",
  "IA3Config",
  "VeraConfig",
  "LNTuningConfig",
  "PrefixTuningConfig",
  "PromptTuningConfig",
  "PromptEncoderConfig",
  "BottleneckConfig",
  "injectAdapterInModel",
  "hotswapAdapter",
  "Trainer",
  "SFTTrainer",
  "SFTConfig",
  "loadDataset",
  "TrainingArguments",
  "TextDataset",
  "AdamW",
  "SGD",
  "clipGradNorm",
  "EarlyStoppingCallback",
  "setSeed",
  "Module",
  "Tensor",
  "captureStep",
  "tidy",
  "initDevice",
  "Device",
  "safetensors",
  "memoryFolder",
  "urlFolder",
];

Deno.test("the root entry holds what users of transformers and peft need, and not the rest", () => {
  const names = Object.keys(root);
  assertEquals(EXPECTED.filter((name) => !names.includes(name)), []);
  assert(names.length <= 100, `${names.length} names`);
  const others = ["matmul", "tuneKernels", "LoraLayer", "KVCache", "writeTuning", "MixedBatch", "GPT2Block"];
  assertEquals(others.filter((name) => names.includes(name)), []);
});

Deno.test("every entry resolves by its name in the package, and the browser bundle has every name", async () => {
  for (const [name, path] of Object.entries(config.exports)) {
    if (name === "./cli") continue;
    const specifier = `@peft/webgpu${name.slice(1)}`;
    assertEquals((config.imports as Record<string, string>)[specifier], path);
    const entry = await import(`../${path.slice(2)}`);
    assert(Object.keys(entry).length > 0, name);
    if (name === "./serve" || name === "./distributed") continue; // of several machines, which no page needs
    assertEquals(
      Object.keys(entry).filter((key) => (all as Record<string, unknown>)[key] !== entry[key]),
      [],
      name,
    );
  }
});

Deno.test("what only this library calls does not show on public classes", async () => {
  const { trainingStateKeeper } = await import("@peft/webgpu/train");
  const names = Object.getOwnPropertyNames(root.PeftModel.prototype);
  assertEquals(["start", "trainingState", "loadTrainingState"].filter((name) => names.includes(name)), []);
  assert(trainingStateKeeper in root.PeftModel.prototype);
});
