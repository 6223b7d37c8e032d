/**
 * Pointwise kernels: one table row per op, with its value and its derivative as WGSL expressions.
 * @module
 */

import { elementKernel } from "./elements.ts";
import type { KernelSpec } from "./kernel_spec.ts";
import { geluNewSnippet, keepNanSnippet, tanhSnippet } from "./snippets.ts";

/** A pointwise function of one number. */
export interface UnaryRow {
  /** WGSL of y, in terms of `v` (the input) and `params.c` (a constant). */
  readonly value: string;
  /** WGSL of dy/dv, in terms of `v` and `params.c`. */
  readonly derivative: string;
  /** Functions both expressions may call. */
  readonly snippets?: string;
}

/** Recognises NaN by its bits: comparisons may assume that it does not occur. */
const isNan = (v: string) => `((bitcast<u32>(${v}) & 0x7fffffffu) > 0x7f800000u)`;

/**
 * Complementary error function (Abramowitz and Stegun 7.1.26 has 1.5e-7; this is Numerical Recipes' erfcc, 1.2e-7
 * relative).
 */
const erfSnippet = /* wgsl */ `
fn erfcOwn(x: f32) -> f32 {
  let z = min(abs(x), 9.0);
  let t = 1.0 / (1.0 + 0.5 * z);
  let p = -z * z - 1.26551223 + t * (1.00002368 + t * (0.37409196 + t * (0.09678418 + t * (-0.18628806 +
    t * (0.27886807 + t * (-1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277))))))));
  let y = t * exp(p);
  return select(y, 2.0 - y, x < 0.0);
}
`;

const sigmoidSnippet = /* wgsl */ `
fn sigmoid(x: f32) -> f32 {
  let e = exp(-min(abs(x), 88.0));
  return select(1.0, e, x < 0.0) / (1.0 + e);
}
`;

/**
 * `log1pOwn(e)` = log(1 + e) for -0.5 <= e <= 1 and `expm1Own(x)` = e^x - 1 for -0.7 <= x <= 0, right to a few ULP where
 * 1 + e and e^x are next to 1: odd powers of e / (2 + e) (log(1 + e) = 2 artanh of it), and Taylor's series.
 */
const nearOneSnippet = /* wgsl */ `
fn log1pOwn(e: f32) -> f32 {
  let t = e / (2.0 + e);
  let s = t * t; // at most 1/9
  return 2.0 * t * (1.0 + s * (0.33333333 + s * (0.2 + s * (0.14285714 + s * (0.11111111 + s * (0.09090909 +
    s * 0.07692308))))));
}
fn expm1Own(x: f32) -> f32 {
  return x * (1.0 + x * (0.5 + x * (0.16666667 + x * (0.041666668 + x * (0.0083333333 + x * (0.0013888889 +
    x * (0.00019841270 + x * 0.000024801587)))))));
}
`;

/** Every unary op. */
export const unaryTable = {
  negate: { value: "-v", derivative: "-1.0" },
  scale: { value: "v * params.c", derivative: "params.c" },
  square: { value: "v * v", derivative: "2.0 * v" },
  sqrt: { value: "sqrt(v)", derivative: "0.5 / sqrt(v)" },
  exp: { value: "expKeep(v)", derivative: "expKeep(v)", snippets: keepNanSnippet },
  log: { value: "logKeep(v)", derivative: "1.0 / v", snippets: keepNanSnippet },
  relu: {
    value: `select(max(v, 0.0), v, ${isNan("v")})`,
    derivative: `select(0.0, 1.0, v > 0.0 || ${isNan("v")})`, // PyTorch lets the gradient of NaN pass
  },
  /** 1 above 0, else 0; NaN for NaN. */
  isPositive: {
    value: `select(select(0.0, 1.0, v > 0.0), v, ${isNan("v")})`,
    derivative: "0.0",
  },
  sigmoid: {
    value: `select(sigmoid(v), v, ${isNan("v")})`,
    derivative: `select(sigmoid(v) * sigmoid(-v), v, ${isNan("v")})`,
    snippets: sigmoidSnippet,
  },
  /** log(1 / (1 + e^-x)) = min(x, 0) - log(1 + e^-|x|). */
  logSigmoid: {
    value: `select(min(v, 0.0) - log1pOwn(exp(-min(abs(v), 88.0))), v, ${isNan("v")})`,
    derivative: `select(sigmoid(-v), v, ${isNan("v")})`,
    snippets: sigmoidSnippet + nearOneSnippet,
  },
  /** log(1 - e^x) for x < 0, the branch at -log 2 (Mächler 2012, "Accurately computing log(1 - exp(-|a|))"). */
  log1mExp: {
    value: `select(select(logKeep(-expm1Own(max(v, -0.7))), log1pOwn(-exp(v)), v < -0.6931472), v, ${
      isNan("v")
    })`,
    derivative:
      `select(select(exp(v) / expm1Own(max(v, -0.7)), -exp(v) / (1.0 - exp(v)), v < -0.6931472), v, ${
        isNan("v")
      })`,
    snippets: keepNanSnippet + nearOneSnippet,
  },
  silu: {
    value: "v * sigmoid(v)",
    derivative: "sigmoid(v) * (1.0 + v * sigmoid(-v))",
    snippets: sigmoidSnippet,
  },
  tanh: {
    value: "tanhOwn(v)",
    derivative: "1.0 - tanhOwn(v) * tanhOwn(v)",
    snippets: tanhSnippet,
  },
  /** c tanh(x / c): values of any size end up between -c and c. */
  softcap: {
    value: "params.c * tanhOwn(v / params.c)",
    derivative: "1.0 - tanhOwn(v / params.c) * tanhOwn(v / params.c)",
    snippets: tanhSnippet,
  },
  geluNew: { value: "geluNew(v)", derivative: "geluNewDerivative(v)", snippets: geluNewSnippet },
  /** The exact form x Phi(x), Hugging Face's "gelu". */
  gelu: {
    value: "0.5 * v * erfcOwn(-v * 0.70710678)",
    // beyond |v| = 13 the second term is 0 in f32; the cap on v * v alone would leave a residue times a huge v
    derivative: "0.5 * erfcOwn(-v * 0.70710678) + " +
      "v * select(0.39894228 * exp(-0.5 * min(v * v, 170.0)), 0.0, abs(v) > 13.0)",
    snippets: erfSnippet,
  },
} as const satisfies Record<string, UnaryRow>;

/** Name of a unary op. */
export type UnaryName = keyof typeof unaryTable;

/** y = f(x). */
export type UnaryKernel = KernelSpec<"x" | "y", "size" | "c", "WORKGROUP_SIZE">;
/** dx = dy * f'(x). */
export type UnaryBackwardKernel = KernelSpec<"x" | "dy" | "dx", "size" | "c", "WORKGROUP_SIZE">;

function unaryKernel(name: UnaryName): UnaryKernel {
  const row: UnaryRow = unaryTable[name];
  return elementKernel({
    name: `${name}Forward`,
    buffers: {
      x: "read f32 // [size]",
      y: "read_write f32 // [size]",
    },
    params: { size: "u32", c: "f32" },
    functions: row.snippets,
    each: /* wgsl */ `let v = x[i];
    y[i] = ${row.value};`,
  });
}

function unaryBackwardKernel(name: UnaryName): UnaryBackwardKernel {
  const row: UnaryRow = unaryTable[name];
  return elementKernel({
    name: `${name}Backward`,
    buffers: {
      x: "read f32 // [size]",
      dy: "read f32 // [size]",
      dx: "read_write f32 // [size]",
    },
    params: { size: "u32", c: "f32" },
    functions: row.snippets,
    each: /* wgsl */ `let v = x[i];
    dx[i] = dy[i] * (${row.derivative});`,
  });
}

const names = Object.keys(unaryTable) as UnaryName[];
/** Forward kernel of each unary op. */
export const unaryForward: Readonly<Record<UnaryName, UnaryKernel>> = Object.fromEntries(
  names.map((name) => [name, unaryKernel(name)]),
) as Record<UnaryName, UnaryKernel>;
/** Backward kernel of each unary op. */
export const unaryBackward: Readonly<Record<UnaryName, UnaryBackwardKernel>> = Object.fromEntries(
  names.map((name) => [name, unaryBackwardKernel(name)]),
) as Record<UnaryName, UnaryBackwardKernel>;

/** Every binary op, as a WGSL expression of `p` and `q`. */
const binaryTable = {
  add: "p + q",
  subtract: "p - q",
  multiply: "p * q",
  divide: "p / q",
  /**
   * Times dy the denominator's gradient. Not -p / (q * q): q * q leaves float32's range long before the result does.
   */
  divideByDenominator: "-(p / q) / q",
} as const;

/** Name of a binary op. */
export type BinaryName = keyof typeof binaryTable;

/** y = a op b with broadcasting over at most four collapsed dimensions; stride 0 repeats an operand. */
export type BinaryKernel = KernelSpec<
  "a" | "b" | "y",
  "size" | "d1" | "d2" | "d3" | "a0" | "a1" | "a2" | "a3" | "b0" | "b1" | "b2" | "b3",
  "WORKGROUP_SIZE"
>;

function binaryKernel(name: BinaryName): BinaryKernel {
  return elementKernel({
    name: `${name}Broadcast`,
    buffers: {
      a: "read f32 // read at i . [a0, a1, a2, a3]",
      b: "read f32 // read at i . [b0, b1, b2, b3]",
      y: "read_write f32 // [size / (d1 d2 d3), d1, d2, d3]",
    },
    params: {
      size: "u32",
      d1: "u32",
      d2: "u32",
      d3: "u32",
      a0: "u32",
      a1: "u32",
      a2: "u32",
      a3: "u32",
      b0: "u32",
      b1: "u32",
      b2: "u32",
      b3: "u32",
    },
    each: /* wgsl */ `let i3 = i % params.d3;
    let r2 = i / params.d3;
    let i2 = r2 % params.d2;
    let r1 = r2 / params.d2;
    let i1 = r1 % params.d1;
    let i0 = r1 / params.d1;
    let p = a[i0 * params.a0 + i1 * params.a1 + i2 * params.a2 + i3 * params.a3];
    let q = b[i0 * params.b0 + i1 * params.b1 + i2 * params.b2 + i3 * params.b3];
    y[i] = ${binaryTable[name]};`,
  });
}

/** Kernel of each binary op. */
export const binaryKernels: Readonly<Record<BinaryName, BinaryKernel>> = Object.fromEntries(
  (Object.keys(binaryTable) as BinaryName[]).map((name) => [name, binaryKernel(name)]),
) as Record<BinaryName, BinaryKernel>;

/** a += b, elementwise. */
export const addInPlaceKernel: KernelSpec<"a" | "b", "size", "WORKGROUP_SIZE"> = elementKernel({
  name: "addInPlace",
  buffers: {
    a: "read_write f32 // [size]",
    b: "read f32 // [size]",
  },
  params: { size: "u32" },
  each: "a[i] += b[i];",
});

/** Every word of y becomes `bits`. */
export const fillKernel: KernelSpec<"y", "size" | "bits", "WORKGROUP_SIZE"> = elementKernel({
  name: "fill",
  buffers: {
    y: "read_write u32 // [size]",
  },
  params: { size: "u32", bits: "u32" },
  each: "y[i] = params.bits;",
});

/** All pointwise kernels. */
export function pointwiseKernels(): KernelSpec[] {
  return [
    ...Object.values(unaryForward),
    ...Object.values(unaryBackward),
    ...Object.values(binaryKernels),
    addInPlaceKernel,
    fillKernel,
  ] as unknown as KernelSpec[];
}
