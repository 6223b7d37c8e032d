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
import { FUSED_ACTIVATIONS } from "../../kernels/fused_activations.ts";
import { unaryBackward } from "../../kernels/pointwise.ts";
import { record } from "../record.ts";
import { wantsGrad } from "../tape.ts";
import { empty, type Tensor } from "../tensor.ts";
import { launchMatmul, type MatmulCall } from "./_matmul.ts";
import { formatOf } from "../windows.ts";
import {
  checkLinear,
  checkLora,
  type Gate,
  type LinearOptions,
  type LinearSizes as Sizes,
  type LoraLinearOptions,
} from "./_linear_call.ts";
import { gatedGradients, gatedProduct, type GateName } from "./gated_product.ts";
import { sumTo } from "./_sums.ts";

export type { Gate, LinearOptions, LoraLinearOptions, WeightLayout } from "./_linear_call.ts";

/** Storage buffers that every adapter lets a kernel bind. */
const MAX_BUFFERS = 8;

/**
 * y [..., out] = x [..., in] times the weight, plus bias [out].
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
        x: needs.x ? inputGradient(sizes, dz, saved.weight!, shape, arrived("x")) : null,
        weight: needs.weight ? weightGradient(sizes, saved.x!, dz) : null,
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
  const { rows, inFeatures, outFeatures } = sizes;
  const R = checkLora(sizes, x, loraA, loraB, xDropped);
  const xd = xDropped ?? x;
  const drops = xDropped !== null;
  const { device, shape } = x;
  const learns = wantsGrad(x, xd, weight, bias, loraA, loraB, gate?.by ?? null);
  if (gate && !fits(weight, bias, learns, 2)) {
    const z = loraLinear(x, weight, bias, loraA, loraB, scale, { ...options, gate: null });
    return gatedProduct(gateName(gate), gate.by, z);
  }

  // u = scale xd A^T [rows, R]: scaled here once, so that neither y nor dB has to be.
  const u = product(device, [rows, R], {
    layout: "nt",
    M: rows,
    N: R,
    K: inFeatures,
    a: { tensor: xd, ld: inFeatures },
    b: { tensor: loraA, ld: inFeatures },
    alpha: scale,
  });
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
      const left = { tensor: dz, ld: outFeatures };
      const du = needs.loraA || needs.x && !drops || needs.xDropped
        ? product(device, [rows, R], {
          layout: "nn",
          M: rows,
          N: R,
          K: outFeatures,
          a: left,
          b: { tensor: saved.loraB!, ld: R },
          alpha: scale,
        })
        : null;
      const extension = du && !drops ? { layout: "nn" as const, u: du, v: saved.loraA!, R } : undefined;
      return {
        x: needs.x ? inputGradient(sizes, dz, saved.weight!, shape, arrived("x"), extension) : null,
        weight: needs.weight ? weightGradient(sizes, saved.x!, dz) : null,
        loraA: needs.loraA
          ? product(device, [R, inFeatures], {
            layout: "tn",
            M: R,
            N: inFeatures,
            K: rows,
            a: { tensor: du!, ld: R },
            b: { tensor: saved.xd!, ld: inFeatures },
          })
          : null,
        loraB: needs.loraB
          ? product(device, [outFeatures, R], {
            layout: "tn",
            M: outFeatures,
            N: R,
            K: rows,
            a: left,
            b: { tensor: saved.u!, ld: R },
          })
          : null,
        bias: needs.bias ? biasGradient(sizes, dz) : null,
        residual: needs.residual ? dy : null,
        gate: needs.gate ? dgate : null,
        xDropped: needs.xDropped
          ? product(device, shape, {
            layout: "nn",
            M: rows,
            N: inFeatures,
            K: R,
            a: { tensor: du!, ld: R },
            b: { tensor: saved.loraA!, ld: inFeatures },
          })
          : null,
      };
    },
  });
  u.dispose(); // the tape holds its own handle where it needs one
  preActivation?.dispose();
  return result;
}

interface Operands extends LinearOptions {
  readonly x: Tensor;
  readonly weight: Tensor;
  readonly bias: Tensor | null;
  /** Whether a backward pass will want the activation's argument, or what the gate multiplies. */
  readonly learns: boolean;
}

/** The pointwise op of a gate. */
const gateName = ({ activation }: Gate): GateName => FUSED_ACTIVATIONS[activation].unary as GateName;

/** Whether a gated product has no more buffers than a kernel may bind; `extension` counts those of an adapter. */
function fits(weight: Tensor, bias: Tensor | null, learns: boolean, extension: number): boolean {
  const operands = 1 + formatOf(weight).buffers.length + extension + (bias ? 1 : 0);
  return operands + (learns ? 3 : 2) <= MAX_BUFFERS;
}

function product(
  device: Tensor["device"],
  shape: readonly number[],
  call: Omit<MatmulCall, "y">,
): Tensor {
  const y = empty(device, shape);
  launchMatmul(device, { ...call, y: { tensor: y, ld: call.N } });
  return y;
}

function forward(
  { layout, rows, inFeatures, outFeatures }: Sizes,
  { x, weight, bias, residual, gate, activation = gate?.activation, learns, isRead = true }: Operands,
  extension?: MatmulCall["extension"],
): { y: Tensor; preActivation: Tensor | null } {
  const shape = [...x.shape.slice(0, -1), outFeatures];
  const preActivation = activation && learns ? empty(x.device, shape) : null;
  if (!isRead && !preActivation) return { y: empty(x.device, shape), preActivation };
  const y = product(x.device, shape, {
    layout: layout === "conv1d" ? "nn" : "nt",
    M: rows,
    N: outFeatures,
    K: inFeatures,
    a: { tensor: x, ld: inFeatures },
    b: { tensor: weight, ld: layout === "conv1d" ? outFeatures : inFeatures },
    bias,
    activation,
    gate: gate?.by,
    preActivation,
    residual,
    extension,
  });
  return { y, preActivation };
}

/** dz = dy f'(z); or, with a gate, dz = dy f(gate) and dgate = dy z f'(gate). */
function activationGradient(
  dy: Tensor,
  { activation, gate }: LinearOptions,
  saved: { readonly preActivation: Tensor | null; readonly gate: Tensor | null },
): { dz: Tensor; dgate: Tensor | null } {
  const { preActivation } = saved;
  if (gate) return gatedGradients(gateName(gate), saved.gate!, preActivation!, dy);
  if (!activation || !preActivation) return { dz: dy, dgate: null };
  const dz = empty(dy.device, dy.shape);
  const buffers = { x: preActivation.view, dy: dy.view, dx: dz.view };
  const kernel = unaryBackward[FUSED_ACTIVATIONS[activation].unary];
  dy.device.dispatch(kernel, buffers, { size: dy.size, c: 0 });
  return { dz, dgate: null };
}

/** dx = dz W^T (+ u v, the LoRA term) (+ addend, what other ops have sent to x). */
function inputGradient(
  { layout, rows, inFeatures, outFeatures }: Sizes,
  dz: Tensor,
  weight: Tensor,
  shape: readonly number[],
  addend: Tensor | null,
  extension?: MatmulCall["extension"],
): Tensor {
  return product(dz.device, shape, {
    layout: layout === "conv1d" ? "nt" : "nn",
    M: rows,
    N: inFeatures,
    K: outFeatures,
    a: { tensor: dz, ld: outFeatures },
    b: { tensor: weight, ld: layout === "conv1d" ? outFeatures : inFeatures },
    residual: addend,
    extension,
  });
}

/** dW = x^T dz, or its transpose. */
function weightGradient({ layout, rows, inFeatures, outFeatures }: Sizes, x: Tensor, dz: Tensor): Tensor {
  const input = { tensor: x, ld: inFeatures };
  const output = { tensor: dz, ld: outFeatures };
  return layout === "conv1d"
    ? product(x.device, [inFeatures, outFeatures], {
      layout: "tn",
      M: inFeatures,
      N: outFeatures,
      K: rows,
      a: input,
      b: output,
    })
    : product(x.device, [outFeatures, inFeatures], {
      layout: "tn",
      M: outFeatures,
      N: inFeatures,
      K: rows,
      a: output,
      b: input,
    });
}

function biasGradient({ rows, outFeatures }: Sizes, dz: Tensor): Tensor {
  return sumTo(dz.alias([rows, outFeatures]), [outFeatures]);
}
