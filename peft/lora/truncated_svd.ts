/**
 * LoRA factors of a matrix cut to a rank: with U S V^T its singular value decomposition, B = U S and A = V^T of the
 * largest singular values (Eckart and Young 1936).
 * @module
 */

import {
  type Device,
  matmul,
  noGrad,
  qr,
  readAndDispose,
  svd,
  Tensor,
  tidy,
  transpose,
} from "../../autograd/mod.ts";
import type { FactorValues, LayerSizes } from "./factor_values.ts";

type Values = Float32Array<ArrayBuffer>;

/** Factors of rank `rank` of a matrix [out, in]. `clamp`: quantile beyond which their elements are cut. */
export async function truncatedSvd(
  device: Device,
  values: Values,
  sizes: LayerSizes,
  rank: number,
  clamp?: number,
): Promise<FactorValues> {
  const { u, s, vT } = noGrad(() =>
    tidy(() => svd(Tensor.from(values, { shape: [sizes.outFeatures, sizes.inFeatures], device })))
  );
  return await cut(u, s, vT, sizes, rank, clamp);
}

/** The same of a product B A [out, in], through matrices of its own rank alone. */
export async function truncatedProduct(
  device: Device,
  { A, B }: FactorValues,
  sizes: LayerSizes,
  rank: number,
  clamp?: number,
): Promise<FactorValues> {
  const { inFeatures, outFeatures } = sizes;
  const own = A.length / inFeatures;
  if (own > Math.min(inFeatures, outFeatures)) { // no smaller than the product itself
    const product = noGrad(() =>
      tidy(() =>
        matmul(
          Tensor.from(B, { shape: [outFeatures, own], device }),
          Tensor.from(A, { shape: [own, inFeatures], device }),
        )
      )
    );
    return await truncatedSvd(device, await readAndDispose(product) as Values, sizes, rank, clamp);
  }
  const { u, s, vT } = noGrad(() =>
    tidy(() => {
      const left = qr(Tensor.from(B, { shape: [outFeatures, own], device })); // B = Q_B R_B
      const right = qr(transpose(Tensor.from(A, { shape: [own, inFeatures], device }))); // A^T = Q_A R_A
      const { u, s, vT } = svd(matmul(left.r, right.r, { transposeB: true })); // B A = Q_B (R_B R_A^T) Q_A^T
      return { u: matmul(left.q, u), s, vT: matmul(vT, right.q, { transposeB: true }) };
    })
  );
  return await cut(u, s, vT, sizes, rank, clamp);
}

/** The first `rank` columns of U S and rows of V^T; zeros where there are fewer. */
async function cut(
  u: Tensor,
  s: Tensor,
  vT: Tensor,
  { inFeatures, outFeatures }: LayerSizes,
  rank: number,
  clamp: number | undefined,
): Promise<FactorValues> {
  const [U, S, V] = await Promise.all([u, s, vT].map((tensor) => tensor.data()));
  for (const tensor of [u, s, vT]) tensor.dispose();
  const own = S.length;
  const kept = Math.min(rank, own);
  const A = new Float32Array(rank * inFeatures);
  const B = new Float32Array(outFeatures * rank);
  A.set((V as Values).subarray(0, kept * inFeatures));
  for (let row = 0; row < outFeatures; row++) {
    for (let k = 0; k < kept; k++) B[row * rank + k] = U[row * own + k] * S[k];
  }
  if (clamp === undefined) return { A, B };
  const limit = quantile([...A.subarray(0, kept * inFeatures), ...B], clamp);
  const clamped = (values: Values) => values.map((value) => Math.max(-limit, Math.min(limit, value)));
  return { A: clamped(A), B: clamped(B) };
}

/** The value below which a fraction `q` of the numbers lies, interpolated as in `torch.quantile`. */
function quantile(numbers: readonly number[], q: number): number {
  const sorted = Float64Array.from(numbers).sort();
  const place = q * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
}
