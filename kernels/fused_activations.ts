/**
 * Activations that products apply to their result in the same kernel, y = f(z). A new one is an entry here: names of
 * kernels, the text of epilogues and the gradient follow from it.
 * @module
 */
import type { UnaryName } from "./pointwise.ts";
import { geluNewSnippet } from "./snippets.ts";

/** One activation in the epilogue of a product. */
export interface FusedActivation {
  /** Part of the names of kernels. */
  readonly label: string;
  /** WGSL functions, `one` and `four` among them. */
  readonly functions: string;
  /** Name of the function of an f32. */
  readonly one: string;
  /** Name of the function of a vec4f. */
  readonly four: string;
  /** The pointwise op that computes the same: its backward kernel gives the gradient. */
  readonly unary: UnaryName;
}

/** Names of the activations, Hugging Face's. */
export type FusedActivationName = "gelu_new";

/** Every activation that products can apply. */
export const FUSED_ACTIVATIONS: Readonly<Record<FusedActivationName, FusedActivation>> = {
  gelu_new: {
    label: "gelu",
    functions: geluNewSnippet,
    one: "geluNew",
    four: "geluNew4",
    unary: "geluNew",
  },
};
