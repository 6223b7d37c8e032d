/**
 * Causal attention of several heads, fused: scores and probabilities are never stored.
 *   o_i = sum_j keep_ij / (1 - p) softmax_j(scale q_i k_j) v_j over the keys past + i - window < j <= past + i of the
 *   same document that the mask shows; several query heads may share a head of keys and values
 * A query that sees no key gives zeros and contributes to no gradient. Gradients: kernels/attention_backward.ts.
 * @see Vaswani et al. 2017, arXiv:1706.03762; Dao 2022, arXiv:2205.14135
 * @module
 */
import { type AttentionChoice, attentionKernels } from "../../kernels/attention.ts";
import { attentionAppend } from "../../kernels/attention_cache.ts";
import { sameShape, showShape } from "../shape.ts";
import { record } from "../record.ts";
import { empty, type Tensor } from "../tensor.ts";
import { backward, forward, type Plan, type Sizes, type Strides } from "./_attention_launch.ts";
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

/**
 * Attention of a sequence to itself, straight from one projection.
 * @param qkv [B, T, 3C]: queries, keys and values side by side, as GPT-2's c_attn gives them
 * @returns [B, T, C]
 * @throws {TypeError} if a shape or dtype does not fit
 * @throws {RangeError} if the dropout probability is not from 0 to 1
 */
export function causalSelfAttention(qkv: Tensor, options: AttentionOptions): Tensor {
  const [B, T, width] = checkRank3("qkv", qkv);
  if (width % 3 !== 0) {
    throw new TypeError(
      `Cannot attend: qkv [B, T, 3C] is required, received ${showShape(qkv.shape)}`,
    );
  }
  const C = width / 3;
  if ((options.keyValueHeads ?? options.heads) !== options.heads) {
    throw new TypeError(
      "Cannot attend: qkv in one tensor has as many heads of keys and values as of queries",
    );
  }
  const plan = makePlan(qkv, options, { B, C, Tq: T, Tk: T, past: 0 }, {
    qRow: 3 * C,
    qBatch: T * 3 * C,
    kvRow: 3 * C,
    kvBatch: T * 3 * C,
    kOffset: C,
    vOffset: 2 * C,
  });
  const { o, stats } = forward(plan, qkv, qkv);
  const { mask: _mask, documents: _documents, rng: _rng, ...sizes } = plan; // the tape has its own handles on those
  const result = record("causalSelfAttention", {
    inputs: { qkv },
    saved: { qkv, o, stats, mask: plan.mask, documents: plan.documents, rng: plan.rng },
    outputs: [o],
    backward: ({ dy, saved: { qkv, o, stats, mask, documents, rng } }) => {
      const dqkv = empty(qkv.device, qkv.shape);
      backward({ ...sizes, mask, documents, rng }, { q: qkv, kv: qkv, o, stats, dy, dq: dqkv, dkv: dqkv });
      return { qkv: dqkv };
    },
  });
  stats.dispose(); // the tape holds its own handle
  return result;
}

/**
 * Attention of queries to keys and values of their own, such as a prefix followed by the sequence.
 * @param q [B, Tq, C]   @param kv [B, Tk, 2 Hkv D]: keys and values side by side; D = C / heads
 * @param options also `past`: query i sees keys up to past + i; default Tk - Tq
 * @returns [B, Tq, C]
 * @throws {TypeError} if a shape or dtype does not fit
 * @throws {RangeError} as `causalSelfAttention`, or if past + Tq is over Tk
 */
export function attention(q: Tensor, kv: Tensor, options: AttentionOptions & { past?: number }): Tensor {
  const [B, Tq, C] = checkRank3("q", q);
  const [, Tk] = checkRank3("kv", kv);
  checkKeyValues("kv", "Tk", q, kv, options);
  const past = options.past ?? Tk - Tq;
  const plan = makePlan(q, options, { B, C, Tq, Tk, past }, separate(q, kv));
  const { o, stats } = forward(plan, q, kv);
  const { mask: _mask, documents: _documents, rng: _rng, ...sizes } = plan; // the tape has its own handles on those
  const result = record("attention", {
    inputs: { q, kv },
    saved: { q, kv, o, stats, mask: plan.mask, documents: plan.documents, rng: plan.rng },
    outputs: [o],
    backward: ({ dy, saved: { q, kv, o, stats, mask, documents, rng }, needs }) => {
      const dq = empty(q.device, q.shape);
      const dkv = needs.kv ? empty(kv.device, kv.shape) : null;
      backward({ ...sizes, mask, documents, rng }, { q, kv, o, stats, dy, dq, dkv });
      return { q: needs.q ? dq : null, kv: dkv };
    },
  });
  stats.dispose();
  return result;
}

/**
 * Attention of the newest tokens to a cache that holds theirs already. Records no gradient.
 * @param q [B, T, C]   @param cache [B, capacity, 2 Hkv D]: keys and values side by side
 * @param options also `past`: tokens in the cache before these; the mask is [B, past + T]
 * @returns [B, T, C]
 * @throws {TypeError} if a shape or dtype does not fit
 * @throws {RangeError} if past + T is over the capacity
 */
export function attendToCache(
  q: Tensor,
  cache: Tensor,
  options: Omit<AttentionOptions, "dropout" | "documents"> & { past: number },
): Tensor {
  const [B, T, C] = checkRank3("q", q);
  const [, capacity] = checkRank3("cache", cache);
  checkKeyValues("a cache", "capacity", q, cache, options);
  const { past } = options;
  if (past + T > capacity) {
    throw new RangeError(
      `Cannot attend to a cache of ${capacity} tokens: past + T must be at most that, received ${past} and ${T}`,
    );
  }
  const plan = makePlan(q, options, { B, C, Tq: T, Tk: past + T, past }, separate(q, cache));
  const { o, stats } = forward(plan, q, cache);
  stats.dispose();
  return o;
}

/**
 * Appends the keys and values of new tokens to a cache and attends from them to all of it. Records no gradient.
 * @param qkv [B, T, 3C] of the new tokens   @param cache [B, capacity, 2C]: keys and values side by side; written
 * @param options also `past`: tokens in the cache so far; the mask is [B, past + T]
 * @returns [B, T, C]
 * @throws {TypeError} if a shape or dtype does not fit
 * @throws {RangeError} if the cache has no room for T more tokens
 */
export function cachedAttention(
  qkv: Tensor,
  cache: Tensor,
  options: Omit<AttentionOptions, "dropout" | "documents"> & { past: number },
): Tensor {
  const [B, T, width] = checkRank3("qkv", qkv);
  const [batch, capacity, cacheWidth] = checkRank3("cache", cache);
  const C = width / 3;
  const { past } = options;
  if (batch !== B || cacheWidth !== 2 * C) {
    throw new TypeError(
      `Cannot attend: a cache [${B}, capacity, ${2 * C}] is required for qkv ${
        showShape(qkv.shape)
      }, received ${showShape(cache.shape)}`,
    );
  }
  if (past + T > capacity) {
    throw new RangeError(
      `Cannot append ${T} tokens to a cache of ${capacity}: ${past} are in it already`,
    );
  }
  const plan = makePlan(qkv, options, { B, C, Tq: T, Tk: past + T, past }, {
    qRow: 3 * C,
    qBatch: T * 3 * C,
    kvRow: 2 * C,
    kvBatch: capacity * 2 * C,
    kOffset: 0,
    vOffset: C,
  });
  const size = B * T * C;
  if (size > 0) {
    qkv.device.dispatch(attentionAppend, { qkv: qkv.view, cache: cache.view }, { B, T, C, past, capacity });
  }
  const { o, stats } = forward(plan, qkv, cache);
  stats.dispose();
  return o;
}

/** Where the rows of queries [B, Tq, C] and of keys and values side by side lie. */
function separate({ shape: [, Tq, C] }: Tensor, { shape: [, length, width] }: Tensor): Strides {
  const kvBatch = length * width;
  return { qRow: C, qBatch: Tq * C, kvRow: width, kvBatch, kOffset: 0, vOffset: width / 2 };
}

function checkKeyValues(
  name: string,
  length: string,
  q: Tensor,
  kv: Tensor,
  { heads, keyValueHeads = heads }: AttentionOptions,
): void {
  const [B, , C] = q.shape;
  const width = 2 * C / heads * keyValueHeads;
  if (kv.shape[0] === B && kv.shape[2] === width) return;
  throw new TypeError(
    `Cannot attend: ${name} [${B}, ${length}, ${width}] is required for q ${showShape(q.shape)}, received ${
      showShape(kv.shape)
    }`,
  );
}

function makePlan(x: Tensor, options: AttentionOptions, sizes: Sizes, strides: Strides): Plan {
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

function checkRank3(name: string, x: Tensor): readonly [number, number, number] {
  checkFloat("attend with", x);
  if (x.shape.length !== 3) {
    throw new TypeError(`Cannot attend: ${name} of rank 3 is required, received ${showShape(x.shape)}`);
  }
  return x.shape as unknown as [number, number, number];
}
