/**
 * Activation functions by Hugging Face's names (`transformers.activations.ACT2FN`).
 * @module
 */

import { gelu, geluNew, multiply, relu, scale, sigmoid, silu, tanh, type Tensor } from "../autograd/mod.ts";

/** x sigmoid(1.702 x). */
const quickGelu = (x: Tensor): Tensor => multiply(x, sigmoid(scale(x, 1.702)));

/** Name of an activation. */
export type ActivationName =
  | "gelu"
  | "gelu_new"
  | "gelu_fast"
  | "gelu_pytorch_tanh"
  | "quick_gelu"
  | "relu"
  | "sigmoid"
  | "silu"
  | "swish"
  | "tanh";

/** Every activation that a config may name. */
export const activations: Readonly<Record<ActivationName, (x: Tensor) => Tensor>> = {
  gelu,
  gelu_new: geluNew,
  gelu_fast: geluNew,
  gelu_pytorch_tanh: geluNew,
  quick_gelu: quickGelu,
  relu,
  sigmoid,
  silu,
  swish: silu,
  tanh,
};

/** The names that compute the same as gelu_new, which matmul kernels can apply themselves. */
export const GELU_NEW_NAMES: ReadonlySet<string> = new Set(["gelu_new", "gelu_fast", "gelu_pytorch_tanh"]);
