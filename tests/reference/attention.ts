/**
 * Causal attention with padding mask and dropout, forward and backward, in float64 and in plain loops. Scores and
 * probabilities are stored: the opposite of the kernels.
 * @module
 */

/** One call. Rows of q are [B, Tq, H D], those of k and v [B, Tk, Hkv D]. */
export interface AttentionCase {
  readonly B: number;
  readonly H: number;
  /** Heads of keys and values; default H. */
  readonly Hkv?: number;
  /** Keys that a query sees, its own position the last; default all. */
  readonly window?: number;
  readonly Tq: number;
  readonly Tk: number;
  /** Channels of a head. */
  readonly D: number;
  readonly past: number;
  readonly scale: number;
  /** [B, Tk], 0 hides. */
  readonly mask?: ArrayLike<number> | null;
  /** [B, Tq], Tq = Tk: the number of each position's document; default one document a row. */
  readonly documents?: ArrayLike<number> | null;
  /** Factor of the probability of (b, h, i, j): 0 or 1 / (1 - p). */
  readonly keep?: (b: number, h: number, i: number, j: number) => number;
}

/** The output and, for the gradient `dy` of it, the gradients of q, k and v; shaped as those. */
export function attentionReference(
  q: ArrayLike<number>,
  k: ArrayLike<number>,
  v: ArrayLike<number>,
  dy: ArrayLike<number>,
  { B, H, Hkv = H, window = Infinity, Tq, Tk, D, past, scale, mask, documents, keep = () => 1 }:
    AttentionCase,
): { o: Float64Array; dq: Float64Array; dk: Float64Array; dv: Float64Array } {
  const C = H * D;
  const o = new Float64Array(B * Tq * C);
  const dq = new Float64Array(B * Tq * C);
  const kvC = Hkv * D;
  const dk = new Float64Array(B * Tk * kvC);
  const dv = new Float64Array(B * Tk * kvC);
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      for (let i = 0; i < Tq; i++) {
        const qi = (b * Tq + i) * C + h * D;
        const keys: number[] = [];
        for (let j = 0; j <= past + i && j < Tk; j++) {
          if (documents && documents[b * Tk + j] !== documents[b * Tq + i]) continue;
          if (j > past + i - window && (!mask || mask[b * Tk + j] !== 0)) keys.push(j);
        }
        if (keys.length === 0) continue;
        const at = (j: number) => (b * Tk + j) * kvC + Math.floor(h * Hkv / H) * D;
        const scores = keys.map((j) => {
          let s = 0;
          for (let d = 0; d < D; d++) s += q[qi + d] * k[at(j) + d];
          return s * scale;
        });
        const most = Math.max(...scores);
        const weights = scores.map((s) => Math.exp(s - most));
        const sum = weights.reduce((x, y) => x + y, 0);
        const p = weights.map((w) => w / sum);
        const factor = keys.map((j) => keep(b, h, i, j));
        keys.forEach((j, n) => {
          for (let d = 0; d < D; d++) {
            o[qi + d] += p[n] * factor[n] * v[at(j) + d];
            dv[at(j) + d] += p[n] * factor[n] * dy[qi + d];
          }
        });
        const dp = keys.map((j, n) => {
          let sum = 0;
          for (let d = 0; d < D; d++) sum += dy[qi + d] * v[at(j) + d];
          return sum * factor[n];
        });
        const mean = dp.reduce((sum, value, n) => sum + p[n] * value, 0);
        keys.forEach((j, n) => {
          const ds = p[n] * (dp[n] - mean) * scale;
          for (let d = 0; d < D; d++) {
            dq[qi + d] += ds * k[at(j) + d];
            dk[at(j) + d] += ds * q[qi + d];
          }
        });
      }
    }
  }
  return { o, dq, dk, dv };
}

/** Philox4x32-10 with exact 64-bit products. */
export function philoxReference(counter: readonly number[], key: readonly number[]): number[] {
  let c = counter.map(BigInt);
  let [k0, k1] = key.map(BigInt);
  const word = 0xffffffffn;
  for (let round = 0; round < 10; round++) {
    const p0 = 0xd2511f53n * c[0];
    const p1 = 0xcd9e8d57n * c[2];
    c = [(p1 >> 32n) ^ c[1] ^ k0, p1 & word, (p0 >> 32n) ^ c[3] ^ k1, p0 & word];
    k0 = (k0 + 0x9e3779b9n) & word;
    k1 = (k1 + 0xbb67ae85n) & word;
  }
  return c.map(Number);
}
