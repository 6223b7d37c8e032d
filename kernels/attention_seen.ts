/**
 * Which keys a query of attention sees: those up to its own position, of its own document, in its window, that the
 * mask shows.
 *
 * Where a row holds several documents, the word of position i is the first position of its document, so that one
 * comparison per score is enough: query i sees the keys from there to i. Documents follow each other, so these words
 * never fall, and whole steps outside are left out. The highest bit of a word hides its position as a key.
 * @module
 */
import { type AttentionKernelOptions, range, STEP } from "./attention_options.ts";

/** Whether the mask shows key `j`, as a condition that continues `true`. */
export function shownKey({ mask, documents }: AttentionKernelOptions, j: string): string {
  if (!mask) return "";
  const at = `(params.batch0 + b) * params.Tk + ${j}`;
  return documents ? ` && documents[${at}] < 0x80000000u` : ` && mask[${at}] != 0u`;
}

/** `<name>`: which of the keys j + 4 g to j + 4 g + 3 the mask shows. */
export function shownKeys({ documents }: AttentionKernelOptions, name = "shown", g = 0): string {
  const at = "(params.batch0 + b) * params.Tk + min(j";
  const words = range(4).map((e) =>
    `${documents ? "documents" : "mask"}[${at} + ${4 * g + e}u, params.Tk - 1u)]`
  )
    .join(", ");
  return `    let ${name} = ${
    documents ? `vec4u(${words}) < vec4u(0x80000000u)` : `vec4u(${words}) != vec4u(0u)`
  };`;
}

/** `origin<r>`: the first key of the document of query `i<r>`. */
export function queryStart(r: number): string {
  return `  let origin${r} = startOf(b, i${r});`;
}

/** Whether a block of queries may begin at another key than the first. */
export const skips = ({ windowed, documents }: AttentionKernelOptions) => windowed || documents;

/** The first key that a block of queries sees where it may be another than the first, at a multiple of `step`. */
export function firstKey({ windowed, documents }: AttentionKernelOptions, step: number): string {
  const near = "max(params.past + first + 1u, params.window) - params.window";
  const first = !documents ? near : !windowed ? "origin0" : `max(${near}, origin0)`;
  return `(${first}) / ${step}u * ${step}u`;
}

/** One more than the last query that sees a key of this block by the window, at most Tq. */
export function lastQuery({ windowed, rows }: AttentionKernelOptions): string {
  if (!windowed) return "params.Tq";
  return `min(params.Tq, max(first + ${rows - 1}u + params.window, params.past) - params.past)`;
}

/** Ends a loop over queries at `origin`, where the documents of all keys of this block have ended. */
export function endOfDocuments({ documents, rows }: AttentionKernelOptions, origin: string): string {
  return documents ? `    if (${origin} > first + ${rows - 1}u) { break; }` : "";
}

/** Which of four keys query `i<r>` sees; its causal limit lies below Tk. */
export function seenBy(
  { windowed, documents, mask }: AttentionKernelOptions,
  r: number,
  keys: string,
  shown: string,
) {
  return `(${keys} <= vec4u(params.past + i${r}))` +
    (windowed ? ` & (${keys} + vec4u(params.window) > vec4u(params.past + i${r}))` : "") +
    (documents ? ` & (${keys} >= vec4u(origin${r}))` : "") + (mask ? ` & ${shown}` : "");
}

/** Keys j + 4 g to j + 4 g + 3. */
export const fourKeys = (g: number) =>
  range(4).map((e) => 4 * g + e === 0 ? "j" : `j + ${4 * g + e}u`).join(", ");

/** `valid<r>_<g>`: which keys of a step query r sees; rows are queries. */
export function validQueryRows(options: AttentionKernelOptions): string[] {
  const lines: string[] = [];
  for (const g of range(STEP / 4)) {
    if (options.mask) lines.push(shownKeys(options, `shown_${g}`, g));
    for (const r of range(options.rows)) {
      lines.push(`    let valid${r}_${g} = ${seenBy(options, r, `vec4u(${fourKeys(g)})`, `shown_${g}`)};`);
    }
  }
  return lines;
}
