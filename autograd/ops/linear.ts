/**
 * Linear layers, plain and with a LoRA adapter.
 *   linear:     y = act(x W + b) + residual
 *   loraLinear: y = act(x W + b + scale (xd A^T) B^T) + residual
 * With a gate y = act(gate) z, z what `act` is applied to above: the middle of a gated MLP (kernels/gated_product.ts).
 * Gradients, with dz = dy act'(z), or dy act(gate): dx = dz W^T, dW = x^T dz, db = column sums of dz, dresidual = dy;
 *   du = scale dz B, dA = du^T xd, dB = dz^T (scale xd A^T), dx += du A.
 * Each is computed only if it is wanted; the LoRA terms ride in the accumulators of the big products.
 * @see Hu et al. 2021, "LoRA", arXiv:2106.09685
 * @module
 */
import { record } from "../record.ts";
import { wantsGrad } from "../tape.ts";
import { empty, type Tensor } from "../tensor.ts";
import {
  checkLinear,
  checkLora,
  type LinearOptions,
  type LinearSizes,
  type LoraLinearOptions,
} from "./_linear_call.ts";
import {
  activationGradient,
  biasGradient,
  droppedGradient,
  fits,
  forwardProduct,
  gateName,
  gradientOfA,
  gradientOfB,
  inputGradient,
  launched,
  type LinearOperands,
  lowRankGradient,
  lowRankInput,
  weightGradient,
} from "./_linear_products.ts";
import type { MatmulCall } from "./_matmul.ts";
import { gatedProduct } from "./gated_product.ts";

export type { Gate, LinearOptions, LoraLinearOptions, WeightLayout } from "./_linear_call.ts";

/**
 * y [..., out] = x [..., in] times the weight, plus bias [out].
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { linear, Tensor } from "@peft/webgpu/tensor";
 *
 * const x = Tensor.from([[1, 2]], { device: await initDevice() });
 * const weight = Tensor.from([[1, 0], [0, 1], [1, 1]]); // [out, in], as PyTorch's nn.Linear
 * console.log(await linear(x, weight, Tensor.from([0, 0, 10])).data()); // [1, 2, 13]
 * ```
 * @param weight [in, out] or [out, in] by `layout`; float32, or float16 if frozen
 * @throws {TypeError} if a shape or dtype does not fit
 */
export function linear(x: Tensor, weight: Tensor, bias: Tensor | null, options: LinearOptions = {}): Tensor {
  const { residual = null, gate = null } = options;
  const sizes = checkLinear(x, weight, bias, options);
  const { shape } = x;
  const learns = wantsGrad(x, weight, bias, gate?.by ?? null);
  if (gate && !fits(weight, bias, learns, 0)) {
    return gatedProduct(gateName(gate), gate.by, linear(x, weight, bias, { ...options, gate: null }));
  }
  const { y, preActivation } = forward(sizes, { x, weight, bias, learns, ...options });
  const result = record("linear", {
    inputs: { x, weight, bias, residual, gate: gate?.by ?? null },
    saved: {
      x: weight.requiresGrad ? x : null,
      weight: x.requiresGrad ? weight : null,
      preActivation,
      gate: gate?.by ?? null,
    },
    outputs: [y],
    backward: ({ dy, saved, needs, arrived }) => {
      const { dz, dgate } = activationGradient(dy, options, saved);
      return {
        x: needs.x
          ? launched(inputGradient({ sizes, dz, weight: saved.weight! }, shape, arrived("x")))
          : null,
        weight: needs.weight ? launched(weightGradient(sizes, saved.x!, dz)) : null,
        bias: needs.bias ? biasGradient(sizes, dz) : null,
        residual: needs.residual ? dy : null,
        gate: needs.gate ? dgate : null,
      };
    },
  });
  preActivation?.dispose(); // the tape holds its own handle
  return result;
}

/**
 * A frozen or trained linear layer with one LoRA adapter: two products forward, without a second pass over y.
 * @param loraA [R, in], peft's lora_A   @param loraB [out, R], peft's lora_B   @param scale peft's scaling, alpha / R
 * @throws {TypeError} if a shape or dtype does not fit
 */
export function loraLinear(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null,
  loraA: Tensor,
  loraB: Tensor,
  scale: number,
  options: LoraLinearOptions = {},
): Tensor {
  const { residual = null, xDropped = null, gate = null } = options;
  const sizes = checkLinear(x, weight, bias, options);
  const R = checkLora(sizes, x, loraA, loraB, xDropped);
  const xd = xDropped ?? x;
  const drops = xDropped !== null;
  const { shape } = x;
  const learns = wantsGrad(x, xd, weight, bias, loraA, loraB, gate?.by ?? null);
  if (gate && !fits(weight, bias, learns, 2)) {
    const z = loraLinear(x, weight, bias, loraA, loraB, scale, { ...options, gate: null });
    return gatedProduct(gateName(gate), gate.by, z);
  }

  const u = launched(lowRankInput(sizes, xd, loraA, scale));
  const { y, preActivation } = forward(sizes, { x, weight, bias, learns, ...options }, {
    layout: "nt",
    u,
    v: loraB,
    R,
  });
  const wantsInput = x.requiresGrad || xd.requiresGrad;
  const result = record("loraLinear", {
    inputs: { x, weight, loraA, loraB, bias, residual, xDropped, gate: gate?.by ?? null },
    saved: {
      x: weight.requiresGrad ? x : null,
      xd: loraA.requiresGrad ? xd : null,
      weight: x.requiresGrad ? weight : null,
      u: loraB.requiresGrad ? u : null,
      loraA: wantsInput ? loraA : null,
      loraB: loraA.requiresGrad || wantsInput ? loraB : null,
      preActivation,
      gate: gate?.by ?? null,
    },
    outputs: [y],
    backward: ({ dy, saved, needs, arrived }) => {
      const { dz, dgate } = activationGradient(dy, options, saved);
      const du = needs.loraA || needs.x && !drops || needs.xDropped
        ? launched(lowRankGradient(sizes, dz, saved.loraB!, scale))
        : null;
      const extension = du && !drops ? { layout: "nn" as const, u: du, v: saved.loraA!, R } : undefined;
      return {
        x: needs.x
          ? launched(inputGradient({ sizes, dz, weight: saved.weight!, extension }, shape, arrived("x")))
          : null,
        weight: needs.weight ? launched(weightGradient(sizes, saved.x!, dz)) : null,
        loraA: needs.loraA ? launched(gradientOfA(sizes, du!, saved.xd!)) : null,
        loraB: needs.loraB ? launched(gradientOfB(sizes, dz, saved.u!)) : null,
        bias: needs.bias ? biasGradient(sizes, dz) : null,
        residual: needs.residual ? dy : null,
        gate: needs.gate ? dgate : null,
        xDropped: needs.xDropped ? launched(droppedGradient(sizes, du!, saved.loraA!, shape)) : null,
      };
    },
  });
  u.dispose(); // the tape holds its own handle where it needs one
  preActivation?.dispose();
  return result;
}

/** y of a layer; where nobody reads it, memory of undefined values. */
function forward(
  sizes: LinearSizes,
  operands: LinearOperands,
  extension?: MatmulCall["extension"],
): { y: Tensor; preActivation: Tensor | null } {
  const { x, activation, gate, learns, isRead = true } = operands;
  if (!isRead && !((activation || gate) && learns)) {
    return { y: empty(x.device, [...x.shape.slice(0, -1), sizes.outFeatures]), preActivation: null };
  }
  const product = forwardProduct(sizes, operands, extension);
  return { y: launched(product), preActivation: product.preActivation };
}
