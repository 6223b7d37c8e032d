/**
 * Linear layers, plain and with a LoRA adapter.
 *   linear:     y = act(x W + b) + residual
 *   loraLinear: y = act(x W + b + scale (xd A^T) B^T) + residual
 * Gradients, with dz = dy act'(z): dx = dz W^T, dW = x^T dz, db = column sums of dz, dresidual = dy;
 *   du = scale dz B, dA = du^T xd, dB = dz^T (scale xd A^T), dx += du A.
 * Each is computed only if it is wanted; the LoRA terms ride in the accumulators of the big products.
 * @see Hu et al. 2021, "LoRA", arXiv:2106.09685
 * @module
 */
import { FUSED_ACTIVATIONS, type FusedActivationName } from "../../kernels/fused_activations.ts";
import { unaryBackward } from "../../kernels/pointwise.ts";
import { sameShape, showShape } from "../shape.ts";
import { record } from "../record.ts";
import { wantsGrad } from "../tape.ts";
import { empty, type Tensor } from "../tensor.ts";
import { launchMatmul, type MatmulCall } from "./_matmul.ts";
import { checkFloat, checkWeight } from "./_checks.ts";
import { sumTo } from "./_sums.ts";

/** How a weight is stored: `conv1d` [in, out] (GPT-2), `linear` [out, in] (PyTorch's nn.Linear). */
export type WeightLayout = "conv1d" | "linear";

/** Options of `linear` and `loraLinear`. */
export interface LinearOptions {
  /** Default `linear`. */
  layout?: WeightLayout;
  /** Applied to x W + b in the same kernel. */
  activation?: FusedActivationName;
  /** Added to the result in the same kernel; shape of the result. */
  residual?: Tensor | null;
  /** False: only the gradient is wanted, and the values of the result are undefined; default true. */
  isRead?: boolean;
}

/** Options of `loraLinear`. */
export interface LoraLinearOptions extends LinearOptions {
  /** What the adapter sees instead of `x`: x after dropout. */
  xDropped?: Tensor | null;
}

/** Sizes of a checked call: `rows` x [in] -> `rows` x [out]. */
interface Sizes {
  readonly layout: WeightLayout;
  readonly rows: number;
  readonly inFeatures: number;
  readonly outFeatures: number;
}

/**
 * y [..., out] = x [..., in] times the weight, plus bias [out].
 * @param weight [in, out] or [out, in] by `layout`; float32, or float16 if frozen
 * @throws {TypeError} if a shape or dtype does not fit
 */
export function linear(x: Tensor, weight: Tensor, bias: Tensor | null, options: LinearOptions = {}): Tensor {
  const { activation, residual = null, isRead } = options;
  const sizes = checkLinear(x, weight, bias, options);
  const { shape } = x;
  const learns = wantsGrad(x, weight, bias);
  const { y, preActivation } = forward(sizes, { x, weight, bias, residual, activation, learns, isRead });
  const result = record("linear", {
    inputs: { x, weight, bias, residual },
    saved: {
      x: weight.requiresGrad ? x : null,
      weight: x.requiresGrad ? weight : null,
      preActivation,
    },
    outputs: [y],
    backward: ({ dy, saved, needs, arrived }) => {
      const dz = activationGradient(dy, activation, saved.preActivation);
      return {
        x: needs.x ? inputGradient(sizes, dz, saved.weight!, shape, arrived("x")) : null,
        weight: needs.weight ? weightGradient(sizes, saved.x!, dz) : null,
        bias: needs.bias ? biasGradient(sizes, dz) : null,
        residual: needs.residual ? dy : null,
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
  const { activation, residual = null, xDropped = null, isRead } = options;
  const sizes = checkLinear(x, weight, bias, options);
  const { rows, inFeatures, outFeatures } = sizes;
  const R = checkLora(sizes, x, loraA, loraB, xDropped);
  const xd = xDropped ?? x;
  const drops = xDropped !== null;
  const { device, shape } = x;

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
  const learns = wantsGrad(x, xd, weight, bias, loraA, loraB);
  const { y, preActivation } = forward(sizes, { x, weight, bias, residual, activation, learns, isRead }, {
    layout: "nt",
    u,
    v: loraB,
    R,
  });
  const wantsInput = x.requiresGrad || xd.requiresGrad;
  const result = record("loraLinear", {
    inputs: { x, weight, loraA, loraB, bias, residual, xDropped },
    saved: {
      x: weight.requiresGrad ? x : null,
      xd: loraA.requiresGrad ? xd : null,
      weight: x.requiresGrad ? weight : null,
      u: loraB.requiresGrad ? u : null,
      loraA: wantsInput ? loraA : null,
      loraB: loraA.requiresGrad || wantsInput ? loraB : null,
      preActivation,
    },
    outputs: [y],
    backward: ({ dy, saved, needs, arrived }) => {
      const dz = activationGradient(dy, activation, saved.preActivation);
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

interface Operands {
  readonly x: Tensor;
  readonly weight: Tensor;
  readonly bias: Tensor | null;
  readonly residual: Tensor | null;
  readonly activation: FusedActivationName | undefined;
  /** Whether a backward pass will want the activation's argument. */
  readonly learns: boolean;
  readonly isRead: boolean | undefined;
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
  { x, weight, bias, residual, activation, learns, isRead = true }: Operands,
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
    preActivation,
    residual,
    extension,
  });
  return { y, preActivation };
}

/** dz = dy f'(z). */
function activationGradient(
  dy: Tensor,
  activation: FusedActivationName | undefined,
  preActivation: Tensor | null,
): Tensor {
  if (!activation || !preActivation) return dy;
  const dz = empty(dy.device, dy.shape);
  const buffers = { x: preActivation.view, dy: dy.view, dx: dz.view };
  const kernel = unaryBackward[FUSED_ACTIVATIONS[activation].unary];
  dy.device.dispatch(kernel, buffers, { size: dy.size, c: 0 });
  return dz;
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

function checkLinear(x: Tensor, weight: Tensor, bias: Tensor | null, options: LinearOptions): Sizes {
  const { layout = "linear", residual } = options;
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
  return { layout, inFeatures, outFeatures, rows: inFeatures === 0 ? 0 : x.size / inFeatures };
}

function checkLora(
  { inFeatures, outFeatures }: Sizes,
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
