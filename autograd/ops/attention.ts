/**
 * Causal attention of several heads, fused: scores and probabilities are never stored.
 *   o_i = sum_j keep_ij / (1 - p) softmax_j(scale q_i k_j) v_j over the keys j <= past + i that the mask shows
 * A query that sees no key gives zeros and contributes to no gradient. Gradients: kernels/attention_backward.ts.
 * @see Vaswani et al. 2017, arXiv:1706.03762; Dao 2022, arXiv:2205.14135
 * @module
 */
import { type AttentionChoice, attentionKernels, type AttentionParam } from "../../kernels/attention.ts";
import { attentionAppend } from "../../kernels/attention_cache.ts";
import { sameShape, showShape } from "../shape.ts";
import { record } from "../record.ts";
import { empty, type Tensor } from "../tensor.ts";
import { type AttentionReach, chooseKernels, eachReach } from "./_attention_reach.ts";
import { checkFloat } from "./_checks.ts";

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
  /** Factor of the scores; default 1 / sqrt(channels of a head). */
  scale?: number;
  /** int32 or uint32 [B, Tk]; 0 hides a key (padding). */
  attentionMask?: Tensor | null;
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
  const plan = makePlan(qkv, options, { B, C, Tq: T, Tk: T, past: 0 }, {
    qRow: 3 * C,
    qBatch: T * 3 * C,
    kvRow: 3 * C,
    kvBatch: T * 3 * C,
    kOffset: C,
    vOffset: 2 * C,
  });
  const { o, stats } = forward(plan, qkv, qkv);
  const { mask: _mask, rng: _rng, ...sizes } = plan; // the tape has its own handles on those
  const result = record("causalSelfAttention", {
    inputs: { qkv },
    saved: { qkv, o, stats, mask: plan.mask, rng: plan.rng },
    outputs: [o],
    backward: ({ dy, saved: { qkv, o, stats, mask, rng } }) => {
      const dqkv = empty(qkv.device, qkv.shape);
      backward({ ...sizes, mask, rng }, { q: qkv, kv: qkv, o, stats, dy, dq: dqkv, dkv: dqkv });
      return { qkv: dqkv };
    },
  });
  stats.dispose(); // the tape holds its own handle
  return result;
}

/**
 * Attention of queries to keys and values of their own, such as a prefix followed by the sequence.
 * @param q [B, Tq, C]   @param kv [B, Tk, 2C]: keys and values side by side
 * @param options also `past`: query i sees keys up to past + i; default Tk - Tq
 * @returns [B, Tq, C]
 * @throws {TypeError} if a shape or dtype does not fit
 * @throws {RangeError} as `causalSelfAttention`, or if past + Tq is over Tk
 */
export function attention(q: Tensor, kv: Tensor, options: AttentionOptions & { past?: number }): Tensor {
  const [B, Tq, C] = checkRank3("q", q);
  const [batch, Tk, width] = checkRank3("kv", kv);
  if (batch !== B || width !== 2 * C) {
    throw new TypeError(
      `Cannot attend: kv [${B}, Tk, ${2 * C}] is required for q ${showShape(q.shape)}, received ${
        showShape(kv.shape)
      }`,
    );
  }
  const past = options.past ?? Tk - Tq;
  const plan = makePlan(q, options, { B, C, Tq, Tk, past }, {
    qRow: C,
    qBatch: Tq * C,
    kvRow: 2 * C,
    kvBatch: Tk * 2 * C,
    kOffset: 0,
    vOffset: C,
  });
  const { o, stats } = forward(plan, q, kv);
  const { mask: _mask, rng: _rng, ...sizes } = plan; // the tape has its own handles on those
  const result = record("attention", {
    inputs: { q, kv },
    saved: { q, kv, o, stats, mask: plan.mask, rng: plan.rng },
    outputs: [o],
    backward: ({ dy, saved: { q, kv, o, stats, mask, rng }, needs }) => {
      const dq = empty(q.device, q.shape);
      const dkv = needs.kv ? empty(kv.device, kv.shape) : null;
      backward({ ...sizes, mask, rng }, { q, kv, o, stats, dy, dq, dkv });
      return { q: needs.q ? dq : null, kv: dkv };
    },
  });
  stats.dispose();
  return result;
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
  options: Omit<AttentionOptions, "dropout"> & { past: number },
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

/** Where the rows of q and of kv lie, in elements. */
type Strides = Pick<
  Record<AttentionParam, number>,
  "qRow" | "qBatch" | "kvRow" | "kvBatch" | "kOffset" | "vOffset"
>;

interface Sizes {
  readonly B: number;
  readonly C: number;
  readonly Tq: number;
  readonly Tk: number;
  readonly past: number;
}

/** A checked call. */
interface Plan extends Sizes {
  readonly headSize: number;
  readonly params: Omit<Record<AttentionParam, number>, "B" | "batch0" | "begin" | "end">;
  /** Keys (queries in `backwardKeyValue`) that one launch of a stage may take. */
  readonly reach: AttentionReach;
  readonly kernels: ReturnType<typeof attentionKernels>;
  readonly tuning: { readonly WORKGROUP_SIZE: number };
  readonly mask: Tensor | null;
  readonly rng: Tensor | null;
}

function makePlan(x: Tensor, options: AttentionOptions, sizes: Sizes, strides: Strides): Plan {
  const { heads, attentionMask = null } = options;
  const { B, C, Tq, Tk, past } = sizes;
  if (!Number.isInteger(heads) || heads < 1 || C % heads !== 0) {
    throw new RangeError(
      `Cannot attend: ${C} channels must be divisible by the number of heads, received ${heads}`,
    );
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
  const headSize = C / heads;
  const { choice, reach } = chooseKernels(x.device, options.choice, sizes, headSize, dropout);
  return {
    ...sizes,
    headSize,
    reach,
    kernels: attentionKernels(headSize, {
      ...choice,
      vector: headSize % 4 === 0,
      mask: attentionMask !== null,
      dropout,
    }),
    tuning: { WORKGROUP_SIZE: choice.WORKGROUP_SIZE },
    mask: attentionMask,
    rng: dropout ? rng : null,
    params: {
      ...strides,
      H: heads,
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

/** Runs `launch` for all sequences, or for as many at a time as fit the binding limit. */
function eachBatch(
  plan: Plan,
  device: Tensor["device"],
  launch: (first: number, count: number) => void,
): void {
  const { B, C, Tq } = plan;
  const { qBatch, kvBatch } = plan.params;
  const limit = device.limits.maxStorageBufferBindingSize / 4;
  const fits = Math.floor(limit / Math.max(qBatch, kvBatch, 1));
  if (fits >= B) return launch(0, B);
  // Windows begin at multiples of 64 elements in every operand.
  const aligned = (n: number) => [qBatch, kvBatch, Tq * C].every((stride) => n * stride % 64 === 0);
  let step = fits;
  while (step > 0 && !aligned(step)) step--;
  if (step === 0) {
    throw new RangeError(
      `Cannot attend: sequences must fit ${4 * limit} bytes at 256-byte boundaries, received rows of ${
        4 * Math.max(qBatch, kvBatch)
      } bytes`,
    );
  }
  for (let first = 0; first < B; first += step) launch(first, Math.min(step, B - first));
}

const window = (tensor: Tensor, first: number, count: number, stride: number) =>
  first === 0 && tensor.size <= count * stride
    ? tensor.view
    : tensor.window(4 * first * stride, 4 * count * stride);

function forward(plan: Plan, q: Tensor, kv: Tensor): { o: Tensor; stats: Tensor } {
  const { device } = q;
  const { B, C, Tq, Tk, params, kernels, reach, tuning, mask, rng, headSize } = plan;
  const o = empty(device, [B, Tq, C]);
  const stats = empty(device, [2, B, params.H, Tq]);
  if (o.size === 0) return { o, stats };
  eachBatch(plan, device, (batch0, count) => {
    const buffers = {
      q: window(q, batch0, count, params.qBatch),
      kv: window(kv, batch0, count, params.kvBatch),
      o: window(o, batch0, count, Tq * C),
      stats: stats.view,
      ...(mask && { mask: mask.view }),
      ...(rng && { rng: rng.view }),
    };
    eachReach(Tk, reach.forward, (range) => {
      const work = 2 * count * params.H * Tq * (range.end - range.begin) * headSize;
      device.dispatch(kernels.forward, buffers, { ...params, B: count, batch0, ...range }, tuning, work);
    });
  });
  return { o, stats };
}

interface BackwardTensors {
  readonly q: Tensor;
  readonly kv: Tensor;
  readonly o: Tensor;
  readonly stats: Tensor;
  readonly dy: Tensor;
  readonly dq: Tensor;
  readonly dkv: Tensor | null;
}

function backward(plan: Plan, { q, kv, o, stats, dy, dq, dkv }: BackwardTensors): void {
  const { device } = q;
  const { C, Tq, Tk, params, kernels, reach, tuning, mask, rng, headSize } = plan;
  eachBatch(plan, device, (batch0, count) => {
    const shared = {
      q: window(q, batch0, count, params.qBatch),
      kv: window(kv, batch0, count, params.kvBatch),
      dy: window(dy, batch0, count, Tq * C),
      stats: stats.view,
      ...(mask && { mask: mask.view }),
      ...(rng && { rng: rng.view }),
    };
    const values = { ...params, B: count, batch0 };
    const query = {
      ...shared,
      o: window(o, batch0, count, Tq * C),
      dq: window(dq, batch0, count, params.qBatch),
    };
    const work = 3 * count * params.H * headSize;
    eachReach(Tk, reach.backwardQuery, (range) => {
      const part = work * Tq * (range.end - range.begin);
      device.dispatch(kernels.backwardQuery, query, { ...values, ...range }, tuning, part);
    });
    if (!dkv) return;
    const keyValue = { ...shared, dkv: window(dkv, batch0, count, params.kvBatch) };
    eachReach(Tq, reach.backwardKeyValue, (range) => {
      const part = work * Tk * (range.end - range.begin);
      device.dispatch(kernels.backwardKeyValue, keyValue, { ...values, ...range }, tuning, part);
    });
  });
}

function checkRank3(name: string, x: Tensor): readonly [number, number, number] {
  checkFloat("attend with", x);
  if (x.shape.length !== 3) {
    throw new TypeError(`Cannot attend: ${name} of rank 3 is required, received ${showShape(x.shape)}`);
  }
  return x.shape as unknown as [number, number, number];
}
