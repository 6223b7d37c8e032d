/**
 * The products that linear layers consist of, forward and backward: each is made ready first, so that several can share a
 * launch.
 * @module
 */
import { FUSED_ACTIVATIONS } from "../../kernels/fused_activations.ts";
import { unaryBackward } from "../../kernels/pointwise.ts";
import { empty, type Tensor } from "../tensor.ts";
import { formatOf } from "../windows.ts";
import { launchJoint } from "./_joint_matmul.ts";
import type { Gate, LinearOptions, LinearSizes } from "./_linear_call.ts";
import { isOneLaunch, launchMatmul, type MatmulCall } from "./_matmul.ts";
import { gatedGradients, type GateName } from "./gated_product.ts";
import { sumTo } from "./_sums.ts";

/** Storage buffers that every adapter lets a kernel bind. */
const MAX_BUFFERS = 8;

/** A product that is ready to be launched, and its result. */
export interface Product {
  readonly y: Tensor;
  readonly call: MatmulCall;
}

/** A product of matrices whose rows follow each other without gaps. */
interface WholeProduct extends Omit<MatmulCall, "a" | "b" | "y"> {
  readonly a: Tensor;
  readonly b: Tensor;
}

/** Its call but for the result. */
function callOf({ a, b, ...rest }: WholeProduct): Omit<MatmulCall, "y"> {
  const { layout, M, N, K } = rest;
  return {
    ...rest,
    a: { tensor: a, ld: layout === "tn" ? M : K },
    b: { tensor: b, ld: layout === "nt" ? K : N },
  };
}

/** @param shape of the result */
function prepare(shape: readonly number[], product: WholeProduct): Product {
  const y = empty(product.a.device, shape);
  return { y, call: { ...callOf(product), y: { tensor: y, ld: product.N } } };
}

/** Launches a product. */
export function launched({ y, call }: Product): Tensor {
  launchMatmul(y.device, call);
  return y;
}

/** Launches products that do not read each other's results, together where they can be. */
export function launchedBeside(products: readonly Product[]): Tensor[] {
  if (products.length > 0) launchJoint(products[0].y.device, products.map(({ call }) => call), "beside");
  return products.map(({ y }) => y);
}

/** The pointwise op of a gate. */
export const gateName = ({ activation }: Pick<Gate, "activation">): GateName =>
  FUSED_ACTIVATIONS[activation].unary.name as GateName;

/** Whether a gated product has no more buffers than a kernel may bind; `extension` counts those of an adapter. */
export function fits(weight: Tensor, bias: Tensor | null, learns: boolean, extension: number): boolean {
  const operands = 1 + formatOf(weight).buffers.length + extension + (bias ? 1 : 0);
  return operands + (learns ? 3 : 2) <= MAX_BUFFERS;
}

/** What a layer's product reads and how it ends. */
export interface LinearOperands extends LinearOptions {
  readonly x: Tensor;
  readonly weight: Tensor;
  readonly bias: Tensor | null;
  /** Whether a backward pass will want the activation's argument, or what the gate multiplies. */
  readonly learns: boolean;
}

/** y, and what backward wants of it. */
export function forwardProduct(
  { layout, rows, inFeatures, outFeatures }: LinearSizes,
  { x, weight, bias, residual, gate, activation = gate?.activation, learns }: LinearOperands,
  extension?: MatmulCall["extension"],
): Product & { preActivation: Tensor | null } {
  const shape = [...x.shape.slice(0, -1), outFeatures];
  const preActivation = activation && learns ? empty(x.device, shape) : null;
  const product = prepare(shape, {
    layout: layout === "conv1d" ? "nn" : "nt",
    M: rows,
    N: outFeatures,
    K: inFeatures,
    a: x,
    b: weight,
    bias,
    activation,
    gate: gate?.by,
    preActivation,
    residual,
    extension,
  });
  return { ...product, preActivation };
}

/** u = scale xd A^T [rows, R]: scaled here once, so that neither y nor dB has to be. */
export function lowRankInput(
  { rows, inFeatures }: LinearSizes,
  xd: Tensor,
  loraA: Tensor,
  scale: number,
): Product {
  const [R] = loraA.shape;
  return prepare([rows, R], {
    layout: "nt",
    M: rows,
    N: R,
    K: inFeatures,
    a: xd,
    b: loraA,
    alpha: scale,
  });
}

/** du = scale dz B [rows, R] */
export function lowRankGradient(
  { rows, outFeatures }: LinearSizes,
  dz: Tensor,
  loraB: Tensor,
  scale: number,
): Product {
  const R = loraB.shape[1];
  return prepare([rows, R], {
    layout: "nn",
    M: rows,
    N: R,
    K: outFeatures,
    a: dz,
    b: loraB,
    alpha: scale,
  });
}

/** a^T b [M, N] of a [rows, M] and b [rows, N] */
function overRows(rows: number, a: Tensor, b: Tensor, M: number, N: number): Product {
  return prepare([M, N], { layout: "tn", M, N, K: rows, a, b });
}

/** dA = du^T xd [R, in] */
export function gradientOfA({ rows, inFeatures }: LinearSizes, du: Tensor, xd: Tensor): Product {
  return overRows(rows, du, xd, du.shape[1], inFeatures);
}

/** dB = dz^T u [out, R] */
export function gradientOfB({ rows, outFeatures }: LinearSizes, dz: Tensor, u: Tensor): Product {
  return overRows(rows, dz, u, outFeatures, u.shape[1]);
}

/** dxd = du A, shaped as x */
export function droppedGradient(
  { rows, inFeatures }: LinearSizes,
  du: Tensor,
  loraA: Tensor,
  shape: readonly number[],
): Product {
  const [R] = loraA.shape;
  return prepare(shape, { layout: "nn", M: rows, N: inFeatures, K: R, a: du, b: loraA });
}

/** dz = dy f'(z); or, with a gate, dz = dy f(gate) and dgate = dy z f'(gate). */
export function activationGradient(
  dy: Tensor,
  { activation, gate }: LinearOptions,
  saved: { readonly preActivation: Tensor | null; readonly gate: Tensor | null },
): { dz: Tensor; dgate: Tensor | null } {
  const { preActivation } = saved;
  if (gate) return gatedGradients(gateName(gate), saved.gate!, preActivation!, dy);
  if (!activation || !preActivation) return { dz: dy, dgate: null };
  const dz = empty(dy.device, dy.shape);
  const buffers = { x: preActivation.view, dy: dy.view, dx: dz.view };
  const kernel = unaryBackward(FUSED_ACTIVATIONS[activation].unary);
  dy.device.dispatch(kernel, buffers, { size: dy.size, c: 0 });
  return { dz, dgate: null };
}

/** dz W^T (+ u v, the LoRA term) */
function backThrough(
  { layout, rows, inFeatures, outFeatures }: LinearSizes,
  dz: Tensor,
  weight: Tensor,
  extension?: MatmulCall["extension"],
): WholeProduct {
  return {
    layout: layout === "conv1d" ? "nt" : "nn",
    M: rows,
    N: inFeatures,
    K: outFeatures,
    a: dz,
    b: weight,
    extension,
  };
}

/** What a layer sends back to its input. */
export interface SentBack {
  readonly sizes: LinearSizes;
  readonly dz: Tensor;
  readonly weight: Tensor;
  /** The LoRA term. */
  readonly extension?: MatmulCall["extension"];
}

/** dx = dz W^T (+ u v, the LoRA term) (+ addend, what other ops have sent to x). */
export function inputGradient(
  { sizes, dz, weight, extension }: SentBack,
  shape: readonly number[],
  addend: Tensor | null,
): Product {
  return prepare(shape, { ...backThrough(sizes, dz, weight, extension), residual: addend });
}

/** The sum of several layers' dx, each added to those before it, in as few launches as it takes. */
export function inputGradients(
  layers: readonly SentBack[],
  shape: readonly number[],
  addend: Tensor | null,
): Tensor {
  const [first, ...rest] = layers;
  const { y, call } = inputGradient(first, shape, addend);
  const others = rest.map(({ sizes, dz, weight, extension }) => ({
    ...callOf(backThrough(sizes, dz, weight, extension)),
    y: call.y,
    accumulate: true,
  }));
  const calls = [call, ...others];
  if (calls.every((each) => isOneLaunch(y.device, each))) {
    launchJoint(y.device, calls, "after");
    return y;
  }
  // A product in several launches adds the sum before it at its end: it must lie elsewhere.
  return rest.reduce((sum, layer) => launched(inputGradient(layer, shape, sum)), launched({ y, call }));
}

/** dW = x^T dz, or its transpose. */
export function weightGradient(
  { layout, rows, inFeatures, outFeatures }: LinearSizes,
  x: Tensor,
  dz: Tensor,
): Product {
  return layout === "conv1d"
    ? overRows(rows, x, dz, inFeatures, outFeatures)
    : overRows(rows, dz, x, outFeatures, inFeatures);
}

/** db, column sums of dz. */
export function biasGradient({ rows, outFeatures }: LinearSizes, dz: Tensor): Tensor {
  return sumTo(dz.alias([rows, outFeatures]), [outFeatures]);
}
