/**
 * The shapes a tuner measures: the products and attentions of a GPT-2.
 * @module
 */
import type { MatmulLayout } from "../kernels/matmul.ts";
import { WEIGHT_FORMAT_NAMES, type WeightFormatName } from "../kernels/weights/mod.ts";

/** One product y [M, N] or one attention. */
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
    /** Queries; one query attends to a cache, more attend to each other, forward and backward. */
    readonly Tq: number;
    /** Keys. */
    readonly Tk: number;
    readonly heads: number;
    readonly headSize: number;
  };

/** Which shapes of GPT-2 small to list. */
export interface ShapeOptions {
  /** Rows: tokens of a step; default 1, 64, 256, 512, 1024. */
  readonly tokens?: readonly number[];
  /** Rank of LoRA; default 8. */
  readonly rank?: number;
}

const C = 768;
const VOCABULARY = 50257;
const PROJECTIONS = [
  { name: "c_attn", K: C, N: 3 * C },
  { name: "attn.c_proj", K: C, N: C },
  { name: "c_fc", K: C, N: 4 * C },
  { name: "mlp.c_proj", K: 4 * C, N: C },
];

/**
 * Every product and attention of GPT-2 small: projections forward (weights in every format), their input and weight
 * gradients, the head, LoRA's small products, attention at 1, 64 and 512 queries.
 */
export function gpt2SmallShapes(
  { tokens = [1, 64, 256, 512, 1024], rank = 8 }: ShapeOptions = {},
): TuningShape[] {
  const shapes: TuningShape[] = [];
  const matmul = (
    name: string,
    layout: MatmulLayout,
    weight: WeightFormatName,
    [M, N, K]: readonly [number, number, number],
  ) => void shapes.push({ kind: "matmul", name, layout, weight, M, N, K });
  for (const T of tokens) {
    const trains = T > 1;
    for (const { name, N, K } of PROJECTIONS) {
      for (const weight of WEIGHT_FORMAT_NAMES) {
        matmul(name, "nn", weight, [T, N, K]);
        if (trains) matmul(`${name} dx`, "nt", weight, [T, K, N]);
      }
      if (trains) matmul(`${name} dW`, "tn", "f32", [K, N, T]);
    }
    if (T <= 64) {
      for (const weight of WEIGHT_FORMAT_NAMES) matmul("head", "nt", weight, [T, VOCABULARY, C]);
      if (trains) matmul("head dx", "nn", "f32", [T, C, VOCABULARY]);
    }
    matmul("lora u", "nt", "f32", [T, rank, C]);
    if (!trains) continue;
    matmul("lora du", "nn", "f32", [T, rank, 3 * C]);
    matmul("lora dA", "tn", "f32", [rank, C, T]);
    matmul("lora dB", "tn", "f32", [3 * C, rank, T]);
  }
  const heads = { heads: 12, headSize: 64 };
  shapes.push({ kind: "attention", name: "attention, cached", Tq: 1, Tk: 512, ...heads });
  for (const T of [64, 512]) shapes.push({ kind: "attention", name: "attention", Tq: T, Tk: T, ...heads });
  return shapes;
}

/**
 * A smaller product of the same class of work: fewer rows, then fewer columns, down to about `flops` operations and an
 * operand b of `bytes` bytes. Divisibility by 4 stays as it is.
 */
export function sampleMatmul<Shape extends { M: number; N: number; K: number; layout: MatmulLayout }>(
  shape: Shape,
  flops: number,
  bytes: number,
): Shape {
  const { M, K, layout } = shape;
  let { N } = shape;
  let depth = K;
  const cut = (size: number, most: number) => size - 4 * Math.max(0, Math.ceil((size - most) / 4));
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
