/**
 * What attention's ops have in common: their options, and the plan of a call, which checks them.
 * @module
 */
import { type AttentionChoice, attentionKernels } from "../../kernels/attention.ts";
import { sameShape, showShape } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import type { Plan, Sizes, Strides } from "./_attention_launch.ts";
import { chooseKernels } from "./_attention_reach.ts";
import { checkFloat } from "./_checks.ts";
import { checkDocuments, type Documents } from "./documents.ts";

/** Dropout of attention probabilities. */
export interface AttentionDropout {
  /** Probability of dropping, from 0 to 1. */
  readonly p: number;
  /** uint32 [4]: seed low, seed high, step, 0 (`RandomState.tensor`). */
  readonly rng: Tensor;
  /** Number of this random op in the step (`RandomState.nextCall()`). */
  readonly call: number;
}

/** Options of the attention ops. */
export interface AttentionOptions {
  /** Number of heads; the channels must be divisible by it. */
  heads: number;
  /**
   * Heads of keys and values, a divisor of `heads`: query head h reads head floor(h / (heads / keyValueHeads)). Default
   * `heads`.
   */
  keyValueHeads?: number;
  /** A query sees the last `window` keys up to its own position, itself included; default null, all. */
  window?: number | null;
  /** Factor of the scores; default 1 / sqrt(channels of a head). */
  scale?: number;
  /** int32 or uint32 [B, Tk]; 0 hides a key (padding). */
  attentionMask?: Tensor | null;
  /**
   * The documents of packed rows, [B, Tq] with Tq = Tk: a query sees the keys of its own alone. Their mask, if any, is
   * in them (`documentsOf`). Default null, one document a row.
   */
  documents?: Documents | null;
  /** Default none. */
  dropout?: AttentionDropout | null;
  /** @internal Used instead of the picks and of `selectAttention` (by `tuning/`, benchmarks, tests). */
  choice?: AttentionChoice;
}

/** The plan of a call. @throws {RangeError} for a number out of its range @throws {TypeError} for a mask that does not fit */
export function planAttention(x: Tensor, options: AttentionOptions, sizes: Sizes, strides: Strides): Plan {
  const { heads, keyValueHeads = heads, window = null, attentionMask = null, documents = null } = options;
  const { B, C, Tq, Tk, past } = sizes;
  if (!Number.isInteger(heads) || heads < 1 || C % heads !== 0) {
    throw new RangeError(
      `Cannot attend: ${C} channels must be divisible by the number of heads, received ${heads}`,
    );
  }
  if (!Number.isInteger(keyValueHeads) || keyValueHeads < 1 || heads % keyValueHeads !== 0) {
    throw new RangeError(
      `Cannot attend: keyValueHeads must divide ${heads} heads, received ${keyValueHeads}`,
    );
  }
  if (window !== null && (!Number.isInteger(window) || window < 1)) {
    throw new RangeError(`Cannot attend: a window of at least 1 token is required, received ${window}`);
  }
  if (past < 0 || past + Tq > Tk) {
    throw new RangeError(
      `Cannot attend: past + Tq must be at most Tk, received past ${past}, Tq ${Tq} and Tk ${Tk}`,
    );
  }
  const { p = 0, rng = null, call = 0 } = options.dropout ?? {};
  if (!(p >= 0 && p <= 1)) {
    throw new RangeError(`Cannot attend: a dropout probability from 0 to 1 is required, received ${p}`);
  }
  const dropout = p > 0 && rng !== null;
  if (attentionMask) {
    if (!["int32", "uint32"].includes(attentionMask.dtype) || !sameShape(attentionMask.shape, [B, Tk])) {
      throw new TypeError(
        `Cannot attend: an int32 or uint32 mask [${B}, ${Tk}] is required, received ${attentionMask.dtype} ${
          showShape(attentionMask.shape)
        }`,
      );
    }
  }
  if (documents) checkDocuments(documents, attentionMask, sizes);
  const headSize = C / heads;
  const group = heads / keyValueHeads;
  const windowed = window !== null && window < past + Tq;
  const shape = { Tq, Tk, heads, keyValueHeads, headSize, window: windowed ? window : null };
  const { choice, reach } = chooseKernels(x.device, options.choice, shape, dropout);
  return {
    ...sizes,
    headSize,
    reach,
    kernels: attentionKernels(headSize, {
      ...choice,
      vector: headSize % 4 === 0,
      mask: attentionMask !== null || (documents?.hides ?? false),
      dropout,
      grouped: group > 1,
      windowed,
      documents: documents !== null,
    }),
    tuning: { WORKGROUP_SIZE: choice.WORKGROUP_SIZE },
    mask: attentionMask,
    documents: documents?.starts ?? null,
    rng: dropout ? rng : null,
    params: {
      ...strides,
      H: heads,
      Hkv: keyValueHeads,
      window: Math.min(window ?? Tk, Tk),
      D: headSize,
      Tq,
      Tk,
      past,
      call,
      statRows: B * heads * Tq,
      scale: options.scale ?? 1 / Math.sqrt(headSize),
      p,
    },
  };
}

/** The shape of an operand [B, T, C]. @throws {TypeError} for another rank or dtype */
export function checkRank3(name: string, x: Tensor): readonly [number, number, number] {
  checkFloat("attend with", x);
  if (x.shape.length !== 3) {
    throw new TypeError(`Cannot attend: ${name} of rank 3 is required, received ${showShape(x.shape)}`);
  }
  return x.shape as unknown as [number, number, number];
}
