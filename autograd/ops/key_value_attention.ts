/**
 * Attention as in attention.ts, of queries to keys and values that lie in tensors of their own.
 * @module
 */
import { record } from "../record.ts";
import { showShape } from "../shape.ts";
import { empty, type Tensor } from "../tensor.ts";
import { backward, forward, type Strides } from "./_attention_launch.ts";
import { type AttentionOptions, checkRank3, planAttention } from "./_attention_plan.ts";
import { concat, expand, reshape, slice } from "./movement.ts";

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
  const plan = planAttention(q, options, { B, C, Tq, Tk, past }, separate(q, kv));
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
  const plan = planAttention(q, options, { B, C, Tq: T, Tk: past + T, past }, separate(q, cache));
  const { o, stats } = forward(plan, q, cache);
  stats.dispose();
  return o;
}

/**
 * Attention of a sequence to keys and values that every row begins with, and to itself.
 * @param qkv [B, T, 3C]: queries, keys and values side by side   @param prefix [NV, 2C]: keys and values side by side
 * @param options as of `attention`
 * @returns [B, T, C]
 * @throws as `attention`
 */
export function prefixedAttention(
  qkv: Tensor,
  prefix: Tensor,
  options: AttentionOptions & { past?: number },
): Tensor {
  const [batch, , width] = qkv.shape;
  const channels = width / 3;
  const own = slice(qkv, 2, channels, width); // [B, T, 2C]
  const [virtual] = prefix.shape;
  const before = expand(reshape(prefix, [1, virtual, 2 * channels]), [batch, virtual, 2 * channels]);
  return attention(slice(qkv, 2, 0, channels), concat([before, own], 1), options);
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
