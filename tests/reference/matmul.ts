/**
 * Matrix products, gelu_new and the linear layer in float64, in plain loops.
 * @module
 */

/** Numbers in [-1, 1), rounded to float32, the same for the same seed (mulberry32). */
export function randomValues(seed: number, count: number): Float32Array<ArrayBuffer> {
  let state = seed >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 31 - 1;
  });
}

/** A product and, element by element, the sum of the magnitudes of its terms: what rounding errors scale with. */
export interface ProductReference {
  readonly y: Float64Array;
  readonly magnitude: Float64Array;
}

/** y [M, N] = a b, `a` [M, K] or with `transposeA` [K, M], `b` [K, N] or with `transposeB` [N, K]. */
export function matmulReference(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  { M, N, K, transposeA = false, transposeB = false }: {
    M: number;
    N: number;
    K: number;
    transposeA?: boolean;
    transposeB?: boolean;
  },
): ProductReference {
  const y = new Float64Array(M * N);
  const magnitude = new Float64Array(M * N);
  for (let m = 0; m < M; m++) {
    for (let k = 0; k < K; k++) {
      const left = a[transposeA ? k * M + m : m * K + k];
      for (let n = 0; n < N; n++) {
        const term = left * b[transposeB ? n * K + k : k * N + n];
        y[m * N + n] += term;
        magnitude[m * N + n] += Math.abs(term);
      }
    }
  }
  return { y, magnitude };
}

/** gelu_new(x) = 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))). */
export function geluNewReference(x: number): number {
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
}

/** d gelu_new / dx. */
export function geluNewDerivativeReference(x: number): number {
  const t = Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x * x);
}

/** Bits of the nearest float16 of each value (|value| < 65504), ties to even. */
export function toHalfBits(values: Float32Array): Uint16Array<ArrayBuffer> {
  return Uint16Array.from(values, (value) => {
    const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
    const magnitude = Math.abs(value);
    const exponent = Math.max(-14, Math.floor(Math.log2(magnitude || 2 ** -30)));
    const step = 2 ** (exponent - 10);
    let units = magnitude / step;
    const floor = Math.floor(units);
    const rest = units - floor;
    units = rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
    // A mantissa that rounds up to 2048 carries into the exponent by itself.
    return sign | (exponent === -14 && units < 1024 ? units : (exponent + 14) * 1024 + units);
  });
}

/** The value of float16 bits. */
export function fromHalfBits(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  const magnitude = exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}
