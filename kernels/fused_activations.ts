/**
 * Activations that products apply in the same kernel, to their result, y = f(z), or to a gate, y = f(gate) z. A new one
 * is an entry here: names of kernels, the text of epilogues and the gradients follow from it.
 * @module
 */
import { GELU, GELU_NEW, SILU, type UnaryOp } from "./pointwise.ts";
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
  readonly unary: UnaryOp;
}

/**
 * Names of the activations, Hugging Face's.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { type FusedActivationName, linear, Tensor } from "@peft/webgpu/tensor";
 *
 * const activation: FusedActivationName = "silu"; // in the same launch as the product
 * const x = Tensor.from([[1, 2]], { device: await initDevice() });
 * console.log(await linear(x, Tensor.from([[1, 1], [1, -1]]), null, { activation }).data()); // [2.858, -0.269]
 * ```
 */
export type FusedActivationName = "gelu_new" | "gelu" | "silu";

/** An activation as the pointwise op computes it, to the bit. */
function ofUnary(label: string, unary: UnaryOp): FusedActivation {
  const { value, snippets = "" } = unary;
  const [one, four] = [`${label}One`, `${label}Four`];
  const functions = `${snippets}
fn ${one}(v: f32) -> f32 { return ${value}; }
fn ${four}(v: vec4f) -> vec4f { return vec4f(${one}(v.x), ${one}(v.y), ${one}(v.z), ${one}(v.w)); }
`;
  return { label, functions, one, four, unary };
}

/** Every activation that products can apply. */
export const FUSED_ACTIVATIONS: Readonly<Record<FusedActivationName, FusedActivation>> = {
  gelu_new: {
    label: "gelu",
    functions: geluNewSnippet,
    one: "geluNew",
    four: "geluNew4",
    unary: GELU_NEW,
  },
  gelu: ofUnary("geluExact", GELU),
  silu: ofUnary("silu", SILU),
};
