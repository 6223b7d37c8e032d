/**
 * The interface of a part of a transformer block that adds to the residual stream: attention or MLP.
 * Wrappers (bottleneck adapters) replace it, so they share this interface.
 * @module
 */

import type { Tensor } from "../autograd/mod.ts";
import { Module } from "./module.ts";

/**
 * A norm of rows [..., C], to whose result `residual` is added.
 *
 * @example
 * ```ts
 * import { initDevice, Tensor } from "@peft/webgpu";
 * import { Parameter, RMSNorm, type StreamNorm } from "@peft/webgpu/tensor";
 *
 * const stream = Tensor.from([[10, 20]], { device: await initDevice() });
 * const norm: StreamNorm = new RMSNorm(Parameter.from([1, 1]), 1e-6);
 * console.log(await norm.forward(Tensor.from([[3, -3]]), stream).data()); // [11, 19], nearly
 * ```
 */
export interface StreamNorm {
  /** norm(x) + residual. */
  forward(x: Tensor, residual?: Tensor | null): Tensor;
}

/**
 * A part x [B, T, C] -> y [B, T, C] of a block, with what is added to it.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import { SubBlock } from "@peft/webgpu/tensor";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * for (const [path, module] of model.namedModules()) if (module instanceof SubBlock) console.log(path, module.hiddenSize);
 * ```
 */
export abstract class SubBlock extends Module {
  /** Size of the last axis, C. */
  abstract readonly hiddenSize: number;
  /** y = f(x) + residual, or f(x) where `residual` is null; `rest` is what the part itself needs, such as masks. */
  abstract forward(x: Tensor, residual: Tensor | null, ...rest: unknown[]): Tensor;

  /** norm(f(x)) + stream, of a block that norms what its parts give before it is added; `rest` as in `forward`. */
  forwardNormed(x: Tensor, stream: Tensor, norm: StreamNorm, ...rest: unknown[]): Tensor {
    return norm.forward(this.forward(x, null, ...rest), stream);
  }
}
