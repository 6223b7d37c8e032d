/**
 * Launches of the attention kernels for a checked call: all sequences at once, or as many as one binding holds.
 * @module
 */
import type { attentionKernels, AttentionParam } from "../../kernels/attention.ts";
import { empty, type Tensor } from "../tensor.ts";
import { type AttentionReach, eachReach } from "./_attention_reach.ts";

/** Where the rows of q and of kv lie, in elements. */
export type Strides = Pick<
  Record<AttentionParam, number>,
  "qRow" | "qBatch" | "kvRow" | "kvBatch" | "kOffset" | "vOffset"
>;

/** Sizes of a call; C counts the channels of all query heads. */
export interface Sizes {
  readonly B: number;
  readonly C: number;
  readonly Tq: number;
  readonly Tk: number;
  readonly past: number;
}

/** A checked call. */
export interface Plan extends Sizes {
  readonly headSize: number;
  readonly params: Omit<Record<AttentionParam, number>, "B" | "batch0" | "begin" | "end">;
  /** Keys (queries in `backwardKeyValue`) that one launch of a stage may take. */
  readonly reach: AttentionReach;
  readonly kernels: ReturnType<typeof attentionKernels>;
  readonly tuning: { readonly WORKGROUP_SIZE: number };
  readonly mask: Tensor | null;
  /** `starts` of documents; then there is no mask. */
  readonly documents: Tensor | null;
  readonly rng: Tensor | null;
}

/** Runs `launch` for all sequences, or for as many at a time as fit the binding limit. */
function eachBatch(
  plan: Plan,
  device: Tensor["device"],
  launch: (first: number, count: number) => void,
): void {
  const { qBatch, kvBatch } = plan.params;
  const limit = device.limits.maxStorageBufferBindingSize / 4;
  const fits = Math.floor(limit / Math.max(qBatch, kvBatch, 1));
  if (fits >= plan.B) launch(0, plan.B);
  else inParts(plan, fits, limit, launch);
}

/** Runs `launch` for at most `fits` sequences at a time, of the elements that one binding may have. */
function inParts(
  { B, C, Tq, params: { qBatch, kvBatch } }: Plan,
  fits: number,
  limit: number,
  launch: (first: number, count: number) => void,
): void {
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

/** What hides keys: a mask, or the documents of packed rows. */
const visibility = ({ mask, documents }: Plan) => ({
  ...(mask && { mask: mask.view }),
  ...(documents && { documents: documents.view }),
});

/** Runs the forward kernel: o [B, Tq, C] and the statistics that backward reads. */
export function forward(plan: Plan, q: Tensor, kv: Tensor): { o: Tensor; stats: Tensor } {
  const { device } = q;
  const { B, C, Tq, Tk, params, kernels, reach, tuning, rng, headSize } = plan;
  const o = empty(device, [B, Tq, C]);
  const stats = empty(device, [2, B, params.H, Tq]);
  if (o.size === 0) return { o, stats };
  eachBatch(plan, device, (batch0, count) => {
    const buffers = {
      q: window(q, batch0, count, params.qBatch),
      kv: window(kv, batch0, count, params.kvBatch),
      o: window(o, batch0, count, Tq * C),
      stats: stats.view,
      ...visibility(plan),
      ...(rng && { rng: rng.view }),
    };
    eachReach(Tk, reach.forward, (range) => {
      const work = 2 * count * params.H * Tq * (range.end - range.begin) * headSize;
      device.dispatch(kernels.forward, buffers, { ...params, B: count, batch0, ...range }, tuning, work);
    });
  });
  return { o, stats };
}

/** Operands and results of the backward kernels. */
export interface BackwardTensors {
  readonly q: Tensor;
  readonly kv: Tensor;
  readonly o: Tensor;
  readonly stats: Tensor;
  readonly dy: Tensor;
  readonly dq: Tensor;
  readonly dkv: Tensor | null;
}

/** Runs the backward kernels into dq and dkv; without dkv the queries' alone. */
export function backward(plan: Plan, { q, kv, o, stats, dy, dq, dkv }: BackwardTensors): void {
  const { device } = q;
  const { C, Tq, Tk, params, kernels, reach, tuning, rng, headSize } = plan;
  eachBatch(plan, device, (batch0, count) => {
    const shared = {
      q: window(q, batch0, count, params.qBatch),
      kv: window(kv, batch0, count, params.kvBatch),
      dy: window(dy, batch0, count, Tq * C),
      stats: stats.view,
      ...visibility(plan),
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
