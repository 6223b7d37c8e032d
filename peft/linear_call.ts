/**
 * What an adapted linear layer computes:
 *   y = g (x W + sum over terms of s (xd A^T) B^T + added) + b
 * Adapters change the parts; one function runs the whole in as few kernels as it takes.
 * @module
 */

import { add, linear, loraLinear, multiply, scale, type Tensor, type WeightLayout } from "../autograd/mod.ts";
import { activations, type ProjectionOptions } from "../nn/mod.ts";

/** One change of low rank, s (xd A^T) B^T. */
export interface LowRankTerm {
  /** [R, in] */
  readonly A: Tensor;
  /** [out, R] */
  readonly B: Tensor;
  /** Scaling. */
  readonly s: number;
  /** What it sees instead of the call's x, [..., in]: x after dropout; null for x itself. */
  readonly xDropped: Tensor | null;
}

/** The parts of one call. */
export interface LinearCall {
  /** [..., in] */
  readonly x: Tensor;
  /** The weight, stored by `layout`; float32, or float16 if nothing changed it. */
  readonly weight: Tensor;
  /** [out], or null. */
  readonly bias: Tensor | null;
  /** How the weight is stored. */
  readonly layout: WeightLayout;
  /** Changes of low rank. */
  readonly terms: readonly LowRankTerm[];
  /** A change of the output that is computed already, [..., out], or null. */
  readonly added: Tensor | null;
  /** Factors [out] of everything but the bias, or null. */
  readonly gain: Tensor | null;
}

/** y [..., out] of a call, activated and with the residual added. */
export function runLinear(call: LinearCall, { activation, residual }: ProjectionOptions): Tensor {
  const { x, weight, bias, layout, terms, added, gain } = call;
  if (!gain && terms.length <= 1 && !(added && (activation || residual))) {
    const options = { layout, activation, residual: added ?? residual };
    if (terms.length === 0) return linear(x, weight, bias, options);
    const [{ A, B, s, xDropped }] = terms;
    return loraLinear(x, weight, bias, A, B, s, { ...options, xDropped });
  }
  let y = linear(x, weight, gain ? null : bias, { layout, residual: added });
  for (const { A, B, s, xDropped } of terms) {
    const u = scale(linear(xDropped ?? x, A, null), s); // [..., R]
    y = linear(u, B, null, { residual: y });
  }
  if (gain) y = multiply(y, gain);
  if (gain && bias) y = add(y, bias);
  if (activation) y = activations[activation](y);
  return residual ? add(y, residual) : y;
}
