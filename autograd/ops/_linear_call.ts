/**
 * A call of a linear layer: its options, its sizes, and the checks of both.
 * @module
 */
import type { FusedActivationName } from "../../kernels/fused_activations.ts";
import { sameShape, showShape } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { checkFloat, checkWeight } from "./_checks.ts";

/**
 * How a weight is stored: `conv1d` [in, out] (GPT-2), `linear` [out, in] (PyTorch's nn.Linear).
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { linear, Tensor, type WeightLayout } from "@peft/webgpu/tensor";
 *
 * const layout: WeightLayout = "conv1d"; // GPT-2's c_attn lies [in, out]
 * const x = Tensor.from([[1, 2]], { device: await initDevice() });
 * console.log(await linear(x, Tensor.from([[1, 2, 3], [4, 5, 6]]), null, { layout }).data()); // [9, 12, 15]
 * ```
 */
export type WeightLayout = "conv1d" | "linear";

/**
 * Options of `linear` and `loraLinear`.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { linear, type LinearOptions, Tensor } from "@peft/webgpu/tensor";
 *
 * const x = Tensor.from([[1, 2]], { device: await initDevice() });
 * const options: LinearOptions = { activation: "gelu_new", residual: x }; // x + gelu(x W^T), one launch
 * console.log(await linear(x, Tensor.from([[0, 0], [5, 5]]), null, options).data()); // [1, 17]
 * ```
 */
export interface LinearOptions {
  /** Default `linear`. */
  layout?: WeightLayout;
  /** Applied to x W + b in the same kernel. */
  activation?: FusedActivationName;
  /** Added to the result in the same kernel; shape of the result. */
  residual?: Tensor | null;
  /** False: only the gradient is wanted, and the values of the result are undefined; default true. */
  isRead?: boolean;
  /** Multiplies x W + b in the same kernel; in place of `activation` and `residual`. */
  gate?: Gate | null;
}

/**
 * activation(by), a factor of the result.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { type Gate, linear, Tensor } from "@peft/webgpu/tensor";
 *
 * const x = Tensor.from([[1, 2]], { device: await initDevice() });
 * const gateWeight = Tensor.from([[1, 0], [0, 1]]), upWeight = Tensor.from([[1, 1], [1, -1]]);
 * const gate: Gate = { activation: "silu", by: linear(x, gateWeight, null) }; // SwiGLU
 * console.log(await linear(x, upWeight, null, { gate }).data()); // [2.193, -1.762]
 * ```
 */
export interface Gate {
  /** Applied to `by`. */
  readonly activation: FusedActivationName;
  /** Shape of the result. */
  readonly by: Tensor;
}

/** Options of `loraLinear`. */
export interface LoraLinearOptions extends LinearOptions {
  /** What the adapter sees instead of `x`: x after dropout. */
  xDropped?: Tensor | null;
}

/** Sizes of a checked call: `rows` x [in] -> `rows` x [out]. */
export interface LinearSizes {
  readonly layout: WeightLayout;
  readonly rows: number;
  readonly inFeatures: number;
  readonly outFeatures: number;
}

export function checkLinear(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null,
  options: LinearOptions,
): LinearSizes {
  const { layout = "linear", residual, gate } = options;
  checkFloat("apply linear to", x);
  if (weight.shape.length !== 2 || x.shape.length < 1) {
    throw new TypeError(
      `Cannot apply linear: x [..., in] and a weight of rank 2 are required, received ${
        showShape(x.shape)
      } and ${showShape(weight.shape)}`,
    );
  }
  checkWeight("apply linear", weight);
  const [inFeatures, outFeatures] = layout === "conv1d" ? weight.shape : [weight.shape[1], weight.shape[0]];
  if (x.shape.at(-1) !== inFeatures) {
    throw new TypeError(
      `Cannot apply linear: the last size of x ${
        showShape(x.shape)
      } must be ${inFeatures}, the input size of a ${layout} weight ${showShape(weight.shape)}`,
    );
  }
  if (bias && (bias.dtype !== "float32" || !sameShape(bias.shape, [outFeatures]))) {
    throw new TypeError(
      `Cannot apply linear: a float32 bias [${outFeatures}] is required, received ${bias.dtype} ${
        showShape(bias.shape)
      }`,
    );
  }
  const shape = [...x.shape.slice(0, -1), outFeatures];
  if (residual && (residual.dtype !== "float32" || !sameShape(residual.shape, shape))) {
    throw new TypeError(
      `Cannot apply linear: a float32 residual ${showShape(shape)} is required, received ${residual.dtype} ${
        showShape(residual.shape)
      }`,
    );
  }
  if (gate && (gate.by.dtype !== "float32" || !sameShape(gate.by.shape, shape))) {
    throw new TypeError(
      `Cannot apply linear: a float32 gate ${showShape(shape)} is required, received ${gate.by.dtype} ${
        showShape(gate.by.shape)
      }`,
    );
  }
  if (gate && (options.activation || residual)) {
    throw new TypeError("Cannot apply linear: a gate takes the place of an activation and of a residual");
  }
  return { layout, inFeatures, outFeatures, rows: inFeatures === 0 ? 0 : x.size / inFeatures };
}

export function checkLora(
  { inFeatures, outFeatures }: LinearSizes,
  x: Tensor,
  loraA: Tensor,
  loraB: Tensor,
  xDropped: Tensor | null,
): number {
  const R = loraA.shape[0];
  const fits = sameShape(loraA.shape, [R, inFeatures]) && sameShape(loraB.shape, [outFeatures, R]) && R > 0;
  if (!fits || loraA.dtype !== "float32" || loraB.dtype !== "float32") {
    throw new TypeError(
      `Cannot apply lora: float32 loraA [R, ${inFeatures}] and loraB [${outFeatures}, R] are required, received ${
        showShape(loraA.shape)
      } and ${showShape(loraB.shape)}`,
    );
  }
  if (xDropped && (xDropped.dtype !== "float32" || !sameShape(xDropped.shape, x.shape))) {
    throw new TypeError(
      `Cannot apply lora: xDropped must be float32 ${showShape(x.shape)}, received ${xDropped.dtype} ${
        showShape(xDropped.shape)
      }`,
    );
  }
  return R;
}
