/**
 * Our side of the figures on a GPU: one product, LoRA steps and greedy decoding, as JSON lines. Sizes are flags, so that it
 * can be tried anywhere. Run by bench/h200/run.sh.
 * Run: deno run -A bench/h200/ours.ts [--tiny]
 * @module
 */
import { initDevice } from "../../gpu/mod.ts";
import { measureFloors } from "../floor_bench.ts";
import { benchGeneration } from "../generation_bench.ts";
import { makeStep, SMALL, SMALL_BATCH, type StepCase } from "../gpt_cases.ts";
import { median, printTable } from "../harness.ts";
import { benchMatmul } from "../matmul_bench.ts";
import { profileStep } from "../step_bench.ts";

const tiny = Deno.args.includes("--tiny");
const config = tiny ? SMALL : {};
const side = tiny ? 128 : 4096;

/** Prints one figure as JSON. */
function figure(name: string, values: Record<string, number | string>): void {
  console.log(JSON.stringify({ name, side: "ours", ...values }));
}

const device = await initDevice();
figure("adapter", { adapter: device.adapterName, fallback: String(device.isFallback) });
const { floors } = await measureFloors(device);
figure("floors", { ...floors });

const product = { name: "matmul", layout: "nn", M: side, N: side, K: side } as const;
const [row] = await benchMatmul(device, floors, { cases: [product] });
figure("matmul", { gflops: row["GFLOP/s"], ms: row.ms, kernel: row.kernel });

const cases: StepCase[] = [[8, 1024], [1, 128]].map(([batch, length]) => {
  const shape = tiny ? { batch: Math.min(batch, 2), length: 32 } : { batch, length };
  return { ...SMALL_BATCH, name: `lora ${batch}x${length}`, config, ...shape, steps: 20 };
});
for (const test of cases) {
  device.trim();
  device.resetPeakMemory();
  const step = makeStep(device, test, true);
  const losses: number[] = [];
  const times: number[] = [];
  let before = device.stats;
  for (let i = 0; i < test.steps; i++) {
    before = device.stats;
    const start = performance.now();
    losses.push(await step.run());
    times.push(performance.now() - start);
  }
  const { stats, memory } = device;
  const ms = median(times.slice(3));
  if (!losses.every(Number.isFinite)) {
    throw new Error(`Cannot time ${test.name}: losses are ${losses.join(", ")}`);
  }
  figure(test.name, {
    tokensPerSecond: 1000 * test.batch * test.length / ms,
    ms,
    peakBytes: memory.peakBytes,
    dispatches: stats.dispatches - before.dispatches,
    submissions: stats.submissions - before.submissions,
    firstLoss: losses[0],
    lastLoss: losses.at(-1)!,
  });
  step.dispose();
}

const tokens = tiny ? 8 : 128;
const decode = await benchGeneration(device, { name: "greedy decode", config, prompt: 8, tokens });
figure("greedy decode", { tokensPerSecond: decode["tokens/s"] });

if (!tiny && device.features.has("timestamp-query")) {
  for (const test of cases) printTable(`Time by kernel, ${test.name}`, await profileStep(device, test));
}
