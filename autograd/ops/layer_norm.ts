/**
 * Layer normalisation: each row of x to mean 0 and variance 1, then scaled and shifted.
 *   y = n weight + bias,   n = (x - mean) rstd,   rstd = 1 / sqrt(var + eps)
 * Gradient: with g = dy weight,
 *   dx = rstd (g - mean(g) - n mean(g n)),   dweight = sum of dy n over rows,   dbias = sum of dy over rows
 * @see Ba et al. 2016, arXiv:1607.06450
 * @module
 */

import {
  layerNormBackwardInput,
  layerNormBackwardInputAdd,
  layerNormBackwardParams,
  layerNormForward,
  layerNormParamsSum,
} from "../../kernels/layer_norm.ts";
import { lastAxisRows, sameShape, showShape } from "../shape.ts";
import { record } from "../record.ts";
import { empty, type Tensor } from "../tensor.ts";
import { checkFloat } from "./_checks.ts";
import { rowKernelChoice } from "./_rows.ts";

/** Rows whose parameter gradients one thread sums at least, and more where there would be more chunks than this. */
const ROWS_PER_CHUNK = 32;
const MAX_CHUNKS = 16384;

/**
 * Options of `layerNorm`.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { layerNorm, type LayerNormOptions, Tensor } from "@peft/webgpu/tensor";
 *
 * const options: LayerNormOptions = { eps: 1e-12 }; // BERT's
 * const x = Tensor.from([[1, 3]], { device: await initDevice() });
 * console.log(await layerNorm(x, Tensor.from([1, 1]), Tensor.from([0, 0]), options).data()); // [-1, 1]
 * ```
 */
export interface LayerNormOptions {
  /** Added to the variance; default 1e-5, as PyTorch's. */
  eps?: number;
}

/**
 * Layer normalisation over the last axis.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { layerNorm, Tensor } from "@peft/webgpu/tensor";
 *
 * const x = Tensor.from([[1, 3], [10, 30]], { device: await initDevice() });
 * const [weight, bias] = [Tensor.from([1, 1]), Tensor.from([0, 5])];
 * console.log(await layerNorm(x, weight, bias).data()); // [-1, 6, -1, 6], nearly
 * ```
 * @param x [..., C]   @param weight [C]   @param bias [C]
 * @returns [..., C]
 * @throws {TypeError} if weight or bias is not [C]
 */
export function layerNorm(x: Tensor, weight: Tensor, bias: Tensor, options: LayerNormOptions = {}): Tensor {
  checkFloat("normalise", x);
  const { rows, cols } = lastAxisRows(x.shape);
  for (const [name, param] of Object.entries({ weight, bias })) {
    if (!sameShape(param.shape, [cols])) {
      throw new TypeError(
        `Cannot compute layerNorm of x ${
          showShape(x.shape)
        }: ${name} must have shape [${cols}], the last axis of x, received ${showShape(param.shape)}`,
      );
    }
  }
  const { variant, width } = rowKernelChoice(x.device, cols);
  const y = empty(x.device, x.shape);
  const stats = empty(x.device, [rows, 2]);
  x.device.dispatch(
    layerNormForward[variant][width],
    { x: x.view, weight: weight.view, bias: bias.view, y: y.view, stats: stats.view },
    { rows, cols, eps: options.eps ?? 1e-5 },
  );
  record("layerNorm", {
    inputs: { x, weight, bias },
    saved: { x, weight, stats },
    outputs: [y],
    backward: ({ dy, saved: { x, weight, stats }, needs, arrived }) => {
      let dx: Tensor | null = null;
      if (needs.x) {
        const addend = arrived("x");
        dx = empty(x.device, x.shape);
        const family = addend ? layerNormBackwardInputAdd : layerNormBackwardInput;
        const views = { x: x.view, weight: weight.view, stats: stats.view, dy: dy.view, dx: dx.view };
        x.device.dispatch(family[variant][width], { ...views, addend: (addend ?? dx).view }, { rows, cols });
      }
      if (!needs.weight && !needs.bias) return { x: dx };
      const chunk = Math.max(ROWS_PER_CHUNK, Math.ceil(rows / MAX_CHUNKS));
      const chunks = Math.ceil(rows / chunk);
      const partial = empty(x.device, [chunks, 2, cols]);
      x.device.dispatch(
        layerNormBackwardParams,
        { x: x.view, stats: stats.view, dy: dy.view, partial: partial.view },
        { rows, cols, chunk },
      );
      const [dweight, dbias] = [empty(x.device, [cols]), empty(x.device, [cols])];
      x.device.dispatch(
        layerNormParamsSum,
        { partial: partial.view, dweight: dweight.view, dbias: dbias.view },
        { chunks, cols },
      );
      return { x: dx, weight: needs.weight ? dweight : null, bias: needs.bias ? dbias : null };
    },
  });
  stats.dispose();
  return y;
}
