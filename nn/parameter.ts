/**
 * A tensor that a module owns and that an optimizer may train.
 * @module
 */

import { keep, Tensor, untracked } from "../autograd/mod.ts";

/**
 * A leaf tensor of a module; found by attribute.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { Parameter } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const weight = Parameter.from([[1, 2], [3, 4]]);
 * console.log(weight.shape, weight.requiresGrad); // [2, 2] true
 * ```
 */
export class Parameter extends Tensor {
  /** Takes over the memory of `source`, which is disposed. Trains by default, if it is float32. */
  constructor(source: Tensor, requiresGrad: boolean = source.dtype === "float32") {
    super(source.storage, source.shape, source.dtype);
    keep(this);
    source.dispose();
    this.requiresGrad = requiresGrad;
  }

  /** A parameter of host or device values. */
  static override from(...args: Parameters<typeof Tensor.from>): Parameter {
    return new Parameter(untracked(() => Tensor.from(...args)));
  }
}
