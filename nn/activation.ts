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

/**
 * Name of an activation.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { GPT2Config, GPT2LMHeadModel } from "@peft/webgpu/model";
 * import type { ActivationName } from "@peft/webgpu/tensor";
 *
 * const device = await initDevice(), small = { nLayer: 1, nHead: 2, nEmbd: 8, nPositions: 8, vocabSize: 16 };
 * for (const activationFunction of ["gelu_new", "relu"] satisfies ActivationName[]) { // as config.json names it
 *   const model = new GPT2LMHeadModel(new GPT2Config({ ...small, activationFunction }), { device, seed: 1 });
 *   console.log(activationFunction, (await model.forward({ inputIds: [[1, 2]] }).logits.data())[0]); // the same weights
 * }
 * ```
 */
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

/** What of them products can apply themselves; null: a launch of its own computes it. */
const FUSED: Readonly<Record<ActivationName, FusedActivationName | null>> = {
  gelu: "gelu",
  gelu_new: "gelu_new",
  gelu_fast: "gelu_new",
  gelu_pytorch_tanh: "gelu_new",
  quick_gelu: null,
  relu: null,
  sigmoid: null,
  silu: "silu",
  swish: "silu",
  tanh: null,
};

/** Names of the activations. */
export const ACTIVATION_NAMES: readonly string[] = Object.keys(FUSED);

/** The `activation` option of a projection that computes this one in the product's kernel; null if none does. */
export function fusedActivation(name: string): FusedActivationName | null {
  return FUSED[name as ActivationName] ?? null;
}

/** The pointwise kernel that multiplies each fused activation by a second operand. */
const GATES: Readonly<Record<FusedActivationName, GateName>> = {
  gelu_new: "geluNew",
  gelu: "gelu",
  silu: "silu",
};

/** act(gate) up, elementwise; gate and up of one shape. */
export function gatedActivation(name: ActivationName, gate: Tensor, up: Tensor): Tensor {
  const fused = fusedActivation(name);
  return fused ? gatedProduct(GATES[fused], gate, up) : multiply(activations[name](gate), up);
}
