/**
 * Softmax and log-softmax over the last axis.
 *   y = exp(x - max) / sum exp(x - max),   dx = y (dy - sum(dy y))
 *   log: y = x - lse(x),                   dx = dy - exp(y) sum(dy)
 * @module
 */

import { softmaxBackward, softmaxForward } from "../../kernels/softmax.ts";
import { lastAxisRows } from "../shape.ts";
import { record } from "../record.ts";
import { empty, type Tensor } from "../tensor.ts";
import { checkFloat } from "./_checks.ts";
import { rowKernelChoice } from "./_rows.ts";

function rowSoftmax(name: string, x: Tensor, LOG: 0 | 1): Tensor {
  checkFloat(name, x);
  const { rows, cols } = lastAxisRows(x.shape);
  const { variant, width } = rowKernelChoice(x.device, cols);
  const y = empty(x.device, x.shape);
  const tuning = LOG ? { LOG } : undefined;
  x.device.dispatch(softmaxForward[variant][width], { x: x.view, y: y.view }, { rows, cols }, tuning);
  return record(name, {
    inputs: { x },
    saved: { y },
    outputs: [y],
    backward: ({ dy, saved: { y } }) => {
      const dx = empty(y.device, y.shape);
      const views = { y: y.view, dy: dy.view, dx: dx.view };
      y.device.dispatch(softmaxBackward[variant][width], views, { rows, cols }, tuning);
      return { x: dx };
    },
  });
}

/**
 * Softmax over the last axis of x [..., C]; rows sum to 1.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { softmax, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 *
 * console.log(await softmax(Tensor.from([[0, 0], [1, 1]])).data()); // [0.5, 0.5, 0.5, 0.5]
 * ```
 */
export function softmax(x: Tensor): Tensor {
  return rowSoftmax("softmax", x, 0);
}

/** The logarithm of softmax over the last axis of x [..., C]. */
export function logSoftmax(x: Tensor): Tensor {
  return rowSoftmax("logSoftmax", x, 1);
}
