/**
 * The factors of one LoRA adapter of one layer, and what they add to its weight: s (B A)^T.
 * @module
 */

import {
  cast,
  linear,
  loraLinear,
  scale,
  type Tensor,
  transpose,
  type WeightLayout,
} from "../../autograd/mod.ts";
import { type LoraOffset, wholeFactors } from "../state/low_rank_factors.ts";

/** The factors of one adapter, with what they belong to. */
export interface LoraFactors {
  /** Base weight. */
  readonly weight: Tensor;
  /** How the base weight is stored. */
  readonly layout: WeightLayout;
  /** [r, in] */
  readonly A: Tensor;
  /** [out, r] */
  readonly B: Tensor;
  /** Scaling. */
  readonly s: number;
  /** Frozen factors beside them (PiSSA, OLoRA). */
  readonly offset?: LoraOffset;
}

/** The layer's output for x [..., in] without the trained factors. */
export function frozenLinear(
  x: Tensor,
  bias: Tensor | null,
  { weight, layout, s, offset }: LoraFactors,
  residual: Tensor | null = null,
): Tensor {
  if (!offset) return linear(x, weight, bias, { layout, residual });
  return loraLinear(x, weight, bias, offset.A, offset.B, s, { layout, residual });
}

/** The weight with what the adapter adds, float32, in the weight's layout; one product, windowed where it must be. */
export function changedWeight(factors: LoraFactors): Tensor {
  const { weight, layout, s } = factors;
  const { A, B } = wholeFactors(factors);
  const residual = cast(weight, "float32");
  return layout === "conv1d"
    ? linear(transpose(A), scale(B, s), null, { residual }) // [in, out]
    : linear(B, scale(A, s), null, { layout: "conv1d", residual }); // [out, in]
}
