/**
 * What every block's attention needs besides its input: padding, cache, and how far the sequence has come.
 * @module
 */

import {
  attention,
  cachedAttention,
  causalSelfAttention,
  concat,
  type Device,
  expand,
  reshape,
  showShape,
  slice,
  Tensor,
} from "../autograd/mod.ts";
import type { Dropout } from "../nn/mod.ts";
import { type AttentionMask, toMaskRows } from "./inputs.ts";
import type { KVCache } from "./generation/kv_cache.ts";

/** Shared by the blocks of one forward. */
export interface AttentionState {
  /** uint32 [B, past + T], 0 hides a key; null where every token counts. */
  readonly mask: Tensor | null;
  /** Keys before the first one of this forward: cached tokens, or a prefix. */
  readonly past: number;
  /** Keys and values of a prefix for each layer, [NV, 2C]; null where there is none, or where the cache holds them. */
  readonly prefix: readonly Tensor[] | null;
  readonly cache: KVCache | undefined;
}

/** Checks a forward's mask and cache. @throws {TypeError} or {RangeError} if they do not fit the inputs */
export function attentionState(
  { batch, length, past, virtual, prefix, mask, cache, device }: {
    batch: number;
    length: number;
    past: number;
    virtual: number;
    prefix: readonly Tensor[] | null;
    mask: AttentionMask | undefined;
    cache: KVCache | undefined;
    device: Device;
  },
): AttentionState {
  const total = past + length;
  if (cache && (cache.batch !== batch || cache.capacity < total)) {
    throw new RangeError(
      `Cannot extend the cache: ${batch} rows with room for ${total} tokens are required, received ${cache.batch} rows of ${cache.capacity}`,
    );
  }
  const real = total - virtual; // what a caller's mask covers; virtual tokens count always
  const state = { past, prefix, cache };
  if (mask instanceof Tensor) {
    if (mask.dtype === "float32" || mask.shape[0] !== batch || mask.shape[1] !== real) {
      throw new TypeError(
        `Cannot use attentionMask: an integer tensor [${batch}, ${real}] is required, received ${mask.dtype} ${
          showShape(mask.shape)
        }`,
      );
    }
    if (virtual === 0) return { ...state, mask: mask.alias() };
    const ones = Tensor.from(new Array(batch).fill(new Array(virtual).fill(1)), {
      dtype: mask.dtype,
      device,
    });
    return { ...state, mask: concat([ones, mask], 1) };
  }
  const rows = mask ? toMaskRows(mask, batch, real) : null;
  if (!rows) return { ...state, mask: null };
  const values = rows.flatMap((
    row,
  ) => [...new Array(virtual).fill(1), ...row.map((value) => value === 0 ? 0 : 1)]);
  return { ...state, mask: Tensor.from(Uint32Array.from(values), { shape: [batch, total], device }) };
}

/** Attention of qkv [B, T, 3C] to itself, or to the cache and itself; [B, T, C]. */
export function attend(
  qkv: Tensor,
  heads: number,
  scale: number,
  layer: number,
  drop: Dropout,
  { mask, past, prefix, cache }: AttentionState,
): Tensor {
  if (cache) return cachedAttention(qkv, cache.layers[layer], { heads, scale, attentionMask: mask, past });
  const dropout = drop.isActive ? { p: drop.p, rng: drop.random.tensor, call: drop.random.nextCall() } : null;
  if (prefix) {
    const [batch, , width] = qkv.shape;
    const channels = width / 3;
    const own = slice(qkv, 2, channels, width); // [B, T, 2C]
    const [virtual] = prefix[layer].shape;
    const before = expand(reshape(prefix[layer], [1, virtual, 2 * channels]), [batch, virtual, 2 * channels]);
    const options = { heads, scale, attentionMask: mask, dropout, past };
    return attention(slice(qkv, 2, 0, channels), concat([before, own], 1), options);
  }
  return causalSelfAttention(qkv, { heads, scale, attentionMask: mask, dropout });
}
