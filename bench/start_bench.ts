/**
 * The first training step of a fresh process: device, model, kernels compiled, one step. Each start is a process of its
 * own; with the driver's shader cache on disk, and without it.
 * Run: deno run -A bench/start_bench.ts
 * @module
 */
import { initDevice } from "../gpu/mod.ts";
import { makeStep, SMALL_CASES } from "./gpt_cases.ts";
import { median, printTable, type Row } from "./harness.ts";

const ROUNDS = 3;

/** Milliseconds of the parts of one start. */
interface Start {
  readonly device: number;
  readonly model: number;
  readonly step: number;
  readonly loss: number;
}

/** What the child does: starts once, prints its times. */
async function start(): Promise<Start> {
  const begin = performance.now();
  const device = await initDevice();
  const ready = performance.now();
  const step = makeStep(device, SMALL_CASES[0], false);
  await device.sync();
  const built = performance.now();
  const loss = await step.run();
  return { device: ready - begin, model: built - ready, step: performance.now() - built, loss };
}

async function startChild(cache: boolean): Promise<Start> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", import.meta.url, "--child"],
    env: cache ? {} : { MESA_SHADER_CACHE_DISABLE: "true" },
  }).output();
  if (code !== 0) throw new Error(`Cannot time a start: ${new TextDecoder().decode(stderr)}`);
  return JSON.parse(new TextDecoder().decode(stdout)) as Start;
}

/** Starts of the small GPT; the losses of all must be equal. */
export async function benchStart(): Promise<Row[]> {
  await startChild(true); // fills the cache
  const rows: Row[] = [];
  const losses = new Set<number>();
  for (const cache of [true, false]) {
    const starts: Start[] = [];
    for (let round = 0; round < ROUNDS; round++) starts.push(await startChild(cache));
    for (const { loss } of starts) losses.add(loss);
    const of = (part: (start: Start) => number) => median(starts.map(part));
    rows.push({
      start: cache ? "driver's shader cache warm" : "driver's shader cache off (Mesa)",
      "device ms": of((s) => s.device),
      "model ms": of((s) => s.model),
      "first step ms": of((s) => s.step),
      "all ms": of((s) => s.device + s.model + s.step),
    });
  }
  if (losses.size !== 1) throw new Error(`Cannot time starts: losses differ, ${[...losses].join(", ")}`);
  return rows;
}

if (import.meta.main) {
  if (Deno.args.includes("--child")) console.log(JSON.stringify(await start()));
  else printTable("First step of the small GPT in a fresh process", await benchStart());
}
