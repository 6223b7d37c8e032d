/**
 * A tensor that a module owns and that an optimizer may train.
 * @module
 */

import { keep, Tensor, untracked } from "../autograd/mod.ts";

/** A leaf tensor of a module; found by attribute. */
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
