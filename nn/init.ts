/**
 * Initial values of parameters, drawn on the device.
 * @module
 */

import {
  type Device,
  drawNormal,
  drawUniform,
  empty,
  full,
  HostRandom,
  type Shape,
  Tensor,
  untracked,
} from "../autograd/mod.ts";
import { Parameter } from "./parameter.ts";

/**
 * Draws parameters one after another from one seed: the same seed and order give the same weights.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { Initializer } from "@peft/webgpu/tensor";
 *
 * const init = new Initializer(await initDevice(), 1);
 * console.log(init.normal([2, 3], 0.02).shape); // [2, 3]
 * ```
 */
export class Initializer {
  /** Where parameters are made. */
  readonly device: Device;
  /** What they are drawn from. */
  readonly seed: number;
  /** Whether it draws; if not, what would be random is left unset, for values that follow. */
  readonly draws: boolean;
  #call = 0;

  /** `seed` is an integer from 0 to 2^53 - 1. */
  constructor(device: Device, seed: number, draws = true) {
    this.device = device;
    this.seed = seed;
    this.draws = draws;
  }

  #drawn(shape: Shape, draw: () => Tensor): Parameter {
    return new Parameter(untracked(() => this.draws ? draw() : empty(this.device, shape)));
  }

  /** Normal with mean 0. */
  normal(shape: Shape, std: number): Parameter {
    return this.#drawn(shape, () => drawNormal(this.device, shape, std, this.seed, this.#call++));
  }

  /** Uniform in [-bound, bound). */
  uniform(shape: Shape, bound: number): Parameter {
    return this.#drawn(shape, () => drawUniform(this.device, shape, bound, this.seed, this.#call++));
  }

  /** Normal with mean 0, cut off at `bound` on both sides (`torch.nn.init.trunc_normal_`); drawn on the host. */
  truncatedNormal(shape: Shape, std: number, bound: number): Parameter {
    return this.#drawn(shape, () => {
      const random = new HostRandom((this.seed + this.#call++ * 2 ** 32) % 2 ** 53);
      const size = shape.reduce((a, b) => a * b, 1);
      const values = Float32Array.from({ length: size }, () => {
        let value = std * random.normal();
        while (Math.abs(value) > bound) value = std * random.normal();
        return value;
      });
      return Tensor.from(values, { device: this.device, shape });
    });
  }

  /** One value everywhere. */
  constant(shape: Shape, value: number): Parameter {
    return new Parameter(untracked(() => full(this.device, shape, value)));
  }
}
