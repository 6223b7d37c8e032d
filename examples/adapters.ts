/**
 * Two adapters over one base: a pirate and a robot, trained one after the other, then both and the base tell the same
 * story in one batch. `deno run -A examples/adapters.ts`; `--model <folder, .gguf or hub id>` takes another base,
 * `--prompt` another beginning.
 * @module
 */

import { parseArgs } from "node:util";
import { AutoModelForCausalLM, AutoTokenizer, getPeftModel, initDevice, setSeed } from "@peft/webgpu";
import { type CausalLM, LoraConfig, TextDataset, Trainer } from "@peft/webgpu";

const here = new URL(".", import.meta.url).pathname;
const text = { type: "string" } as const;
const { values } = parseArgs({ options: { model: text, prompt: text } });
const id = values.model ?? `${here}demo/model`;
const DATA = { pirate: `${here}demo/data/pirate.jsonl`, robot: `${here}adapters/robot.jsonl` };

setSeed(1);
await initDevice();
const tokenizer = await AutoTokenizer.fromPretrained(id);
const base = await AutoModelForCausalLM.fromPretrained<CausalLM>(id);
const config = () => new LoraConfig({ r: 8, loraAlpha: 16, targetModules: "all-linear" });
const model = getPeftModel(base, config(), "pirate");
model.addAdapter("robot", config());

for (const [name, path] of Object.entries(DATA)) {
  model.setAdapter(name); // the one that is trained; the other keeps its weights
  model.train();
  console.log(`training ${name}`);
  const trainDataset = await TextDataset.fromFile(path, tokenizer, { blockSize: 64 });
  await new Trainer({
    model,
    args: {
      maxSteps: 24,
      perDeviceTrainBatchSize: 4,
      learningRate: values.model ? 2e-4 : 8e-3,
      lrSchedulerType: "cosine",
      loggingSteps: 12,
      seed: 1,
    },
    trainDataset,
  }).train();
}

model.eval();
const adapterNames = ["__base__", "pirate", "robot"];
const prompt = values.prompt ?? "Once upon a time";
const ids = tokenizer.encode(prompt);
/** Each row is computed with its own adapter, all of them in one batch. */
const rows = await model.generate(adapterNames.map(() => ids), { maxNewTokens: 40, adapterNames });
console.log();
rows.forEach((row, i) => {
  const told = tokenizer.decode(row, { skipSpecialTokens: true }).replaceAll(/\s+/g, " ");
  console.log(`${adapterNames[i]}: ${told}`);
});
model.dispose();
