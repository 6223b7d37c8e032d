/**
 * What every block's attention needs besides its input: padding, cache, and how far the sequence has come.
 * @module
 */

import { cachedAttention, causalSelfAttention, type Device, showShape, Tensor } from "../autograd/mod.ts";
import type { Dropout } from "../nn/mod.ts";
import { type AttentionMask, toMaskRows } from "./inputs.ts";
import type { KVCache } from "./kv_cache.ts";

/** Shared by the blocks of one forward. */
export interface AttentionState {
  /** uint32 [B, past + T], 0 hides a key; null where every token counts. */
  readonly mask: Tensor | null;
  /** Tokens in the cache before this forward. */
  readonly past: number;
  readonly cache: KVCache | undefined;
}

/** Checks a forward's mask and cache. @throws {TypeError} or {RangeError} if they do not fit the inputs */
export function attentionState(
  { batch, length, past, mask, cache, device }: {
    batch: number;
    length: number;
    past: number;
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
  if (mask instanceof Tensor) {
    if (mask.dtype === "float32" || mask.shape[0] !== batch || mask.shape[1] !== total) {
      throw new TypeError(
        `Cannot use attentionMask: an integer tensor [${batch}, ${total}] is required, received ${mask.dtype} ${
          showShape(mask.shape)
        }`,
      );
    }
    return { mask: mask.alias(), past, cache };
  }
  const rows = mask ? toMaskRows(mask, batch, total) : null;
  const values = rows && Uint32Array.from(rows.flat(), (value) => value === 0 ? 0 : 1);
  return { mask: values && Tensor.from(values, { shape: [batch, total], device }), past, cache };
}

/** Attention of qkv [B, T, 3C] to itself, or to the cache and itself; [B, T, C]. */
export function attend(
  qkv: Tensor,
  heads: number,
  scale: number,
  layer: number,
  drop: Dropout,
  { mask, past, cache }: AttentionState,
): Tensor {
  if (cache) return cachedAttention(qkv, cache.layers[layer], { heads, scale, attentionMask: mask, past });
  const dropout = drop.isActive ? { p: drop.p, rng: drop.random.tensor, call: drop.random.nextCall() } : null;
  return causalSelfAttention(qkv, { heads, scale, attentionMask: mask, dropout });
}
