/**
 * DoRA (Liu et al. 2024, arXiv:2402.09353): LoRA with the length of each output column of the weight trained apart.
 *   V = W + s (B A)^T,   n = column norms of V (no gradient),   g = m / n
 *   y = b + g (x W + s (x A^T) B^T)                              without dropout
 *   y = b + x W + (g - 1) (xd W) + g s (xd A^T) B^T               with dropout
 * The norms come from products of rank r; B A is never formed:
 *   |V|^2 = |W|^2 + 2 s <W, (B A)^T> + s^2 |B A|^2, column by column.
 * @module
 */

import {
  add,
  cast,
  divide,
  linear,
  loraLinear,
  matmul,
  multiply,
  noGrad,
  scale,
  sqrt,
  square,
  subtract,
  sum,
  type Tensor,
  tidy,
  transpose,
} from "../../autograd/mod.ts";
import { Module, type Parameter } from "../../nn/mod.ts";
import { frozenLinear, type LoraFactors, wholeFactors } from "./lora_factors.ts";

/** The trained lengths of one adapter, under `peft`'s name. */
export class DoraMagnitude extends Module {
  /** [out] */
  weight: Parameter;

  /** Takes over the parameter. */
  constructor(weight: Parameter) {
    super();
    this.weight = weight;
  }
}

/** Norms of the output columns of W + s (B A)^T, [out], outside the gradient graph. */
export function columnNorms(factors: LoraFactors): Tensor {
  const { weight, layout, s } = factors;
  return noGrad(() =>
    tidy(() => {
      const { A, B } = wholeFactors(factors);
      const W = cast(weight, "float32");
      const squares = sum(square(W), { axis: layout === "conv1d" ? 0 : 1 }); // [out]
      const AW = layout === "conv1d" ? matmul(A, W) : matmul(A, W, { transposeB: true }); // [r, out]
      const cross = sum(multiply(B, transpose(AW)), { axis: 1 }); // [out]
      const gram = matmul(A, A, { transposeB: true }); // [r, r]
      const own = sum(multiply(matmul(B, gram), B), { axis: 1 }); // [out]
      return sqrt(add(squares, add(scale(cross, 2 * s), scale(own, s * s))));
    })
  );
}

/** y of a DoRA layer without activation and residual; `xDropped` is x after dropout, or null where there is none. */
export function doraForward(
  x: Tensor,
  bias: Parameter | null,
  factors: LoraFactors,
  magnitude: Parameter,
  xDropped: Tensor | null,
): Tensor {
  const { weight, layout, s } = factors;
  const g = divide(magnitude, columnNorms(factors)); // [out]
  if (!xDropped) {
    const { A, B } = wholeFactors(factors);
    const y = multiply(loraLinear(x, weight, null, A, B, s, { layout }), g);
    return bias ? add(y, bias) : y;
  }
  const base = frozenLinear(x, bias, factors);
  const direction = multiply(frozenLinear(xDropped, null, factors), subtract(g, 1));
  const change = multiply(linear(scale(linear(xDropped, factors.A, null), s), factors.B, null), g);
  return add(base, add(direction, change));
}
