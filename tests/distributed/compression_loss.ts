/**
 * What rounding gradients to float16 costs: the losses of a training whose shares travel as float32, as float16 without
 * error feedback, and with it; and for comparison those of another seed. One process computes all shares.
 * Run: deno run -A tests/distributed/compression_loss.ts [model, default the demo's] [steps] [shares] [tokens per row] [names of
 * runs, separated by commas, default all]
 * @module
 */

import {
  AutoModelForCausalLM,
  AutoTokenizer,
  getPeftModel,
  loadDataset,
  LoraConfig,
  SFTTrainer,
} from "@peft/webgpu";
import { defaultDevice } from "../../autograd/mod.ts";
import type { ComputedShare, GradientExchange } from "@peft/webgpu/train";

const DEMO = new URL("../../examples/demo/", import.meta.url).pathname;
const [path = `${DEMO}model`, ...numbers] = Deno.args;
const [steps = 80, shares = 4, maxLength = 64] = numbers.slice(0, 3).map(Number);
const [, , , names] = numbers;

/** Trains. @param feedback whether what rounding left is added to the next step's share */
async function train(compression: "none" | "float16", feedback: boolean, seed = 42) {
  const model = getPeftModel(
    await AutoModelForCausalLM.fromPretrained(path),
    new LoraConfig({ r: 8, loraAlpha: 16, targetModules: "all-linear" }),
    "default",
    { seed },
  );
  let previous = new Map<number, ComputedShare>();
  const counts = { sent: 0, residuals: 0, received: 0 };
  const gradientExchange: GradientExchange = {
    ...{ shares, compression },
    async exchange(_step, wanted, compute) {
      const found = new Map<number, ComputedShare>();
      for (const share of wanted) {
        const computed = await compute(share, feedback ? previous.get(share) ?? null : null);
        found.set(share, computed);
        counts.sent += computed.bytes.length;
        counts.residuals += computed.residual?.length ?? 0;
        counts.received += (wanted.length - 1) * computed.bytes.length;
      }
      previous = found;
      return [...found.values()].map(({ bytes }) => bytes);
    },
  };
  const trainer = new SFTTrainer({
    model,
    processingClass: await AutoTokenizer.fromPretrained(path),
    trainDataset: await loadDataset(`${DEMO}data/pirate.jsonl`),
    evalDataset: await loadDataset(`${DEMO}data/pirate_held_out.jsonl`),
    args: {
      ...{ maxSteps: steps, perDeviceTrainBatchSize: 1, gradientAccumulationSteps: shares, maxLength, seed },
      ...{ learningRate: 5e-3, loggingSteps: 1, reportTo: "none" },
    },
    gradientExchange,
  });
  await trainer.train();
  const { evalLoss } = await trainer.evaluate();
  const losses = trainer.state.logHistory.flatMap(({ loss }) => typeof loss === "number" ? [loss] : []);
  model.dispose();
  return { losses, evalLoss, counts };
}

const { adapterName } = await defaultDevice();
console.log(
  `${path}: ${steps} steps of ${shares} shares with a row of ${maxLength} tokens; ${adapterName}`,
);
const runs = [
  ["none", () => train("none", false)],
  ["float16 without feedback", () => train("float16", false)],
  ["float16", () => train("float16", true)],
  ["none, another seed", () => train("none", false, 43)],
] as const;
let first: number[] | null = null;
for (const [name, run] of runs.filter(([name]) => names?.split(",").includes(name) ?? true)) {
  const { losses, evalLoss, counts } = await run();
  first ??= losses;
  const differences = losses.map((loss, i) => Math.abs(loss - first![i]));
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const perStep = (bytes: number) => (bytes / losses.length).toFixed(0);
  console.log(
    `${name}: mean loss ${mean(losses).toFixed(6)}, of the last ten steps ${
      mean(losses.slice(-10)).toFixed(6)
    }, held out ` +
      `${evalLoss.toFixed(6)}; from the first run each step differs by ${
        mean(differences).toExponential(1)
      }, at most ` +
      `${Math.max(...differences).toExponential(1)}; bytes per step: ${
        perStep(counts.sent)
      } of shares put, ` +
      `${perStep(counts.residuals)} of residuals put, ${perStep(counts.received)} read`,
  );
}
