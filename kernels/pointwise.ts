/**
 * Pointwise kernels: each op's value and its derivative as WGSL expressions.
 * @module
 */

import { elementKernel } from "./elements.ts";
import { type KernelSpec, madeOnce } from "./kernel_spec.ts";
import { geluNewDerivativeSnippet, geluNewSnippet, keepNanSnippet, tanhSnippet } from "./snippets.ts";

/** A pointwise function of one number. */
export interface UnaryOp {
  /** The op's name, and part of its kernels'. */
  readonly name: UnaryName;
  /** WGSL of y, in terms of `v` (the input) and `params.c` (a constant). */
  readonly value: string;
  /** Functions that the value may call. */
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

// One constant for each op: a program that uses few of them holds the texts of those alone.

/** -x. */
export const NEGATE: UnaryOp = { name: "negate", value: "-v" };
/** x c. */
export const SCALE: UnaryOp = { name: "scale", value: "v * params.c" };
/** x^2. */
export const SQUARE: UnaryOp = { name: "square", value: "v * v" };
/** The square root of x. */
export const SQRT: UnaryOp = { name: "sqrt", value: "sqrt(v)" };
/** e^x. */
export const EXP: UnaryOp = { name: "exp", value: "expKeep(v)", snippets: keepNanSnippet };
/** The natural logarithm of x. */
export const LOG: UnaryOp = { name: "log", value: "logKeep(v)", snippets: keepNanSnippet };
/** max(x, 0). */
export const RELU: UnaryOp = { name: "relu", value: `select(max(v, 0.0), v, ${isNan("v")})` };
/** 1 above 0, else 0; NaN for NaN. */
export const IS_POSITIVE: UnaryOp = {
  name: "isPositive",
  value: `select(select(0.0, 1.0, v > 0.0), v, ${isNan("v")})`,
};
/** 1 / (1 + e^-x). */
export const SIGMOID: UnaryOp = {
  name: "sigmoid",
  value: `select(sigmoid(v), v, ${isNan("v")})`,
  snippets: sigmoidSnippet,
};
/** log(1 / (1 + e^-x)) = min(x, 0) - log(1 + e^-|x|). */
export const LOG_SIGMOID: UnaryOp = {
  name: "logSigmoid",
  value: `select(min(v, 0.0) - log1pOwn(exp(-min(abs(v), 88.0))), v, ${isNan("v")})`,
  snippets: sigmoidSnippet + nearOneSnippet,
};
/** log(1 - e^x) for x < 0, the branch at -log 2 (Mächler 2012, "Accurately computing log(1 - exp(-|a|))"). */
export const LOG_1M_EXP: UnaryOp = {
  name: "log1mExp",
  value: `select(select(logKeep(-expm1Own(max(v, -0.7))), log1pOwn(-exp(v)), v < -0.6931472), v, ${
    isNan("v")
  })`,
  snippets: keepNanSnippet + nearOneSnippet,
};
/** x sigmoid(x). */
export const SILU: UnaryOp = { name: "silu", value: "v * sigmoid(v)", snippets: sigmoidSnippet };
/** tanh x. */
export const TANH: UnaryOp = { name: "tanh", value: "tanhOwn(v)", snippets: tanhSnippet };
/** c tanh(x / c): values of any size end up between -c and c. */
export const SOFTCAP: UnaryOp = {
  name: "softcap",
  value: "params.c * tanhOwn(v / params.c)",
  snippets: tanhSnippet,
};
/** GPT-2's form of GELU, with tanh. */
export const GELU_NEW: UnaryOp = { name: "geluNew", value: "geluNew(v)", snippets: geluNewSnippet };
/** The exact form x Phi(x), Hugging Face's "gelu". */
export const GELU: UnaryOp = {
  name: "gelu",
  value: "0.5 * v * erfcOwn(-v * 0.70710678)",
  snippets: erfSnippet,
};

/** dy/dv of each op as WGSL, in terms of `v` and `params.c`. */
const DERIVATIVES = {
  negate: "-1.0",
  scale: "params.c",
  square: "2.0 * v",
  sqrt: "0.5 / sqrt(v)",
  exp: "expKeep(v)",
  log: "1.0 / v",
  relu: `select(0.0, 1.0, v > 0.0 || ${isNan("v")})`, // PyTorch lets the gradient of NaN pass
  isPositive: "0.0",
  sigmoid: `select(sigmoid(v) * sigmoid(-v), v, ${isNan("v")})`,
  logSigmoid: `select(sigmoid(-v), v, ${isNan("v")})`,
  log1mExp: `select(select(exp(v) / expm1Own(max(v, -0.7)), -exp(v) / (1.0 - exp(v)), v < -0.6931472), v, ${
    isNan("v")
  })`,
  silu: "sigmoid(v) * (1.0 + v * sigmoid(-v))",
  tanh: "1.0 - tanhOwn(v) * tanhOwn(v)",
  softcap: "1.0 - tanhOwn(v / params.c) * tanhOwn(v / params.c)",
  geluNew: "geluNewDerivative(v)",
  // beyond |v| = 13 the second term is 0 in f32; the cap on v * v alone would leave a residue times a huge v
  gelu: "0.5 * erfcOwn(-v * 0.70710678) + " +
    "v * select(0.39894228 * exp(-0.5 * min(v * v, 170.0)), 0.0, abs(v) > 13.0)",
} as const;

/** Functions that a derivative calls beside those of the value. */
const DERIVATIVE_SNIPPETS: Partial<Record<UnaryName, string>> = { geluNew: geluNewDerivativeSnippet };

/** Name of a unary op. */
export type UnaryName = keyof typeof DERIVATIVES;

/** dy/dv of an op as WGSL, in terms of `v` and `params.c`, and the functions that it and the value may call. */
export function derivativeOf({ name, snippets = "" }: UnaryOp): { derivative: string; functions: string } {
  return { derivative: DERIVATIVES[name], functions: snippets + (DERIVATIVE_SNIPPETS[name] ?? "") };
}

/** y = f(x). */
export type UnaryKernel = KernelSpec<"x" | "y", "size" | "c", "WORKGROUP_SIZE">;
/** dx = dy * f'(x). */
export type UnaryBackwardKernel = KernelSpec<"x" | "dy" | "dx", "size" | "c", "WORKGROUP_SIZE">;

const forward = madeOnce<UnaryKernel>();
const backward = madeOnce<UnaryBackwardKernel>();

/** Forward kernel of a unary op. */
export function unaryForward({ name, value, snippets }: UnaryOp): UnaryKernel {
  return forward(name, () =>
    elementKernel({
      name: `${name}Forward`,
      buffers: {
        x: "read f32 // [size]",
        y: "read_write f32 // [size]",
      },
      params: { size: "u32", c: "f32" },
      functions: snippets,
      each: /* wgsl */ `let v = x[i];
    y[i] = ${value};`,
    }));
}

/** Backward kernel of a unary op. */
export function unaryBackward(op: UnaryOp): UnaryBackwardKernel {
  return backward(op.name, () => {
    const { derivative, functions } = derivativeOf(op);
    return elementKernel({
      name: `${op.name}Backward`,
      buffers: {
        x: "read f32 // [size]",
        dy: "read f32 // [size]",
        dx: "read_write f32 // [size]",
      },
      params: { size: "u32", c: "f32" },
      functions,
      each: /* wgsl */ `let v = x[i];
    dx[i] = dy[i] * (${derivative});`,
    });
  });
}

/** Every unary op, for the checks that walk all kernels. */
const UNARY_OPS: Readonly<Record<UnaryName, UnaryOp>> = {
  negate: NEGATE,
  scale: SCALE,
  square: SQUARE,
  sqrt: SQRT,
  exp: EXP,
  log: LOG,
  relu: RELU,
  isPositive: IS_POSITIVE,
  sigmoid: SIGMOID,
  logSigmoid: LOG_SIGMOID,
  log1mExp: LOG_1M_EXP,
  silu: SILU,
  tanh: TANH,
  softcap: SOFTCAP,
  geluNew: GELU_NEW,
  gelu: GELU,
};

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
    ...Object.values(UNARY_OPS).flatMap((op) => [unaryForward(op), unaryBackward(op)]),
    ...Object.values(binaryKernels),
    addInPlaceKernel,
    fillKernel,
  ] as unknown as KernelSpec[];
}
