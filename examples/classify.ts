/**
 * Teaches a language model to classify by prompt: after a sentence and "This is", its next word is the label.
 * `deno run -A examples/classify.ts`; `--model <folder, .gguf or hub id>`, `--train` and `--test` (.jsonl with "text"
 * and "label") take yours. Prints the accuracy on held-out sentences, before and after; of those
 * beside this file, the first eight are worded as none that is learned.
 * @module
 */

import { parseArgs } from "node:util";
import { AutoModelForCausalLM, AutoTokenizer, getPeftModel, initDevice, setSeed, tidy } from "@peft/webgpu";
import { type CausalLM, LoraConfig, type PeftModel, SFTTrainer } from "@peft/webgpu";

const here = new URL(".", import.meta.url).pathname;
const text = { type: "string" } as const;
const { values } = parseArgs({ options: { model: text, train: text, test: text } });
const id = values.model ?? `${here}demo/model`;

setSeed(1);
await initDevice();
const tokenizer = await AutoTokenizer.fromPretrained(id);
const base = await AutoModelForCausalLM.fromPretrained<CausalLM>(id);
const read = async (path: string) =>
  (await Deno.readTextFile(path)).trim().split("\n").map((line): { text: string; label: string } =>
    JSON.parse(line)
  );
const train = await read(values.train ?? `${here}classify/train.jsonl`);
const test = await read(values.test ?? `${here}classify/held_out.jsonl`);
const labels = [...new Set(train.map(({ label }) => label))].sort();
/** The first token of each label, which must tell the labels apart. */
const labelTokens = labels.map((label) => tokenizer.encode(` ${label}`)[0]);
if (new Set(labelTokens).size < labels.length) {
  throw new Error(`Cannot classify: labels must differ in their first token, received ${labels.join(", ")}`);
}
const promptOf = (sentence: string) => `${sentence} This is`;

/** Asks for the label of every sentence, and takes the one whose token is the likeliest next. */
async function classify(model: CausalLM | PeftModel<CausalLM>, title: string): Promise<void> {
  let right = 0;
  console.log(`${title}:`);
  for (const [i, { text, label }] of test.entries()) {
    using logits = tidy(() => model.forward({ inputIds: [tokenizer.encode(promptOf(text))] }).logits);
    const last = (await logits.data()).slice(-logits.shape[2]);
    const scores = labelTokens.map((token) => last[token]);
    const given = labels[scores.indexOf(Math.max(...scores))];
    if (given === label) right++;
    if (i < 8) console.log(`  ${given === label ? "✓" : "✗"} ${given.padEnd(6)} ${text}`);
  }
  console.log(
    `accuracy ${title}: ${(right / test.length).toFixed(3)} (${right} of ${test.length} held out)\n`,
  );
}

await classify(base, "before");
const model = getPeftModel(base, new LoraConfig({ r: 8, loraAlpha: 16, targetModules: "all-linear" }));
await new SFTTrainer({
  model,
  processingClass: tokenizer,
  trainDataset: train.map(({ text, label }) => ({ prompt: promptOf(text), completion: ` ${label}` })),
  args: {
    numTrainEpochs: 8,
    perDeviceTrainBatchSize: 8,
    learningRate: values.model ? 2e-4 : 4e-3,
    loggingSteps: 12,
    saveStrategy: "no",
    seed: 1,
  },
}).train();
model.eval();
await classify(model, "after");
model.dispose();
