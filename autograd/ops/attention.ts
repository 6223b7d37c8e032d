/**
 * Causal attention of several heads, fused: scores and probabilities are never stored.
 *   o_i = sum_j keep_ij / (1 - p) softmax_j(scale q_i k_j) v_j over the keys past + i - window < j <= past + i of the
 *   same document that the mask shows; several query heads may share a head of keys and values
 * A query that sees no key gives zeros and contributes to no gradient. Gradients: kernels/attention_backward.ts.
 * @see Vaswani et al. 2017, arXiv:1706.03762; Dao 2022, arXiv:2205.14135
 * @module
 */
import { attentionAppend } from "../../kernels/attention_cache.ts";
import { record } from "../record.ts";
import { showShape } from "../shape.ts";
import { empty, type Tensor } from "../tensor.ts";
import { backward, forward } from "./_attention_launch.ts";
import { type AttentionOptions, checkRank3, planAttention } from "./_attention_plan.ts";

export type { AttentionOptions } from "./_attention_plan.ts";

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
  const plan = planAttention(qkv, options, { B, C, Tq: T, Tk: T, past: 0 }, {
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
  const plan = planAttention(qkv, options, { B, C, Tq: T, Tk: past + T, past }, {
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
