/**
 * Pointwise functions and their derivatives in float64.
 * @module
 */
import { geluNewDerivativeReference, geluNewReference } from "./matmul.ts";

/** erfc(x) to 1e-15: the Taylor series of erf below 2.5, Lentz's continued fraction above (NIST DLMF 7.6.1, 7.9.1). */
export function erfcReference(x: number): number {
  const z = Math.abs(x);
  let erfc: number;
  if (z < 2.5) {
    let term = z;
    let sum = z;
    for (let n = 1; n < 200; n++) {
      term *= -z * z / n;
      sum += term / (2 * n + 1);
    }
    erfc = 1 - 2 / Math.sqrt(Math.PI) * sum;
  } else {
    let tail = 0;
    for (let n = 120; n > 0; n--) tail = n / 2 / (z + tail);
    erfc = Math.exp(-z * z) / Math.sqrt(Math.PI) / (z + tail);
  }
  return x < 0 ? 2 - erfc : erfc;
}

const sigmoid = (x: number) => x < 0 ? Math.exp(x) / (1 + Math.exp(x)) : 1 / (1 + Math.exp(-x));
const phi = (x: number) => Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);
const tanhSlope = (x: number) => 4 * sigmoid(2 * x) * sigmoid(-2 * x);

/** Value and derivative of each unary op. */
export const unaryReference: Readonly<
  Record<string, { readonly f: (x: number) => number; readonly slope: (x: number) => number }>
> = {
  negate: { f: (x) => -x, slope: () => -1 },
  square: { f: (x) => x * x, slope: (x) => 2 * x },
  sqrt: { f: Math.sqrt, slope: (x) => 0.5 / Math.sqrt(x) },
  exp: { f: Math.exp, slope: Math.exp },
  log: { f: Math.log, slope: (x) => 1 / x },
  relu: { f: (x) => Math.max(x, 0), slope: (x) => x > 0 ? 1 : 0 },
  isPositive: { f: (x) => x > 0 ? 1 : 0, slope: () => 0 },
  sigmoid: { f: sigmoid, slope: (x) => sigmoid(x) * sigmoid(-x) },
  logSigmoid: {
    f: (x) => Math.min(x, 0) - Math.log1p(Math.exp(-Math.abs(x))),
    slope: (x) => sigmoid(-x),
  },
  log1mExp: {
    f: (x) => x < -Math.LN2 ? Math.log1p(-Math.exp(x)) : Math.log(-Math.expm1(x)),
    slope: (x) => -1 / Math.expm1(-x),
  },
  silu: { f: (x) => x * sigmoid(x), slope: (x) => sigmoid(x) * (1 + x * sigmoid(-x)) },
  tanh: { f: Math.tanh, slope: tanhSlope },
  softcap: { f: (x) => 2.5 * Math.tanh(x / 2.5), slope: (x) => tanhSlope(x / 2.5) },
  geluNew: { f: geluNewReference, slope: geluNewDerivativeReference },
  gelu: {
    f: (x) => 0.5 * x * erfcReference(-x / Math.SQRT2),
    slope: (x) => 0.5 * erfcReference(-x / Math.SQRT2) + x * phi(x),
  },
};

/** Row-major strides that read `shape` stretched to `target`. */
function stretchedStrides(shape: readonly number[], target: readonly number[]): number[] {
  const strides = new Array<number>(target.length).fill(0);
  let step = 1;
  for (let i = shape.length - 1, j = target.length - 1; i >= 0; i--, j--) {
    strides[j] = shape[i] === 1 ? 0 : step;
    step *= shape[i];
  }
  return strides;
}

/** For every element of `target`, where `shape`, stretched by NumPy's rule, has its value. */
export function stretchedIndices(shape: readonly number[], target: readonly number[]): Int32Array {
  const strides = stretchedStrides(shape, target);
  const size = target.reduce((a, b) => a * b, 1);
  return Int32Array.from({ length: size }, (_, flat) => {
    let at = 0;
    for (let rest = flat, d = target.length - 1; d >= 0; d--) {
      at += (rest % target[d]) * strides[d];
      rest = Math.floor(rest / target[d]);
    }
    return at;
  });
}
