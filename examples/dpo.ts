/**
 * Teaches a model which of two endings of a story is preferred, with DPO and a LoRA; the model without its adapter is
 * the reference. `deno run -A examples/dpo.ts`; `--model <folder, .gguf or hub id>` and `--data` (.jsonl with "prompt",
 * "chosen" and "rejected") take yours. Prints rewards of pairs with held-out prompts, and endings that
 * the model writes.
 * @module
 */

import { parseArgs } from "node:util";
import { AutoModelForCausalLM, AutoTokenizer, getPeftModel, initDevice, setSeed } from "@peft/webgpu";
import { type CausalLM, DPOTrainer, loadDataset, LoraConfig } from "@peft/webgpu";

const here = new URL(".", import.meta.url).pathname;
const text = { type: "string" } as const;
const { values } = parseArgs({ options: { model: text, data: text } });
const id = values.model ?? `${here}demo/model`;

setSeed(1);
await initDevice();
const tokenizer = await AutoTokenizer.fromPretrained(id);
const base = await AutoModelForCausalLM.fromPretrained<CausalLM>(id);
const model = getPeftModel(base, new LoraConfig({ r: 8, loraAlpha: 16, targetModules: "all-linear" }));
const rows = await loadDataset(values.data ?? `${here}dpo/endings.jsonl`);
const { train, test } = rows.trainTestSplit({ testSize: 0.25, seed: 1 });
const trainer = new DPOTrainer({
  model,
  processingClass: tokenizer,
  trainDataset: train,
  evalDataset: test,
  args: {
    maxSteps: 12,
    perDeviceTrainBatchSize: 4,
    perDeviceEvalBatchSize: 4,
    learningRate: values.model ? 5e-5 : 1e-3,
    gradientCheckpointing: false,
    loggingSteps: 4,
    saveStrategy: "no",
    seed: 1,
  },
});

const held = await Promise.all(Array.from({ length: Math.min(6, test.length) }, (_, i) => test.at(i))) as {
  prompt: string;
  chosen: string;
}[];
/** Goes on from held-out prompts, twice each, and counts the texts that begin as the preferred one does. */
async function write(title: string): Promise<void> {
  model.eval();
  const counted = { preferred: 0, of: 0 };
  console.log(`${title}:`);
  for (const [i, { prompt, chosen }] of held.entries()) {
    const ids = tokenizer.encode(prompt);
    const rows = await model.generate([ids, ids], { maxNewTokens: 16, doSample: true, seed: i });
    const told = rows.map((row) => tokenizer.decode(row.slice(ids.length), { skipSpecialTokens: true }));
    console.log(`  … ${told[0].trim()} …`);
    const start = chosen.trim().split(" ").slice(0, 3).join(" ");
    counted.preferred += told.filter((one) => one.trim().startsWith(start)).length;
    counted.of += told.length;
  }
  console.log(`preferred endings ${title}: ${counted.preferred} of ${counted.of}\n`);
}

await write("before");
await trainer.train();
const { metrics } = await trainer.evaluate();
console.log(`held-out reward margin: ${metrics["evalRewards/margins"].toFixed(3)} (0 before training)`);
console.log(`held-out reward accuracy: ${metrics["evalRewards/accuracies"].toFixed(3)}\n`);
await write("after");
model.dispose();
