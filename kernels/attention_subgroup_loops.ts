/**
 * The loops of attention's subgroup variant (attention_subgroup.ts): scores of a block of rows against each thread's columns,
 * and results that grow by a step's columns.
 * @module
 */
import { type AttentionKernelOptions, range } from "./attention_options.ts";
import { shareItems } from "./subgroup_items.ts";

/** Columns that a thread has in a step. */
export const COLUMNS = 2;
const names = "xyzw";

/** Entry r of rows kept as vec4f, `<name>_<r / 4>`. */
export const ofRow = (name: string, r: number) => `${name}_${r >> 2}.${names[r & 3]}`;

/** Groups of four rows. */
export const fours = ({ rows }: AttentionKernelOptions) => range(rows / 4);

/** `value` of every thread, combined. */
export const overThreads = (
  { threads = 0 }: AttentionKernelOptions,
  value: string,
  combine: (a: string, b: string) => string,
) => range(threads).map((lane) => `subgroupBroadcast(${value}, ${lane}u)`).reduce(combine);

/** Groups of four channels of a thread; group c is channels 4 (c threads + lane) and following. */
export const channelGroups = ({ headSize, threads = 0 }: AttentionKernelOptions) =>
  range(headSize / 4 / threads);
export const channel = ({ threads = 0 }: AttentionKernelOptions, c: number) =>
  c === 0 ? "lane" : `${c * threads}u + lane`;

/** Rows of one buffer against each thread's columns of another. */
export interface Pair {
  /** Prefix of the sums `<sum><row>_<column>`. */
  readonly sum: string;
  readonly rowBuffer: string;
  /** Where row `r` begins, WGSL. */
  readonly row: (r: string) => string;
  readonly columnBuffer: string;
  /** Where column e of the thread begins, WGSL. */
  readonly column: (e: number) => string;
}

/** Before the loop over columns: where this thread's share of the rows lies. */
export const rowPlaces = (options: AttentionKernelOptions, pairs: readonly Pair[]) =>
  pairs.flatMap((pair) => sharedRows(options, pair).places);

const sharedRows = ({ threads = 0, rows }: AttentionKernelOptions, { sum, row }: Pair) =>
  shareItems(threads, `${sum}Row`, rows, row);

/** Sums over the channels. */
export function scores(options: AttentionKernelOptions, pairs: readonly Pair[]): string[] {
  const lines = pairs.flatMap(({ sum }) =>
    range(options.rows).flatMap((r) => range(COLUMNS).map((e) => `    var ${sum}${r}_${e} = 0.0;`))
  );
  lines.push(`    for (var d = 0u; d < ${options.headSize / 4}u; d++) {`);
  for (const pair of pairs) {
    const { sum, rowBuffer, columnBuffer, column } = pair;
    const { reads, item } = sharedRows(options, pair);
    lines.push(...reads((at) => `${rowBuffer}[${at} + d]`));
    for (const e of range(COLUMNS)) {
      lines.push(`      let ${sum}Column${e} = ${columnBuffer}[${column(e)} + d];`);
    }
    for (const r of range(options.rows)) {
      lines.push(`      let ${sum}Of${r} = ${item(r)};`);
      for (const e of range(COLUMNS)) {
        lines.push(`      ${sum}${r}_${e} += dot(${sum}Of${r}, ${sum}Column${e});`);
      }
    }
  }
  lines.push("    }");
  return lines;
}

/** Rows that grow by weights of a step's columns: `<target><row>_<c> += sum of <weight><row>_<e> times its column`. */
interface Growth {
  readonly target: string;
  readonly weight: string;
  readonly buffer: string;
  /** Where the step's column `n` begins, WGSL of a number. */
  readonly column: (n: string) => string;
}

/** `<target><row>_<c>`, zero. */
export const grown = (options: AttentionKernelOptions, target: string) =>
  range(options.rows).flatMap((r) =>
    channelGroups(options).map((c) => `  var ${target}${r}_${c} = vec4f();`)
  );

/** Four columns at a time: results are read and written once for them. */
export function grow(options: AttentionKernelOptions, growths: readonly Growth[]): string[] {
  const { threads = 0, rows } = options;
  const lines: string[] = [];
  for (const { target, weight, buffer, column } of growths) {
    for (const n of range(COLUMNS * threads).filter((n) => n % 4 === 0)) {
      const four = range(4).map((t) => n + t);
      lines.push("    {");
      for (const m of four) {
        lines.push(`      let at${m} = ${column(`${m}u`)};`);
        for (const c of channelGroups(options)) {
          lines.push(`      let y${m}_${c} = ${buffer}[at${m} + ${channel(options, c)}];`);
        }
      }
      for (const r of range(rows)) {
        for (const m of four) {
          const own = `${weight}${r}_${Math.floor(m / threads)}`;
          lines.push(`      let w${r}_${m} = vec4f(subgroupBroadcast(${own}, ${m % threads}u));`);
        }
        for (const c of channelGroups(options)) {
          const sum = four.reduce(
            (inner, m) => `fma(w${r}_${m}, y${m}_${c}, ${inner})`,
            `${target}${r}_${c}`,
          );
          lines.push(`      ${target}${r}_${c} = ${sum};`);
        }
      }
      lines.push("    }");
    }
  }
  return lines;
}

/** Number of this thread's column e in a step that begins at `from`. */
export const columnOf = ({ threads = 0 }: AttentionKernelOptions, from: string, e: number) =>
  `${from} + ${e * threads}u + lane`;
