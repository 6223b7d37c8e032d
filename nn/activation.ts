/**
 * Activation functions by Hugging Face's names (`transformers.activations.ACT2FN`).
 * @module
 */

import type { FusedActivationName, GateName } from "../autograd/mod.ts";
import {
  gatedProduct,
  gelu,
  geluNew,
  multiply,
  relu,
  scale,
  sigmoid,
  silu,
  tanh,
  type Tensor,
} from "../autograd/mod.ts";

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

/** Activations that products can apply themselves, under every name that computes the same. */
const FUSED: Partial<Record<ActivationName, FusedActivationName>> = {
  gelu_new: "gelu_new",
  gelu_fast: "gelu_new",
  gelu_pytorch_tanh: "gelu_new",
};

/** The `activation` option of a projection that computes this one in the product's kernel; null if none does. */
export function fusedActivation(name: string): FusedActivationName | null {
  return FUSED[name as ActivationName] ?? null;
}

/** Activations that one kernel multiplies by a second operand. */
const GATES: Partial<Record<ActivationName, GateName>> = {
  silu: "silu",
  swish: "silu",
  gelu: "gelu",
  gelu_new: "geluNew",
  gelu_fast: "geluNew",
  gelu_pytorch_tanh: "geluNew",
};

/** act(gate) up, elementwise; gate and up of one shape. */
export function gatedActivation(name: ActivationName, gate: Tensor, up: Tensor): Tensor {
  const fused = GATES[name];
  return fused ? gatedProduct(fused, gate, up) : multiply(activations[name](gate), up);
}
