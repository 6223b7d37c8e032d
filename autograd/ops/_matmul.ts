/**
 * Launches matrix products of any size: picks the kernel for the adapter, the shape and the alignment, and splits what
 * one launch cannot do (operands over the binding limit, K over the loop limit of one software driver).
 * @module
 */
import type { BufferView, Device } from "../../gpu/mod.ts";
import {
  DECODED_COLUMNS,
  DECODING_THREADS,
  type MatmulKernel,
  matmulKernel,
  type MatmulLayout,
  type MatmulOptions,
  type MatmulParam,
  type MatmulTile,
  selectMatmul,
} from "../../kernels/matmul.ts";
import type { FusedActivationName } from "../../kernels/fused_activations.ts";
import type { WeightFormat } from "../../kernels/weights/mod.ts";
import type { Tensor } from "../tensor.ts";
import { formatOf } from "../windows.ts";
import { noteChoice, picksOf } from "../picks.ts";
import { isTooLarge, type MatmulOperand, restOf, rowsThatFit, windowOf } from "./_matmul_windows.ts";

export type { MatmulOperand };

/** What a launch needs of a device: `tuning/` puts a recorder in its place. */
export type MatmulTarget = Pick<Device, "limits" | "profile" | "dispatch">;

/**
 * K steps of one launch where a driver silently stops a shader at 65,535 loop iterations: register tiles run 16,384, of 4
 * steps each (27,000 with the inner loops of few-bit formats). Shared tiles, of 1 step and loads each, get half as many.
 */
const MAX_K = 65536;
/** The same for shared tiles, and for all products of a joint launch together. */
export const MAX_SHARED_K = 32768;
/** Rows of y in one launch: 65,535 workgroups of at least 4 rows. */
const MAX_M = 262080;

/** Products of one launch: the grid's third dimension. */
const MAX_BATCH = 65535;

/** Element strides of batched operands: batch = outer x inner; 0 broadcasts. */
export interface MatmulBatch {
  readonly count: number;
  readonly inner: number;
  readonly aOuter: number;
  readonly aInner: number;
  readonly bOuter: number;
  readonly bInner: number;
  readonly yStride: number;
}

/** What a product that is no batch has. */
const ONE_PRODUCT: MatmulBatch = {
  count: 1,
  inner: 1,
  aOuter: 0,
  aInner: 0,
  bOuter: 0,
  bInner: 0,
  yStride: 0,
};

/** One product y [M, N] = alpha a b + what the epilogue adds. */
export interface MatmulCall {
  readonly layout: MatmulLayout;
  readonly M: number;
  readonly N: number;
  readonly K: number;
  readonly a: MatmulOperand;
  /** In any format of weights. */
  readonly b: MatmulOperand;
  /** residual and preActivation have the same layout. */
  readonly y: MatmulOperand;
  readonly batch?: MatmulBatch;
  /** Default 1. Applies to the extension too. */
  readonly alpha?: number;
  /** [N] */
  readonly bias?: Tensor | null;
  readonly activation?: FusedActivationName;
  /** y = activation(gate) y instead, [M, N]; not with a residual. */
  readonly gate?: Tensor | null;
  /** Receives the argument of the activation, or what the gate multiplies. */
  readonly preActivation?: Tensor | null;
  readonly residual?: Tensor | null;
  /** Add to what y holds. */
  readonly accumulate?: boolean;
  /** `nt`: + u [M, R] v [N, R]^T; `nn`: + u [M, R] v [R, N]. */
  readonly extension?: {
    readonly layout: "nn" | "nt";
    readonly u: Tensor;
    readonly v: Tensor;
    readonly R: number;
  };
  /** Used instead of the picks and of `selectMatmul` (by `tuning/`, benchmarks, tests). */
  readonly tile?: MatmulTile;
}

const four = (...values: number[]) => values.every((value) => value % 4 === 0);

/** The product of each batch by itself: for operands that cannot be bound whole. */
function launchEach(device: MatmulTarget, call: MatmulCall, batch: MatmulBatch): void {
  const at = (operand: MatmulOperand, elements: number): MatmulOperand => {
    const offset = (operand.offset ?? 0) + elements;
    if (offset % 64 === 0) return { ...operand, offset };
    throw new RangeError(
      `Cannot multiply batches of over ${device.limits.maxStorageBufferBindingSize} bytes: matrices at multiples ` +
        `of 64 elements are required, received one at element ${offset}`,
    );
  };
  for (let i = 0; i < batch.count; i++) {
    const [outer, inner] = [Math.floor(i / batch.inner), i % batch.inner];
    launchMatmul(device, {
      ...call,
      batch: undefined,
      a: at(call.a, outer * batch.aOuter + inner * batch.aInner),
      b: at(call.b, outer * batch.bOuter + inner * batch.bInner),
      y: at(call.y, i * batch.yStride),
    });
  }
}

/** Rows, columns and steps of K of each of a product's launches. */
function stepsOf(device: MatmulTarget, call: MatmulCall): [M: number, N: number, K: number] {
  const { layout, M, N, K, a, b, y, batch = ONE_PRODUCT } = call;
  const limit = device.limits.maxStorageBufferBindingSize;
  const endless = device.profile.maxLoopIterations === Infinity;
  let [stepM, stepN, stepK] = [Math.min(M, MAX_M), N, Math.min(Math.max(K, 1), endless ? Infinity : MAX_K)];
  if (batch.count === 1) {
    stepM = Math.min(stepM, rowsThatFit(y, stepM, N, limit));
    if (layout === "tn") stepK = Math.min(stepK, rowsThatFit(a, stepK, M, limit));
    else stepM = Math.min(stepM, rowsThatFit(a, stepM, K, limit));
    if (layout === "nt") stepN = Math.min(stepN, rowsThatFit(b, stepN, K, limit));
    else stepK = Math.min(stepK, rowsThatFit(b, stepK, N, limit));
  }
  return [stepM, stepN, stepK];
}

/** Appends the launches of one product. Nothing is launched for an empty y. */
export function launchMatmul(device: MatmulTarget, call: MatmulCall): void {
  if (isOneLaunch(device, call)) launchBlock(device, call, wholeOf(call));
  else launchParts(device, call);
}

/** The launches of a product that may take several, or none. */
function launchParts(device: MatmulTarget, call: MatmulCall): void {
  const { M, N, K, a, b, y, batch = ONE_PRODUCT } = call;
  if (M === 0 || N === 0 || batch.count === 0) return;
  const limit = device.limits.maxStorageBufferBindingSize;
  if (batch.count > 1 && [a, b, y].some((operand) => isTooLarge(operand, limit))) {
    return launchEach(device, call, batch);
  }
  const [stepM, stepN, stepK] = stepsOf(device, call);
  for (let m = 0; m < M; m += stepM) {
    for (let n = 0; n < N; n += stepN) {
      for (let k = 0; k === 0 || k < K; k += stepK) {
        for (let first = 0; first < batch.count; first += MAX_BATCH) {
          launchBlock(device, call, {
            m,
            n,
            k,
            rows: Math.min(stepM, M - m),
            columns: Math.min(stepN, N - n),
            depth: Math.min(stepK, K - k),
            first,
            count: Math.min(MAX_BATCH, batch.count - first),
          });
        }
      }
    }
  }
}

/** Whether b is read in whole groups of neighbours that share a scale: along K, as a thread's columns, or as a tile's. */
function isGrouped(
  { reading: { shared } }: WeightFormat,
  { variant, tileN, broadcast, lanesM, lanesN, lanesK }: MatmulTile,
  { layout, columns, depth }: { layout: MatmulLayout; columns: number; depth: number },
): boolean {
  if (!shared || variant !== "register" || depth === 0) return false;
  const { elements } = shared.pieces;
  if (layout === "nt") return depth % elements === 0;
  if (layout !== "nn" || columns % elements !== 0) return false;
  return broadcast && lanesN === 1 && lanesK === 1
    ? tileN === DECODED_COLUMNS && lanesM === DECODING_THREADS && depth % 4 === 0
    : tileN === elements;
}

interface Block {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  /** Products: the first one of the batch, and how many. */
  readonly first: number;
  readonly count: number;
}

/** All of a product that takes one launch. */
const wholeOf = ({ M, N, K }: MatmulCall): Block => (
  { m: 0, n: 0, k: 0, rows: M, columns: N, depth: K, first: 0, count: 1 }
);

/** The tile for a block: the call's own, the one picked for its shape, or the fixed table's. */
function tileFor(device: MatmulTarget, call: MatmulCall, { rows, columns, depth, count }: Block): MatmulTile {
  if (call.tile) return call.tile;
  const weight = formatOf(call.b.tensor).name;
  const shape = { layout: call.layout, M: rows, N: columns, K: depth, batch: count, weight } as const;
  noteChoice(device, () => ({ kind: "matmul", shape }));
  return picksOf(device)?.matmul(shape) ?? selectMatmul(device.profile, shape);
}

function launchBlock(device: MatmulTarget, call: MatmulCall, block: Block): void {
  const tile = tileFor(device, call, block);
  const isDeep = tile.variant === "shared" && block.depth > MAX_SHARED_K;
  if (isDeep && device.profile.maxLoopIterations !== Infinity) {
    return launchInSteps(device, { ...call, tile }, block);
  }
  const { kernel, buffers, params, work } = planBlock(call, block, tile);
  device.dispatch(kernel, buffers, params, undefined, work);
}

/** A block in launches that end before the driver ends their loops. */
function launchInSteps(device: MatmulTarget, call: MatmulCall, block: Block): void {
  const { k, depth } = block;
  for (let at = 0; at < depth; at += MAX_SHARED_K) {
    launchBlock(device, call, { ...block, k: k + at, depth: Math.min(MAX_SHARED_K, depth - at) });
  }
}

/** One launch, or one part of a joint launch. */
export interface MatmulPlan {
  readonly kernel: MatmulKernel;
  readonly buffers: Readonly<Record<string, BufferView>>;
  readonly params: Readonly<Record<MatmulParam, number>>;
  /** Floating-point operations. */
  readonly work: number;
}

/** @internal Whether a product takes one launch. */
export function isOneLaunch(device: MatmulTarget, call: MatmulCall): boolean {
  const { M, N, K, batch } = call;
  if (M === 0 || N === 0 || batch) return false;
  const [stepM, stepN, stepK] = stepsOf(device, call);
  return stepM >= M && stepN >= N && stepK >= K;
}

/** @internal The one launch of a product that takes no more than one; null where it takes more, or none. */
export function planMatmul(device: MatmulTarget, call: MatmulCall): MatmulPlan | null {
  if (!isOneLaunch(device, call)) return null;
  const block = wholeOf(call);
  return planBlock(call, block, tileFor(device, call, block));
}

function planBlock(call: MatmulCall, block: Block, tile: MatmulTile): MatmulPlan {
  const { layout, a, b, y, batch = ONE_PRODUCT } = call;
  const { m, n, k, rows, columns, depth, count } = block;
  const begins = k === 0;
  const last = k + depth >= call.K;
  const extension = begins ? call.extension : undefined;
  const bias = last ? call.bias : null;
  const residual = last ? call.residual : null;
  const activation = last && call.activation || "none";
  const [gate, preActivation] = activation === "none" ? [null, null] : [call.gate, call.preActivation];

  const formatOfB = formatOf(b.tensor);
  const weight = formatOfB.name;
  const batchFour = four(batch.aOuter, batch.aInner, batch.bOuter, batch.bInner, batch.yStride);
  const wide = !tile.scalar;
  const vector = {
    a: wide && depth > 0 && batchFour && four(a.ld) && (layout !== "tn" || four(rows, tile.tileM)),
    b: wide && depth > 0 && batchFour && four(b.ld) && (layout === "nt" || four(columns)),
    y: wide && batchFour && four(y.ld, columns) &&
      (extension?.layout !== "nn" || four(extension.v.shape.at(-1) ?? 0)),
    extension: wide && extension !== undefined && four(extension.R),
  };
  const options: MatmulOptions = {
    ...tile,
    layout,
    weight,
    vector,
    anyK: depth % (tile.variant === "shared" ? tile.tileK : 4) !== 0,
    grouped: isGrouped(formatOfB, tile, { layout, columns, depth }),
    extension: extension?.layout ?? "none",
    bias: Boolean(bias),
    activation,
    gated: Boolean(gate),
    preActivation: Boolean(preActivation),
    residual: Boolean(residual),
    accumulate: (call.accumulate ?? false) || !begins,
  };

  const at = (operand: MatmulOperand, row: number, column: number, r: number, c: number): BufferView[] =>
    batch.count === 1 ? windowOf(operand, row, column, r, c) : restOf(operand, row, column);
  const rangesOfB = layout === "nt" ? at(b, n, k, columns, depth) : at(b, k, n, depth, columns);
  const buffers: Record<string, BufferView> = {
    a: (layout === "tn" ? at(a, k, m, depth, rows) : at(a, m, k, rows, depth))[0],
    y: at(y, m, n, rows, columns)[0],
  };
  formatOfB.buffers.forEach(({ suffix }, place) => buffers[`b${suffix}`] = rangesOfB[place]);
  let ldv = 0;
  if (extension) {
    const { u, v, R } = extension;
    ldv = v.shape.at(-1) ?? 0;
    [buffers.u] = windowOf({ tensor: u, ld: R }, m, 0, rows, R);
    [buffers.v] = extension.layout === "nt"
      ? windowOf({ tensor: v, ld: R }, n, 0, columns, R)
      : windowOf({ tensor: v, ld: ldv }, 0, n, R, columns);
  }
  if (bias) buffers.bias = bias.window(4 * n, 4 * columns);
  for (const [name, tensor] of Object.entries({ residual, gate, preActivation })) {
    if (tensor) [buffers[name]] = at({ ...y, tensor }, m, n, rows, columns);
  }

  return {
    kernel: matmulKernel(options),
    buffers,
    params: {
      M: rows,
      N: columns,
      K: depth,
      R: extension?.R ?? 0,
      lda: a.ld,
      ldb: b.ld,
      ldc: y.ld,
      ldv,
      batch: count,
      batchFirst: block.first,
      batchInner: Math.max(1, batch.inner),
      aOuter: batch.aOuter,
      aInner: batch.aInner,
      bOuter: batch.bOuter,
      bInner: batch.bInner,
      yBatch: batch.yStride,
      alpha: call.alpha ?? 1,
    },
    work: 2 * rows * columns * (depth + (extension?.R ?? 0)) * count,
  };
}
