/**
 * What a library must do to be timed beside ours: train the same small GPT from the same weights, and four products and
 * row ops.
 * @module
 */
import type { Device } from "../../gpu/mod.ts";
import { buildModel, makeStep, SMALL_CASES, tokenRows, type TrainingStep } from "../gpt_cases.ts";

/** A weight on the host. */
export interface HostTensor {
  readonly shape: number[];
  readonly data: Float32Array<ArrayBuffer>;
}

/** The small GPT as every library gets it. */
export interface GptTask {
  /** By Hugging Face's names without `transformer.`, LoRA's as `h.0.attn.c_attn.lora_A` [R, in] and `lora_B` [out, R]. */
  readonly weights: ReadonlyMap<string, HostTensor>;
  readonly lora: boolean;
  /** [4, 64] */
  readonly ids: readonly (readonly number[])[];
  readonly vocabSize: number;
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
}

/** Scale of LoRA's update: alpha over r. */
export const LORA_SCALE = 2;

/** Row ops and products with their host inputs. */
export interface OpTask {
  readonly name: string;
  readonly kind: "matmul" | "softmax" | "layerNorm";
  /** matmul: a [M, K], b [K, N]; row ops: x [M, N], and layerNorm's weight and bias [N]. */
  readonly inputs: readonly HostTensor[];
  /** Runs between two waits. */
  readonly repeat: number;
}

/** A prepared op: its result once, or several runs and a wait. */
export interface PreparedOp {
  result(): Promise<ArrayLike<number>>;
  run(): Promise<void>;
  dispose(): void;
}

/** A library under the clock. */
export interface Peer {
  readonly name: string;
  /** A training step that reads its loss. */
  train(task: GptTask): Promise<{ step(): Promise<number>; dispose(): void }>;
  prepare(task: OpTask): Promise<PreparedOp>;
}

/** The initial weights of our model, before its first step. */
export async function exportTask(device: Device, lora: boolean): Promise<GptTask> {
  const test = SMALL_CASES[lora ? 1 : 0];
  const { base, model } = buildModel(device, test);
  const weights = new Map<string, HostTensor>();
  for (const [path, parameter] of model.namedParameters()) {
    const name = path.replace("base_model.model.", "").replace("transformer.", "").replace("base_layer.", "")
      .replace(".default.weight", "");
    weights.set(name, {
      shape: [...parameter.shape],
      data: await parameter.data() as Float32Array<ArrayBuffer>,
    });
  }
  const { vocabSize, hiddenSize: width, numLayers: layers, numHeads: heads } = base.facts;
  model.dispose();
  const ids = tokenRows(test.batch, test.length, vocabSize);
  return { weights, lora, ids, vocabSize, width, layers, heads };
}

/** Our own step, captured. */
export function ourStep(device: Device, lora: boolean): TrainingStep {
  return makeStep(device, SMALL_CASES[lora ? 1 : 0], true);
}
