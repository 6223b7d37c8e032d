/**
 * The shapes that `tuneKernels` measures: the products and attentions of a model.
 * @module
 */
import type { MatmulLayout } from "../kernels/matmul.ts";
import type { WeightFormatName } from "../kernels/weights/mod.ts";

/** Storage of the weights that are measured; others go by the fixed tables. */
const MEASURED: readonly WeightFormatName[] = ["f32", "f16"];

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

/** Which shapes of a model to list. */
export interface ShapeOptions {
  /** Rows: tokens of a step; default 1, 64, 256, 512, 1024. */
  readonly tokens?: readonly number[];
  /** Rank of LoRA; default 8. */
  readonly rank?: number;
}

/** A linear layer of a model. */
interface Projection {
  readonly name: string;
  /** Size of the input. */
  readonly K: number;
  /** Size of the output. */
  readonly N: number;
  /** `conv1d`: the weight is stored [K, N]; `linear`: [N, K]. */
  readonly layout: "conv1d" | "linear";
}

/** Sizes that a list of shapes is made from. */
export interface ModelSizes {
  /** V, rows of the head. */
  readonly vocabSize: number;
  /** C, channels of a token. */
  readonly hiddenSize: number;
  /** Heads of an attention. */
  readonly numHeads: number;
  /** Channels of a head. */
  readonly headSize: number;
}

/** A model whose shapes can be listed: any causal language model, before or after adapters are added. */
export interface TunableModel {
  /** Its sizes. */
  readonly facts: ModelSizes;
  /** Its modules with their paths: linear layers are among them. */
  namedModules(): Iterable<[path: string, module: object]>;
}

const C = 768;
const GPT2_SMALL: ModelSizes = { vocabSize: 50257, hiddenSize: C, numHeads: 12, headSize: 64 };
const GPT2_PROJECTIONS: readonly Projection[] = [
  { name: "c_attn", K: C, N: 3 * C, layout: "conv1d" },
  { name: "attn.c_proj", K: C, N: C, layout: "conv1d" },
  { name: "c_fc", K: C, N: 4 * C, layout: "conv1d" },
  { name: "mlp.c_proj", K: 4 * C, N: C, layout: "conv1d" },
];

/** The shapes of GPT-2 small with LoRA on its attention: the default where no model is given. */
export function gpt2SmallShapes(options: ShapeOptions = {}): TuningShape[] {
  return shapesOf(GPT2_SMALL, GPT2_PROJECTIONS, GPT2_PROJECTIONS.slice(0, 1), options);
}

/** The shapes of a model: one for each size of its linear layers, each with LoRA, its head and its attention. */
export function modelShapes(model: TunableModel, options: ShapeOptions = {}): TuningShape[] {
  const { vocabSize } = model.facts;
  const projections = new Map<string, Projection>();
  const adapted: string[] = []; // of a layer with adapters, only the layer itself is of the model
  for (const [path, module] of model.namedModules()) {
    if ("base_layer" in module) adapted.push(`${path}.`);
    const above = adapted.find((start) => path.startsWith(start));
    if (above !== undefined && path !== `${above}base_layer`) continue;
    const { inFeatures: K, outFeatures: N, layout } = module as {
      inFeatures?: number;
      outFeatures?: number;
      layout?: Projection["layout"];
    };
    if (!K || !N || !layout || N === vocabSize) continue;
    const key = `${K} ${N} ${layout}`;
    const name = path.replace(/\.base_layer$/, "").split(".").slice(-2).join(".");
    if (!projections.has(key)) projections.set(key, { name, K, N, layout });
  }
  const all = [...projections.values()];
  return shapesOf(model.facts, all, all, options);
}

/**
 * Products and attentions: projections forward (weights in f32 and f16), their input and weight gradients, the head,
 * LoRA's small products, attention at 1, 64 and 512 queries.
 */
function shapesOf(
  { vocabSize: V, hiddenSize: C, numHeads: heads, headSize }: ModelSizes,
  projections: readonly Projection[],
  adapted: readonly Projection[],
  { tokens = [1, 64, 256, 512, 1024], rank = 8 }: ShapeOptions,
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
    for (const { name, N, K, layout } of projections) {
      const [forward, back]: MatmulLayout[] = layout === "conv1d" ? ["nn", "nt"] : ["nt", "nn"];
      for (const weight of MEASURED) {
        matmul(name, forward, weight, [T, N, K]);
        if (trains) matmul(`${name} dx`, back, weight, [T, K, N]);
      }
      if (trains) matmul(`${name} dW`, "tn", "f32", layout === "conv1d" ? [K, N, T] : [N, K, T]);
    }
    if (T <= 64) {
      for (const weight of MEASURED) matmul("head", "nt", weight, [T, V, C]);
      if (trains) matmul("head dx", "nn", "f32", [T, C, V]);
    }
    const inputs = new Set(adapted.map(({ K }) => K));
    const outputs = new Set(adapted.map(({ N }) => N));
    for (const K of inputs) matmul("lora u", "nt", "f32", [T, rank, K]);
    if (!trains) continue;
    for (const N of outputs) matmul("lora du", "nn", "f32", [T, rank, N]);
    for (const K of inputs) matmul("lora dA", "tn", "f32", [rank, K, T]);
    for (const N of outputs) matmul("lora dB", "tn", "f32", [N, rank, T]);
  }
  const attention = { kind: "attention", heads, headSize } as const;
  shapes.push({ ...attention, name: "attention, cached", Tq: 1, Tk: 512 });
  for (const T of [64, 512]) shapes.push({ ...attention, name: "attention", Tq: T, Tk: T });
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
