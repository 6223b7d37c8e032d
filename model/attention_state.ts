/**
 * What the attention of every block needs besides its input: padding, positions, cache, and how many tokens came before.
 * @module
 */

import { concat, type Device, type Documents, type Shape, showShape, Tensor } from "../autograd/mod.ts";
import { type AttentionMask, toMaskRows } from "./inputs.ts";
import type { KVCache } from "./generation/kv_cache.ts";

/**
 * What the blocks of one forward share.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, Tensor } from "@peft/webgpu";
 * import type { AttentionState } from "@peft/webgpu/model";
 *
 * const { transformer } = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const positions = Tensor.from([[0, 1, 2]], { dtype: "int32" });
 * const state: AttentionState = { mask: null, past: 0, positions, prefix: null, cache: undefined };
 * const x = transformer.wte.forward(Tensor.from([[5, 6, 7]], { dtype: "int32" }));
 * console.log(transformer.h[0].forward(x, state).shape); // [ 1, 3, 128 ]
 * ```
 */
export interface AttentionState {
  /** uint32 [B, past + T], 0 hides a key; null where every token counts, and where `documents` hold the mask. */
  readonly mask: Tensor | null;
  /** The documents of packed rows, which do not see each other and hold the mask; none for one document per row. */
  readonly documents?: Documents | null;
  /** Number of keys before those of this forward: cached tokens, or a prefix. */
  readonly past: number;
  /** int32 [B, T] or [1, T]: the position of each token; virtual ones count. */
  readonly positions: Tensor;
  /** More than every position, as far as the host knows: the rows that a table of positions needs; default past + T. */
  readonly positionEnd?: number;
  /** Keys and values of a prefix for each layer, [NV, 2 Hkv D]; null where there is none or the cache holds it. */
  readonly prefix: readonly Tensor[] | null;
  /** Holds the keys and values of earlier tokens, and takes those of this forward; undefined without a cache. */
  readonly cache: KVCache | undefined;
}

/**
 * The mask of a forward with its virtual tokens, which always count: uint32 or the caller's integers [B, total]; null where
 * every token counts.
 * @param virtual how many of the `total` tokens the caller's mask does not cover
 * @throws {TypeError} if the mask does not have the shape of the inputs
 * @throws {RangeError} if the cache has another number of rows, or no room for `total` tokens
 */
export function attentionMaskOf(
  { batch, total, virtual, mask, cache, device }: {
    batch: number;
    total: number;
    virtual: number;
    mask: AttentionMask | undefined;
    cache: KVCache | undefined;
    device: Device;
  },
): Tensor | null {
  if (cache && (cache.batch !== batch || cache.capacity < total)) {
    throw new RangeError(
      `Cannot extend the cache: ${batch} rows with room for ${total} tokens are required, received ${cache.batch} rows of ${cache.capacity}`,
    );
  }
  const real = total - virtual;
  if (mask instanceof Tensor) return extendMask(mask, batch, real, virtual);
  const rows = mask ? toMaskRows(mask, batch, real) : null;
  return rows && maskOfRows(rows, virtual, [batch, total], device);
}

/** A mask on the device [batch, real], with `virtual` tokens that count before each row. */
function extendMask(mask: Tensor, batch: number, real: number, virtual: number): Tensor {
  if (mask.dtype === "float32" || mask.shape[0] !== batch || mask.shape[1] !== real) {
    throw new TypeError(
      `Cannot use attentionMask: an integer tensor [${batch}, ${real}] is required, received ${mask.dtype} ${
        showShape(mask.shape)
      }`,
    );
  }
  if (virtual === 0) return mask.alias();
  const { dtype, device } = mask;
  const ones = Tensor.from(new Array(batch).fill(new Array(virtual).fill(1)), { dtype, device });
  return concat([ones, mask], 1);
}

/** The same of rows on the host. */
function maskOfRows(
  rows: readonly (readonly number[])[],
  virtual: number,
  shape: Shape,
  device: Device,
): Tensor {
  const before = new Array<number>(virtual).fill(1);
  const values = rows.flatMap((row) => [...before, ...row.map((value) => value === 0 ? 0 : 1)]);
  return Tensor.from(Uint32Array.from(values), { shape, device });
}

/** The tensors of a state but its prefix, by name: what a block that is computed again reads. */
export function tensorsOf({ mask, positions, documents }: AttentionState): Record<string, Tensor> {
  return { positions, ...mask && { mask }, ...documents && { starts: documents.starts } };
}

/** A state with other handles on the tensors that `tensorsOf` lists. */
export function withTensors(
  state: AttentionState,
  tensors: Readonly<Record<string, Tensor>>,
): AttentionState {
  const { positions, mask, starts } = tensors;
  const documents = state.documents && { ...state.documents, starts };
  return { ...state, positions, mask: mask ?? null, documents };
}
