/**
 * DoRA (Liu et al. 2024, arXiv:2402.09353): LoRA with the length of each output column of the weight trained apart.
 *   V = W + s (B A)^T,   n = column norms of V (no gradient),   g = m / n
 *   y = b + g (x W + s (x A^T) B^T)                              without dropout
 *   y = b + x W + (g - 1) (xd W) + g s (xd A^T) B^T               with dropout
 * @module
 */

import {
  add,
  divide,
  linear,
  loraLinear,
  multiply,
  noGrad,
  scale,
  sqrt,
  subtract,
  sumSquares,
  type Tensor,
  tidy,
} from "../../autograd/mod.ts";
import { Module, type Parameter } from "../../nn/mod.ts";
import { wholeFactors } from "../state/low_rank_factors.ts";
import { changedWeight, frozenLinear, type LoraFactors } from "./lora_factors.ts";

/**
 * The trained lengths of one adapter, under `peft`'s name.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import { DoraMagnitude } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"], useDora: true }));
 * for (const [path, module] of model.namedModules()) if (module instanceof DoraMagnitude) console.log(path);
 * ```
 */
export class DoraMagnitude extends Module {
  /** [out] */
  weight: Parameter;

  /** Takes over the parameter. */
  constructor(weight: Parameter) {
    super();
    this.weight = weight;
  }
}

/**
 * Norms of the output columns of W + s (B A)^T, [out], outside the gradient graph. The changed weight is formed: by
 * |W|^2 + 2 s <W, (B A)^T> + s^2 |B A|^2 the norm of a column that the adapter nearly cancels would be NaN or have no
 * correct digit.
 */
export function columnNorms(factors: LoraFactors): Tensor {
  return noGrad(() =>
    tidy(() => sqrt(sumSquares(changedWeight(factors), { axis: factors.layout === "conv1d" ? 0 : 1 })))
  );
}

/** y of a DoRA layer without activation and residual; `xDropped` is x after dropout, or null where there is none. */
export function doraForward(
  x: Tensor,
  bias: Tensor | null,
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
