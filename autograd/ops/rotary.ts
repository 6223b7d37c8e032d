/**
 * Heads of queries, keys and values on their way from projections to attention: see kernels/rotary.ts.
 * @module
 */

import { joinHeads, partHeads, turnHeads, turnHeadsBack, turnHeadsInPlace } from "../../kernels/rotary.ts";
import { record } from "../record.ts";
import { showShape } from "../shape.ts";
import { empty, full, type Tensor } from "../tensor.ts";
import { checkFloat } from "./_checks.ts";

/** Rotary positions of tokens. */
export interface Rotation {
  /** int32 [B, T] or [1, T], each below the length of the table. */
  readonly positions: Tensor;
  /** [length, 2, D / 2]: cosines and sines of each position. */
  readonly table: Tensor;
}

/** Options of `placeHeads`. */
export interface HeadsOptions {
  /** Even number of channels of a head, D. */
  readonly headSize: number;
  /** How queries and keys are turned; null: not at all. */
  readonly rotation: Rotation | null;
  /** Takes the keys and values, at rows `past` to past + T of each sequence; then no gradient is recorded. */
  readonly cache?: { readonly tensor: Tensor; readonly past: number } | null;
  /** The turned queries lie where q did, for a q that nothing else reads; default false. Backward needs angles alone. */
  readonly overwritesQuery?: boolean;
}

/**
 * Queries and keys turned by their positions, keys and values side by side, as `attention` reads them.
 * @param q [B, T, H D]   @param k [B, T, Hkv D]   @param v [B, T, Hkv D]
 * @returns q [B, T, H D]; kv [B, T, 2 Hkv D], or the cache [B, capacity, 2 Hkv D]. Without a rotation the given q.
 * @throws {TypeError} if a shape or dtype does not fit
 * @throws {RangeError} if the cache has no room for T more tokens
 */
export function placeHeads(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  { headSize, rotation, cache = null, overwritesQuery = false }: HeadsOptions,
): { q: Tensor; kv: Tensor } {
  check(q, k, v, headSize, rotation, cache?.tensor ?? null);
  const { device } = q;
  const [B, T, width] = k.shape;
  const capacity = cache?.tensor.shape[1] ?? T;
  const past = cache?.past ?? 0;
  if (past + T > capacity) {
    throw new RangeError(
      `Cannot append ${T} tokens to a cache of ${capacity}: ${past} are in it already`,
    );
  }
  const params = {
    tokens: B * T,
    T,
    H: q.shape[2] / headSize,
    Hkv: width / headSize,
    half: headSize / 2,
    positionCount: rotation?.positions.size ?? 0,
    past,
    capacity,
  };
  const kv = cache?.tensor.alias() ?? empty(device, [B, T, 2 * width]);
  if (!rotation) {
    device.dispatch(joinHeads, { k: k.view, v: v.view, kv: kv.view }, params);
    if (cache) return { q, kv };
    record("joinHeads", {
      inputs: { k, v },
      outputs: [kv],
      backward: ({ dy }) => {
        const [dk, dv] = [empty(device, [B, T, width]), empty(device, [B, T, width])];
        device.dispatch(partHeads, { dkv: dy.view, dk: dk.view, dv: dv.view }, params);
        return { k: dk, v: dv };
      },
    });
    return { q, kv };
  }
  const { positions, table } = rotation;
  const turned = overwritesQuery ? q.alias() : empty(device, q.shape);
  const operands = { k: k.view, v: v.view, positions: positions.view, table: table.view, kv: kv.view };
  if (overwritesQuery) device.dispatch(turnHeadsInPlace, { ...operands, q: q.view }, params);
  else device.dispatch(turnHeads, { ...operands, q: q.view, qTurned: turned.view }, params);
  if (cache) return { q: turned, kv };
  const qShape = q.shape;
  record("turnHeads", {
    inputs: { q, k, v },
    saved: { positions, table },
    outputs: [turned, kv],
    backward: ({ dys: [dqGiven, dkvGiven], saved: { positions, table } }) => {
      const dqTurned = dqGiven ?? full(device, qShape, 0);
      const dkv = dkvGiven ?? full(device, [B, T, 2 * width], 0);
      const [dq, dk, dv] = [qShape, [B, T, width], [B, T, width]].map((shape) => empty(device, shape));
      device.dispatch(turnHeadsBack, {
        dqTurned: dqTurned.view,
        dkv: dkv.view,
        positions: positions.view,
        table: table.view,
        dq: dq.view,
        dk: dk.view,
        dv: dv.view,
      }, params);
      return { q: dq, k: dk, v: dv };
    },
  });
  return { q: turned, kv };
}

function check(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  D: number,
  rotation: Rotation | null,
  cache: Tensor | null,
): void {
  for (const x of [q, k, v]) checkFloat("place heads of", x);
  const [B, T, width] = k.shape;
  const fits = [q, k, v].every(({ shape }) => shape.length === 3 && shape[0] === B && shape[1] === T) &&
    v.shape[2] === width && D > 0 && D % 2 === 0 && width % D === 0 && q.shape[2] % D === 0 &&
    (!cache || cache.dtype === "float32" && cache.shape.length === 3 && cache.shape[0] === B &&
        cache.shape[2] === 2 * width);
  if (!fits) {
    const shapes = [q, k, v, ...(cache ? [cache] : [])].map(({ shape }) => showShape(shape)).join(", ");
    throw new TypeError(
      `Cannot place heads: q [B, T, H D], k and v [B, T, Hkv D] of an even D, and a cache [B, capacity, 2 Hkv D] are required, received ${shapes} and D ${D}`,
    );
  }
  if (!rotation) return;
  const { positions, table } = rotation;
  const [rows, columns] = positions.shape;
  const turns = positions.dtype === "int32" && positions.shape.length === 2 && columns === T &&
    (rows === B || rows === 1) && table.shape.length === 3 && table.shape[1] === 2 &&
    2 * table.shape[2] === D;
  if (!turns) {
    throw new TypeError(
      `Cannot place heads: int32 positions [${B}, ${T}] or [1, ${T}] and a table [length, 2, ${
        D / 2
      }] are required, received ${positions.dtype} ${showShape(positions.shape)} and ${
        showShape(table.shape)
      }`,
    );
  }
}
