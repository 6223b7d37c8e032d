/**
 * What every bench shares: numbers to work on, the check that comes before a figure, the clock, tables.
 * @module
 */
import { tidy } from "../autograd/mod.ts";
import type { Device } from "../gpu/mod.ts";

/** One line of a table: column to text or number. */
export type Row = Readonly<Record<string, string | number>>;

/** The middle of the sorted values. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Numbers in [-1, 1), always the same for a seed. */
export function randomValues(count: number, seed = 1): Float32Array<ArrayBuffer> {
  let state = seed;
  return Float32Array.from(
    { length: count },
    () => (state = Math.imul(state, 1664525) + 1013904223 | 0) / 2 ** 31,
  );
}

/** Indices of `count` elements of `size`, evenly spread, first and last among them. */
export function sampleIndices(size: number, count: number): number[] {
  const wanted = Math.min(size, count);
  return Array.from({ length: wanted }, (_, i) => Math.floor((size - 1) * i / Math.max(1, wanted - 1)));
}

/**
 * Holds a kernel's result against the reference: no figure is printed for one that differs.
 * @param expected the float64 value of an element, or its value and the error allowed for it
 * @throws {Error} naming the first element that is not within `tolerance`
 */
export function checkResult(
  name: string,
  actual: ArrayLike<number>,
  indices: Iterable<number>,
  expected: (index: number) => number,
  tolerance: number | ((index: number) => number),
): void {
  for (const index of indices) {
    const [wanted, allowed] = [
      expected(index),
      typeof tolerance === "number" ? tolerance : tolerance(index),
    ];
    if (!(Math.abs(actual[index] - wanted) <= allowed)) {
      throw new Error(`Cannot time ${name}: element ${index} must be ${wanted}, received ${actual[index]}`);
    }
  }
}

/** Median milliseconds of one `work`, less what waiting for a submission costs. Temporaries are freed at once. */
export async function timeDevice(
  device: Device,
  repeat: number,
  work: () => void,
  rounds = 7,
): Promise<number> {
  const idle: number[] = [];
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    let start = performance.now();
    await device.sync();
    idle.push(performance.now() - start);
    start = performance.now();
    for (let i = 0; i < repeat; i++) tidy(work);
    await device.sync();
    times.push(performance.now() - start);
  }
  return Math.max(1e-3, median(times) - median(idle)) / repeat;
}

/** Repeats that make work of `ms` milliseconds outweigh the wait of about 11 ms. */
export function repeatsFor(ms: number): number {
  return Math.max(1, Math.round(100 / Math.max(0.05, ms)));
}

/** A number at three digits or so. */
export function show(value: string | number): string {
  if (typeof value === "string" || Number.isInteger(value)) return String(value);
  return Math.abs(value) >= 100
    ? value.toFixed(0)
    : Math.abs(value) >= 10
    ? value.toFixed(1)
    : value.toFixed(3);
}

/** Rows as lines of text, columns aligned; columns of numbers to the right. */
export function formatTable(rows: readonly Row[]): string {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const cells = rows.map((row) => names.map((name) => row[name] === undefined ? "" : show(row[name])));
  const widths = names.map((name, i) => Math.max(name.length, ...cells.map((line) => line[i].length)));
  const right = names.map((name) => rows.every((row) => typeof row[name] !== "string"));
  const line = (texts: readonly string[]) =>
    texts.map((text, i) => right[i] ? text.padStart(widths[i]) : text.padEnd(widths[i])).join("  ").trimEnd();
  return [line(names), ...cells.map(line)].join("\n");
}

/** Prints a table under its title. */
export function printTable(title: string, rows: readonly Row[]): void {
  console.log(`\n${title}\n${formatTable(rows)}`);
}

/** The path after `--json`, if it is given. */
export function jsonPath(args: readonly string[]): string | null {
  const at = args.indexOf("--json");
  if (at < 0) return null;
  const path = args[at + 1];
  if (!path || path.startsWith("--")) {
    throw new TypeError(`Cannot save figures: --json FILE is required, received ${path}`);
  }
  return path;
}
