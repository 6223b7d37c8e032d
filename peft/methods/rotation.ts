/**
 * Block-diagonal rotations of features, for OFT and BOFT.
 * @module
 */

import {
  add,
  addDiagonal,
  type Device,
  embedding,
  matmul,
  multiply,
  permute,
  reshape,
  scale,
  Tensor,
  transpose,
  untracked,
} from "../../autograd/mod.ts";

/** x [..., n k] with each block of k features multiplied by its matrix: R [n, k, k], or [1, k, k] for all blocks. */
export function rotateBlocks(x: Tensor, R: Tensor): Tensor {
  const [n, k] = R.shape;
  const width = x.shape.at(-1)!;
  const rows = x.size / width;
  if (n === 1) return reshape(matmul(reshape(x, [rows * (width / k), k]), reshape(R, [k, k])), x.shape);
  const apart = permute(reshape(x, [rows, n, k]), [1, 0, 2]); // [n, rows, k]
  return reshape(permute(matmul(apart, R), [1, 0, 2]), x.shape);
}

/** Skew-symmetric matrices of size k from the entries above their diagonals, row by row. */
export class SkewTable {
  /** int32 [k k]: which entry. */
  readonly #entries: Tensor;
  /** [k k, 1]: 1 above the diagonal, -1 below, 0 on it. */
  readonly #signs: Tensor;
  readonly #k: number;

  /** Makes the table on a device. */
  constructor(device: Device, k: number) {
    const entries = new Int32Array(k * k);
    const signs = new Float32Array(k * k);
    let next = 0;
    for (let i = 0; i < k; i++) {
      for (let j = i + 1; j < k; j++) {
        entries[i * k + j] = entries[j * k + i] = next++;
        signs[i * k + j] = 1;
        signs[j * k + i] = -1;
      }
    }
    this.#k = k;
    this.#entries = untracked(() => Tensor.from(entries, { device }));
    this.#signs = untracked(() => Tensor.from(signs, { shape: [k * k, 1], device }));
  }

  /** entries [n, k (k - 1) / 2] -> [n, k, k]; part of the gradient graph. */
  matrices(entries: Tensor): Tensor {
    const k = this.#k;
    const flat = multiply(embedding(this.#entries, transpose(entries)), this.#signs); // [k k, n]
    return permute(reshape(flat, [k, k, entries.shape[0]]), [2, 0, 1]);
  }

  /** Frees its memory. */
  dispose(): void {
    this.#entries.dispose();
    this.#signs.dispose();
  }
}

/**
 * Nearly the Cayley transform (I + Q) (I - Q)^-1 of skew-symmetric Q, by a Neumann series as `peft` sums it up:
 * I + 2 Q + 2 Q^2 + … with the last power once.
 * @param terms number of terms, 1 for I alone
 */
export function cayleyNeumann(Q: Tensor, terms: number): Tensor {
  if (terms === 1) return addDiagonal(scale(Q, 0), 1);
  let sum = scale(Q, 2);
  if (terms > 2) {
    let power = matmul(Q, Q);
    sum = add(sum, scale(power, 2));
    for (let i = 3; i < terms - 1; i++) {
      power = matmul(power, Q);
      sum = add(sum, scale(power, 2));
    }
    sum = add(sum, matmul(power, Q));
  }
  return addDiagonal(sum, 1);
}
