/**
 * Rows of q, k, v, o and their gradients in registers (attention_forward.ts, attention_backward.ts): `<name>_<d>` is group d
 * of four channels.
 * @module
 */
import { type AttentionKernelOptions, range } from "./attention_options.ts";

/** Groups of four channels of a head. */
export function groups(options: AttentionKernelOptions): number[] {
  return range(Math.ceil(options.headSize / 4));
}

/** Elements at `at` (in units of the buffer's elements) + group `d` of four channels; absent channels are 0. */
export function load(options: AttentionKernelOptions, buffer: string, at: string, d: number): string {
  if (options.vector) return `${buffer}[${at} + ${d}u]`;
  const channels = range(4).map((e) =>
    4 * d + e < options.headSize ? `${buffer}[${at} + ${4 * d + e}u]` : "0.0"
  );
  return `vec4f(${channels.join(", ")})`;
}

/** Stores four channels. */
export function store(
  options: AttentionKernelOptions,
  buffer: string,
  at: string,
  d: number,
  value: string,
): string {
  if (options.vector) return `${buffer}[${at} + ${d}u] = ${value};`;
  const names = "xyzw";
  return `{ let t = ${value}; ` +
    range(4).filter((e) => 4 * d + e < options.headSize)
      .map((e) => `${buffer}[${at} + ${4 * d + e}u] = t.${names[e]};`).join(" ") +
    " }";
}

/** The dot product of two rows held as `<left>_<d>` and `<right>_<d>`. */
export function dotText(options: AttentionKernelOptions, left: string, right: string): string {
  return groups(options).map((d) => `dot(${left}_${d}, ${right}_${d})`).join(" + ");
}
