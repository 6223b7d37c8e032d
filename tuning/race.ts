/**
 * Checks and times variants of one computation: a variant that does not compile, fails, or disagrees with the first one
 * (the fixed table's) is dropped with a note; the others run in turns, and the slow ones leave after each round.
 * @module
 */
import type { Device } from "../gpu/mod.ts";
import { profileLaunches } from "../gpu/profiler.ts";
import { trialCompile } from "../gpu/trial_compile.ts";
import type { KernelSpec } from "../kernels/kernel_spec.ts";

/** One variant. */
export interface Racer {
  /** Unique among the variants of a race. */
  readonly name: string;
  /** The kernels it launches, for the trial compile. */
  readonly kernels: readonly {
    readonly kernel: KernelSpec;
    readonly tuning?: Readonly<Record<string, number>>;
  }[];
  /** Appends its launches. */
  launch(): void;
  /** Runs it once, without anything that an earlier run left, and reads its results. */
  results(): Promise<ArrayLike<number>[]>;
}

/**
 * How a variant did.
 *
 * @example
 * ```ts
 * import type { Standing, TuningResult } from "@peft/webgpu/tuning";
 *
 * // lines of a table: the fastest variant first, those that were dropped last, with the reason
 * function linesOf({ variants }: TuningResult): string[] {
 *   const key = ({ ms }: Standing) => Number.isNaN(ms) ? Infinity : ms;
 *   const line = ({ name, ms, dropped }: Standing) => `${name}: ${dropped ?? `${ms.toFixed(3)} ms`}`;
 *   return [...variants].sort((a, b) => key(a) - key(b)).map(line);
 * }
 * ```
 */
export interface Standing {
  /** The variant's name. */
  readonly name: string;
  /** Milliseconds of a run, lower quartile; NaN where it was dropped. */
  readonly ms: number;
  /** Why it was dropped before it was timed; null if it was not. */
  readonly dropped: string | null;
}

/** How variants are compared. */
export interface RaceOptions {
  /** Floating-point operations of a run: short runs are repeated. */
  readonly flops: number;
  /** Largest difference from the first variant's results. */
  readonly tolerance: number;
  /** Rounds of turns; default 6. */
  readonly rounds?: number;
}

/** A variant this many times slower than the best leaves after the first round, and after each later one. */
const [FAR, BEHIND] = [3, 1.4];

/** The lower quartile: other programs on the machine only ever make a run longer. */
function typical(times: readonly number[]): number {
  return [...times].sort((a, b) => a - b)[times.length >> 2];
}

/** Where two results differ by more than `tolerance`, in words; null if nowhere. */
function difference(
  results: readonly ArrayLike<number>[],
  expected: readonly ArrayLike<number>[],
  tolerance: number,
): string | null {
  for (const [n, right] of expected.entries()) {
    const left = results[n];
    if (left.length !== right.length) {
      return `its result ${n} has ${left.length} numbers, not ${right.length}`;
    }
    for (let i = 0; i < right.length; i++) {
      if (!(Math.abs(left[i] - right[i]) <= tolerance)) {
        return `its result ${n} has ${left[i]} at ${i}, the fixed table's kernel ${right[i]}`;
      }
    }
  }
  return null;
}

/** Why a variant must not take part, or null. */
async function objection(
  device: Device,
  racer: Racer,
  expected: readonly ArrayLike<number>[] | null,
  tolerance: number,
): Promise<{ dropped: string | null; results: ArrayLike<number>[] }> {
  for (const { kernel, tuning } of racer.kernels) {
    const refused = await trialCompile(device, kernel, tuning);
    if (refused !== null) return { dropped: `does not compile: ${refused}`, results: [] };
  }
  try {
    const results = await racer.results();
    const wrong = expected && difference(results, expected, tolerance);
    return { dropped: wrong ? `wrong: ${wrong}` : null, results };
  } catch (error) {
    return { dropped: `fails: ${(error as Error).message}`, results: [] };
  }
}

/** Milliseconds of each of `repeat` runs of every variant, in turns. */
async function timeRound(device: Device, racers: readonly Racer[], repeat: number): Promise<number[][]> {
  if (!device.features.has("timestamp-query")) {
    const times: number[][] = [];
    for (const racer of racers) {
      await device.sync();
      let start = performance.now();
      await device.sync();
      const idle = performance.now() - start;
      start = performance.now();
      for (let i = 0; i < 4 * repeat; i++) racer.launch();
      await device.sync();
      times.push([Math.max(1e-4, performance.now() - start - idle) / (4 * repeat)]);
    }
    return times;
  }
  const counts: number[] = [];
  let at = 0;
  const launches = await profileLaunches(device, () => {
    const before = device.stats.dispatches;
    racers[0].launch(); // not counted: the first run after a wait is slow, whichever variant it is
    at = device.stats.dispatches - before;
    for (let i = 0; i < repeat; i++) {
      for (const racer of racers) {
        const before = device.stats.dispatches;
        racer.launch();
        counts.push(device.stats.dispatches - before);
      }
    }
  });
  const times: number[][] = racers.map(() => []);
  counts.forEach((count, turn) => {
    let ms = 0;
    for (let i = 0; i < count; i++) ms += launches[at++].ms;
    times[turn % racers.length].push(Math.max(1e-4, ms));
  });
  return times;
}

/**
 * Checks every variant against the first and times those that agree.
 * @returns one standing per variant, in the order given
 */
export async function race(
  device: Device,
  racers: readonly Racer[],
  { flops, tolerance, rounds = 6 }: RaceOptions,
): Promise<Standing[]> {
  const dropped = new Map<Racer, string>();
  let expected: ArrayLike<number>[] | null = null;
  let running: Racer[] = [];
  for (const racer of racers) {
    const trial = await objection(device, racer, expected, tolerance);
    if (trial.dropped !== null) dropped.set(racer, trial.dropped);
    else running.push(racer);
    if (racer === racers[0] && trial.dropped === null) expected = trial.results;
    if (!expected) break; // nothing to compare the others with
  }
  const times = new Map<Racer, number[]>(running.map((racer) => [racer, []]));
  const repeat = Math.min(8, Math.max(1, Math.round(2e7 / flops)));
  for (let round = 0; round < rounds && running.length > 0; round++) {
    const measured = await timeRound(device, running, repeat);
    running.forEach((racer, n) => times.get(racer)!.push(...measured[n]));
    const best = Math.min(...running.map((racer) => typical(times.get(racer)!)));
    const allowed = best * (round === 0 ? FAR : BEHIND);
    running = running.filter((racer) => racer === racers[0] || typical(times.get(racer)!) <= allowed);
  }
  return racers.map((racer) => ({
    name: racer.name,
    ms: times.has(racer) ? typical(times.get(racer)!) : NaN,
    dropped: dropped.get(racer) ?? (times.has(racer) ? null : "the fixed table's kernel was dropped"),
  }));
}
