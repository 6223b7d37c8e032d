/**
 * Root mean square normalisation: each row of x to root mean square 1, then scaled.
 *   y = n (weight + offset) + residual,   n = x rstd,   rstd = 1 / sqrt(mean(x^2) + eps)
 * Gradient: with g = dy (weight + offset),
 *   dx = rstd (g - n mean(g n)),   dweight = sum of dy n over rows,   dresidual = dy
 * @see Zhang and Sennrich 2019, arXiv:1910.07467
 * @module
 */

import {
  rmsNormBackwardInput,
  rmsNormBackwardInputAdd,
  rmsNormBackwardWeight,
  rmsNormForward,
  rmsNormForwardAdd,
} from "../../kernels/rms_norm.ts";
import { record } from "../record.ts";
import { lastAxisRows, sameShape, showShape } from "../shape.ts";
import { empty, type Tensor } from "../tensor.ts";
import { checkFloat } from "./_checks.ts";
import { rowKernelChoice } from "./_rows.ts";
import { sumTo } from "./_sums.ts";

/** Rows whose gradient of the weight one thread sums at least, and more where there would be more chunks than this. */
const ROWS_PER_CHUNK = 32;
const MAX_CHUNKS = 16384;

/** Options of `rmsNorm`. */
export interface RMSNormOptions {
  /** Added to the mean square; default 1e-6, as Llama's. */
  eps?: number;
  /** Added to the weight; default 0. Gemma's norms multiply by 1 + weight. */
  offset?: number;
  /** Added to the result in the same kernel; shape of x. */
  residual?: Tensor | null;
}

/**
 * Root mean square normalisation over the last axis.
 * @param x [..., C]   @param weight [C]
 * @returns [..., C]
 * @throws {TypeError} if the weight is not [C] or the residual not shaped as x
 */
export function rmsNorm(x: Tensor, weight: Tensor, options: RMSNormOptions = {}): Tensor {
  const { eps = 1e-6, offset = 0, residual = null } = options;
  checkFloat("normalise", x);
  const { rows, cols } = lastAxisRows(x.shape);
  if (!sameShape(weight.shape, [cols])) {
    throw new TypeError(
      `Cannot compute rmsNorm of x ${
        showShape(x.shape)
      }: weight must have shape [${cols}], the last axis of x, received ${showShape(weight.shape)}`,
    );
  }
  if (residual && (residual.dtype !== "float32" || !sameShape(residual.shape, x.shape))) {
    throw new TypeError(
      `Cannot compute rmsNorm of x ${
        showShape(x.shape)
      }: a float32 residual of the same shape is required, received ${residual.dtype} ${
        showShape(residual.shape)
      }`,
    );
  }
  const { variant, width } = rowKernelChoice(x.device, cols);
  const y = empty(x.device, x.shape);
  const rstd = empty(x.device, [rows]);
  x.device.dispatch(
    (residual ? rmsNormForwardAdd : rmsNormForward)[variant][width],
    { x: x.view, weight: weight.view, y: y.view, rstd: rstd.view, residual: (residual ?? x).view },
    { rows, cols, eps, offset },
  );
  record("rmsNorm", {
    inputs: { x, weight, residual },
    saved: { x, weight, rstd },
    outputs: [y],
    backward: ({ dy, saved: { x, weight, rstd }, needs, arrived }) => {
      let dx: Tensor | null = null;
      if (needs.x) {
        const addend = arrived("x");
        dx = empty(x.device, x.shape);
        const family = addend ? rmsNormBackwardInputAdd : rmsNormBackwardInput;
        const views = { x: x.view, weight: weight.view, rstd: rstd.view, dy: dy.view, dx: dx.view };
        x.device.dispatch(
          family[variant][width],
          { ...views, addend: (addend ?? dx).view },
          { rows, cols, offset },
        );
      }
      return { x: dx, weight: needs.weight ? weightGradient(x, rstd, dy) : null, residual: dy };
    },
  });
  rstd.dispose(); // the tape holds its own handle
  return y;
}

/** dweight [C]: the sum of dy x rstd over rows. */
function weightGradient(x: Tensor, rstd: Tensor, dy: Tensor): Tensor {
  const { rows, cols } = lastAxisRows(x.shape);
  const chunk = Math.max(ROWS_PER_CHUNK, Math.ceil(rows / MAX_CHUNKS));
  const partial = empty(x.device, [Math.ceil(rows / chunk), cols]);
  x.device.dispatch(
    rmsNormBackwardWeight,
    { x: x.view, rstd: rstd.view, dy: dy.view, partial: partial.view },
    { rows, cols, chunk },
  );
  return sumTo(partial, [cols]);
}
