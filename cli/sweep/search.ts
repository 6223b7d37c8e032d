/**
 * Which values a sweep tries: every combination, random ones, and which trials of several go on.
 * @module
 */

import { HostRandom } from "@peft/webgpu/tensor";

/** How the values of a parameter are distributed, by the names of Weights & Biases' sweep files. */
export type Distribution = "categorical" | "uniform" | "log_uniform_values" | "int_uniform";

/** A parameter of a sweep. */
export interface Parameter {
  readonly name: string;
  readonly distribution: Distribution;
  /** Values of a categorical one. */
  readonly values: readonly unknown[];
  /** Bounds of the others. */
  readonly min: number;
  readonly max: number;
}

/** Values by names of parameters. */
export type Choice = Readonly<Record<string, unknown>>;

/** Every combination of values, the last parameter's changing fastest. */
export function gridOf(parameters: readonly Parameter[]): Choice[] {
  return parameters.reduce<Choice[]>(
    (choices, { name, values }) =>
      choices.flatMap((choice) => values.map((value) => ({ ...choice, [name]: value }))),
    [{}],
  );
}

/** Digits of a drawn number: more than any training tells apart, and few enough to read. */
const DIGITS = 4;

function draw({ distribution, values, min, max }: Parameter, random: HostRandom): unknown {
  if (distribution === "categorical") return values[random.integer(values.length)];
  if (distribution === "int_uniform") return min + random.integer(max - min + 1);
  const at = random.uniform();
  const value = distribution === "uniform"
    ? min + at * (max - min)
    : Math.exp(Math.log(min) + at * (Math.log(max) - Math.log(min)));
  return Math.min(max, Math.max(min, Number(value.toPrecision(DIGITS))));
}

/** Draws in a row that may be of choices which were drawn before. */
const MOST_REPEATS = 1000;

/**
 * Different choices, drawn at random.
 * @param seed the same seed draws the same
 * @returns fewer than `count` where there are no more
 */
export function randomChoices(parameters: readonly Parameter[], count: number, seed: number): Choice[] {
  const random = new HostRandom(seed);
  const found = new Map<string, Choice>();
  for (let repeats = 0; found.size < count && repeats < MOST_REPEATS;) {
    const choice = Object.fromEntries(parameters.map((one) => [one.name, draw(one, random)]));
    const key = JSON.stringify(choice);
    repeats = found.has(key) ? repeats + 1 : 0;
    found.set(key, choice);
  }
  return [...found.values()];
}

/**
 * Steps to which trials are trained before the worse ones end: `minResource` times powers of `reductionFactor`, below
 * `maxSteps`, and `maxSteps` (Jamieson and Talwalkar 2016; the names are Optuna's).
 */
export function rungsOf(minResource: number, reductionFactor: number, maxSteps: number): number[] {
  const rungs: number[] = [];
  for (let steps = minResource; steps < maxSteps; steps *= reductionFactor) rungs.push(steps);
  return [...rungs, maxSteps];
}

/** How many of so many trials go on after a rung. */
export function survivorsOf(trials: number, reductionFactor: number): number {
  return Math.max(1, Math.floor(trials / reductionFactor));
}

/**
 * Trials in the order of their measure, the best first; of equal ones the earlier. Those without a finite measure are
 * last.
 */
export function ranked(
  measures: ReadonlyMap<number, number | null>,
  goal: "minimize" | "maximize",
): number[] {
  const worst = (value: number | null) =>
    value === null || !Number.isFinite(value) ? Infinity : goal === "minimize" ? value : -value;
  const difference = (a: number, b: number) => a === b ? 0 : a - b; // of two infinite ones NaN
  return [...measures].sort(([a, x], [b, y]) => difference(worst(x), worst(y)) || a - b).map(([trial]) =>
    trial
  );
}
