/**
 * Values of LoRA factors on the host.
 * @module
 */

import { matmul, noGrad, readAndDispose, scale, tidy } from "../../autograd/mod.ts";
import type { LowRankFactors } from "../state/low_rank_factors.ts";

/** Values of A [r, in] and B [out, r]. */
export interface FactorValues {
  readonly A: Float32Array<ArrayBuffer>;
  readonly B: Float32Array<ArrayBuffer>;
}

/** Sizes of the layer they belong to. */
export interface LayerSizes {
  readonly inFeatures: number;
  readonly outFeatures: number;
}

/** Reads A and B. */
export async function readFactors({ A, B }: Pick<LowRankFactors, "A" | "B">): Promise<FactorValues> {
  const [a, b] = await Promise.all([A.data(), B.data()]);
  return { A: a as Float32Array<ArrayBuffer>, B: b as Float32Array<ArrayBuffer> };
}

/** Reads s B A, [out, in]. */
export async function changeOf(
  { A, B }: Pick<LowRankFactors, "A" | "B">,
  scaling: number,
): Promise<Float32Array<ArrayBuffer>> {
  const change = noGrad(() => tidy(() => scale(matmul(B, A), scaling)));
  return await readAndDispose(change) as Float32Array<ArrayBuffer>;
}

/**
 * Factors whose product is sum_i w_i B_i A_i: the rows w_i A_i below each other, the columns of B_i beside each other,
 * padded with zeros to `rank`.
 */
export function joinFactors(
  parts: readonly FactorValues[],
  weights: readonly number[],
  { inFeatures, outFeatures }: LayerSizes,
  rank: number,
): FactorValues {
  const A = new Float32Array(rank * inFeatures);
  const B = new Float32Array(outFeatures * rank);
  let start = 0;
  parts.forEach((part, i) => {
    const own = part.A.length / inFeatures;
    A.set(part.A.map((value) => value * weights[i]), start * inFeatures);
    for (let row = 0; row < outFeatures; row++) {
      B.set(part.B.subarray(row * own, (row + 1) * own), row * rank + start);
    }
    start += own;
  });
  return { A, B };
}
