/**
 * The training step, eager and captured: time, dispatches, JavaScript a dispatch, bytes, time by kernel. Losses are
 * compared with a second run, and captured with eager, before any time is printed.
 * Run: deno run -A bench/step_bench.ts [--large | --long]
 * @module
 */
import { type Device, initDevice } from "../gpu/mod.ts";
import { profileKernels } from "../gpu/profiler.ts";
import { makeStep, SMALL_BATCH, SMALL_CASES, type StepCase } from "./gpt_cases.ts";
import { median, printTable, type Row } from "./harness.ts";
import { ownTime } from "./host_time.ts";

/** Median milliseconds of JavaScript of a launch with its submission. */
async function hostTime(device: Device, launch: () => void, rounds: number): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < rounds; i++) {
    await device.sync();
    const start = performance.now();
    launch();
    device.submit();
    times.push(performance.now() - start);
  }
  await device.sync();
  return median(times);
}

/** Steps of a case: losses, milliseconds of each, and the row of its figures. */
async function measure(
  device: Device,
  test: StepCase,
  captured: boolean,
): Promise<{ losses: number[]; row: Row }> {
  device.trim();
  const step = makeStep(device, test, captured);
  const losses: number[] = [];
  const times: number[] = [];
  const submissions: number[] = [];
  let before = device.stats;
  for (let i = 0; i < test.steps; i++) {
    if (i === 1) device.resetPeakMemory();
    before = device.stats;
    const start = performance.now();
    losses.push(await step.run());
    times.push(performance.now() - start);
    submissions.push(device.stats.submissions - before.submissions);
  }
  const after = device.stats;
  const dispatches = after.dispatches - before.dispatches;
  const { peakBytes, liveBytes } = device.memory;
  const launch = () => {
    const loss = step.launch();
    if (!captured) loss.dispose();
  };
  const rounds = Math.min(12, test.steps);
  const host = await hostTime(device, launch, rounds);
  const ours = ownTime(device, launch, rounds);
  step.dispose();
  device.trim();
  const perDispatch = (ms: number) => 1000 * ms / dispatches;
  return {
    losses,
    row: {
      step: `${test.name}, ${captured ? "captured" : "eager"}`,
      ms: median(times.slice(2)),
      "first ms": times[0],
      dispatches,
      submissions: median(submissions.slice(2)),
      "new bind groups": after.bindGroupMisses - before.bindGroupMisses,
      "our us/dispatch": perDispatch(ours),
      "driver us/dispatch": perDispatch(host - ours),
      "peak MB": peakBytes / 1e6,
      "live MB": liveBytes / 1e6,
      loss: `${losses[0].toFixed(4)} -> ${losses.at(-1)!.toFixed(4)}`,
    },
  };
}

/** Refuses figures of runs that differ. */
export function requireEqualLosses(name: string, a: readonly number[], b: readonly number[]): void {
  const at = a.findIndex((loss, i) => !(loss === b[i]));
  if (at >= 0) throw new Error(`Cannot time ${name}: loss ${at} is ${a[at]} and ${b[at]} in two runs`);
}

/** Eager twice, captured once; the losses of the three are equal bit for bit, or it throws. */
export async function benchStep(device: Device, test: StepCase): Promise<Row[]> {
  const first = await measure(device, test, false);
  const eager = await measure(device, test, false);
  const captured = await measure(device, test, true);
  requireEqualLosses(test.name, first.losses, eager.losses);
  requireEqualLosses(`${test.name}, captured`, eager.losses, captured.losses);
  return [eager.row, captured.row];
}

/** Time by kernel of one step after the third, longest first; nothing if the adapter has no timestamps. */
export async function profileStep(device: Device, test: StepCase): Promise<Row[]> {
  if (!device.features.has("timestamp-query")) return [];
  const step = makeStep(device, test, false);
  for (let i = 0; i < 2; i++) await step.run();
  const rounds = test.steps > 8 ? 5 : 1;
  const times = await profileKernels(device, async () => {
    for (let i = 0; i < rounds; i++) await step.run();
  });
  step.dispose();
  device.trim();
  const total = times.reduce((sum, { ms }) => sum + ms, 0);
  return times.map(({ name, count, ms }) => ({
    kernel: name,
    launches: count / rounds,
    ms: ms / rounds,
    "% of step": 100 * ms / total,
    "us a launch": 1000 * ms / count,
  }));
}

/** GPT-2 small with LoRA at 4 x 512 tokens: bytes. Takes minutes on software. */
export const LONG: StepCase = {
  ...SMALL_BATCH,
  name: "GPT-2 small, LoRA r=8 c_attn, 4 x 512",
  batch: 4,
  length: 512,
};

/** Peak bytes of the second step of a case, the weights among them. */
export async function measurePeak(device: Device, test: StepCase): Promise<Row> {
  const step = makeStep(device, test, false);
  await step.run();
  device.trim();
  device.resetPeakMemory();
  const start = performance.now();
  const loss = await step.run();
  const row: Row = {
    step: test.name,
    ms: performance.now() - start,
    "peak MB": device.memory.peakBytes / 1e6,
    "live MB": device.memory.liveBytes / 1e6,
    loss: loss.toFixed(4),
  };
  step.dispose();
  device.trim();
  return row;
}

if (import.meta.main) {
  const device = await initDevice();
  const { args } = Deno;
  if (args.includes("--long")) printTable(device.adapterName, [await measurePeak(device, LONG)]);
  else {
    for (const test of args.includes("--large") ? [SMALL_BATCH] : SMALL_CASES) {
      printTable(`Step on ${device.adapterName}`, await benchStep(device, test));
      printTable(`Time by kernel, ${test.name}`, await profileStep(device, test));
    }
  }
}
