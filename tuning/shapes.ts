/**
 * The shapes that `tuneKernels` measures: one product or one attention.
 * @module
 */
import type { MatmulLayout } from "../kernels/matmul.ts";
import type { WeightFormatName } from "../kernels/weights/mod.ts";

/**
 * One product y [M, N] or one attention.
 *
 * @example
 * ```ts
 * import type { TuningShape } from "@peft/webgpu/tuning";
 *
 * const shapes: TuningShape[] = [
 *   { kind: "matmul", name: "mlp.c_fc", layout: "nn", weight: "q4_0", M: 256, N: 3072, K: 768 },
 *   { kind: "attention", name: "attention, cached", Tq: 1, Tk: 512, heads: 12, headSize: 64 },
 * ];
 * console.log(shapes.map(({ kind, name }) => `${name} (${kind})`)); // for tuneKernels(device, { shapes })
 * ```
 */
export type TuningShape =
  | {
    readonly kind: "matmul";
    /** What it is in the model. */
    readonly name: string;
    readonly layout: MatmulLayout;
    /** Storage of the right operand. */
    readonly weight: WeightFormatName;
    readonly M: number;
    readonly N: number;
    readonly K: number;
  }
  | {
    readonly kind: "attention";
    /** What it is in the model. */
    readonly name: string;
    /** Queries; fewer than keys attend to a cache, as many to each other, forward and backward. */
    readonly Tq: number;
    /** Keys. */
    readonly Tk: number;
    /** Heads of the queries. */
    readonly heads: number;
    readonly headSize: number;
    /** Heads of keys and values; default `heads`. */
    readonly keyValueHeads?: number;
    /** Keys that a query sees; default null, all before it. */
    readonly window?: number | null;
  };

/**
 * A smaller product of the same class of work: fewer rows, then fewer columns, down to about `flops` operations and an
 * operand b of `bytes` bytes. Divisibility by 4 stays as it is, that by `step` where a format stores blocks.
 */
export function sampleMatmul<Shape extends { M: number; N: number; K: number; layout: MatmulLayout }>(
  shape: Shape,
  flops: number,
  bytes: number,
  step = 4,
): Shape {
  const { M, K, layout } = shape;
  let { N } = shape;
  let depth = K;
  const cut = (size: number, most: number) => size - step * Math.max(0, Math.ceil((size - most) / step));
  const most = Math.floor(bytes / 4);
  if (N * K > most) {
    if (K > N) depth = cut(K, Math.max(1024, Math.floor(most / N)));
    else N = cut(N, Math.max(1024, Math.floor(most / K)));
  }
  let rows = M;
  if (M > 128 && 2 * M * N * depth > flops) {
    const fit = Math.max(128, Math.floor(flops / (2 * N * depth)));
    rows = Math.min(M, fit - fit % 32);
  }
  if (rows <= 128 && N > 2048 && layout !== "tn" && 2 * rows * N * depth > 4 * flops) {
    N = cut(N, Math.max(2048, Math.floor(flops / (rows * depth))));
  }
  return { ...shape, M: rows, N, K: depth };
}
