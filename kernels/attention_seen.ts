/**
 * Which keys a query of attention sees: those up to its own position, in its window, that the mask shows.
 * @module
 */
import { type AttentionKernelOptions, range } from "./attention_options.ts";
import { STEP } from "./attention_tile_loops.ts";

/** The first key that a block of queries sees, at a multiple of `step`. */
export function firstKey({ windowed }: AttentionKernelOptions, step: number): string {
  if (!windowed) return "0u";
  return `(max(params.past + first + 1u, params.window) - params.window) / ${step}u * ${step}u`;
}

/** One more than the last query that sees a key of this block, at most Tq. */
export function lastQuery({ windowed, rows }: AttentionKernelOptions): string {
  if (!windowed) return "params.Tq";
  return `min(params.Tq, max(first + ${rows - 1}u + params.window, params.past) - params.past)`;
}

/** `valid<r>`: which of the keys j to j + 3 query `i<r>` sees. The causal limit lies below Tk. */
export function validKeys(options: AttentionKernelOptions, r: number): string {
  const causal = `(vec4u(j, j + 1u, j + 2u, j + 3u) <= vec4u(params.past + i${r}))`;
  const near = options.windowed
    ? ` & (vec4u(j, j + 1u, j + 2u, j + 3u) + vec4u(params.window) > vec4u(params.past + i${r}))`
    : "";
  return `    let valid${r} = ${causal}${near}${options.mask ? " & shown" : ""};`;
}

/** `shown`: which of the keys j to j + 3 the padding mask shows. */
export function shownKeys(options: AttentionKernelOptions): string {
  if (!options.mask) return "";
  const at = "(params.batch0 + b) * params.Tk + min(j";
  const words = range(4).map((e) => `mask[${at} + ${e}u, params.Tk - 1u)]`);
  return `    let shown = vec4u(${words.join(", ")}) != vec4u(0u);`;
}

/** `valid<r>_<g>`: which keys of a step query r sees; rows are queries. */
export function validQueryRows(options: AttentionKernelOptions): string[] {
  const lines: string[] = [];
  for (const g of range(STEP / 4)) {
    const keys = `vec4u(${range(4).map((e) => `j + ${4 * g + e}u`).join(", ")})`;
    if (options.mask) {
      const words = range(4).map((e) =>
        `mask[(params.batch0 + b) * params.Tk + min(j + ${4 * g + e}u, params.Tk - 1u)]`
      );
      lines.push(`    let shown_${g} = vec4u(${words.join(", ")}) != vec4u(0u);`);
    }
    for (const r of range(options.rows)) {
      const shown = options.mask ? ` & shown_${g}` : "";
      const near = options.windowed ? ` & (${keys} + vec4u(params.window) > vec4u(params.past + i${r}))` : "";
      lines.push(`    let valid${r}_${g} = (${keys} <= vec4u(params.past + i${r}))${near}${shown};`);
    }
  }
  return lines;
}
