/**
 * Data-parallel training: the batches of a step are cut into shares, processes compute the gradients of one each, and all of
 * them sum all in the same order, so that every process makes the same update. Equal to one process that accumulates the
 * gradients of the same batches.
 * @module
 */

import { empty, type Tensor, untracked } from "../autograd/mod.ts";
import type { BatchLoss } from "./objective.ts";
import { randomStates, type TrainableModel, zeroGrad } from "./trainable_model.ts";

/** How processes get each other's gradients. */
export interface GradientExchange {
  /** Shares that the batches of a step are cut into: `gradientAccumulationSteps` must be a multiple of it. */
  readonly shares: number;
  /**
   * All shares of a step.
   * @param step number of the optimizer step, from 1
   * @param shares numbers of the shares that have batches, ascending
   * @param compute computes one of them on this process; the bytes are the same on every process with the same adapter
   * @returns the bytes of each share, in the order of `shares`
   * @throws the signal's reason once it aborts
   */
  exchange(
    step: number,
    shares: readonly number[],
    compute: (share: number) => Promise<Uint8Array<ArrayBuffer>>,
    signal?: AbortSignal,
  ): Promise<readonly Uint8Array[]>;
}

/** Places of a step's batches, by share: neighbours together. @param total batches of a whole step */
export function cutIntoShares(count: number, total: number, shares: number): Map<number, number[]> {
  const found = new Map<number, number[]>();
  for (let place = 0; place < count; place++) {
    const share = Math.floor(place * shares / total);
    found.set(share, [...found.get(share) ?? [], place]);
  }
  return found;
}

/** What a share gives: its part of the loss, of the objective's sums, and of each parameter's gradient. */
export interface ShareNumbers {
  readonly loss: number;
  readonly sums: Float32Array<ArrayBuffer>;
  /** In the parameters' order; null for one that has no gradient. */
  readonly gradients: readonly (Float32Array | null)[];
}

/** Bytes of a share: for each gradient a byte that says whether it is there, filled up to four; the loss, sums, gradients. */
export function packShare({ loss, sums, gradients }: ShareNumbers): Uint8Array<ArrayBuffer> {
  const there = gradients.map((gradient) => Number(gradient !== null));
  const head = Math.ceil(there.length / 4) * 4;
  const present = gradients.filter((gradient) => gradient !== null);
  const count = 1 + sums.length + present.reduce((sum, { length }) => sum + length, 0);
  const bytes = new Uint8Array(head + 4 * count);
  bytes.set(there);
  const numbers = new Float32Array(bytes.buffer, head);
  numbers[0] = loss;
  numbers.set(sums, 1);
  let at = 1 + sums.length;
  for (const gradient of present) {
    numbers.set(gradient, at);
    at += gradient.length;
  }
  return bytes;
}

/**
 * Reads a share. @param sizes elements of each parameter
 * @throws {TypeError} for bytes of another run
 */
export function unpackShare(bytes: Uint8Array, sizes: readonly number[], sumCount: number): ShareNumbers {
  const head = Math.ceil(sizes.length / 4) * 4;
  const there = sizes.map((_, i) => bytes[i] === 1);
  const count = 1 + sumCount + sizes.reduce((sum, size, i) => sum + (there[i] ? size : 0), 0);
  const wanted = head + 4 * count;
  if (bytes.length !== wanted || sizes.some((_, i) => bytes[i] > 1)) {
    throw new TypeError(
      `Cannot read a share of gradients: ${wanted} bytes for the parameters of this run are required, received ${bytes.length}`,
    );
  }
  const numbers = new Float32Array(bytes.slice(head).buffer);
  let at = 1 + sumCount;
  const gradients = sizes.map((size, i) => there[i] ? numbers.subarray(at, at += size) : null);
  return { loss: numbers[0], sums: numbers.subarray(1, 1 + sumCount), gradients };
}

/** Adds `more` to `sum`, each sum rounded to float32 as the device does it. */
function addTo(sum: Float32Array, more: Float32Array): void {
  for (let i = 0; i < sum.length; i++) sum[i] += more[i];
}

/** The sum of shares, in their order. */
export function sumShares(shares: readonly ShareNumbers[]): ShareNumbers {
  const [first, ...rest] = shares;
  let { loss } = first;
  const sums = first.sums.slice();
  const gradients = first.gradients.map((gradient) => gradient && gradient.slice());
  for (const share of rest) {
    loss = Math.fround(loss + share.loss);
    addTo(sums, share.sums);
    share.gradients.forEach((gradient, i) => {
      if (gradient === null) return;
      const sum = gradients[i];
      if (sum === null) gradients[i] = gradient.slice();
      else addTo(sum, gradient);
    });
  }
  return { loss, sums, gradients };
}

/** Reads what a process computed of a share. */
async function readShare(
  { loss, sums }: BatchLoss,
  parameters: readonly Tensor[],
): Promise<ShareNumbers> {
  const [lossData, sumData, ...gradients] = await Promise.all([ // one wait for all
    loss.data(),
    sums?.data(),
    ...parameters.map(({ grad }) => grad ? grad.data() : null),
  ]);
  return {
    loss: (lossData as Float32Array)[0],
    sums: (sumData as Float32Array<ArrayBuffer> | undefined) ?? new Float32Array(),
    gradients: gradients as (Float32Array | null)[],
  };
}

/** Puts the sum of all shares where the optimizer looks for gradients. */
function writeGradients(parameters: readonly Tensor[], { gradients }: ShareNumbers): void {
  parameters.forEach((parameter, i) => {
    const gradient = gradients[i];
    if (gradient === null) {
      parameter.grad?.dispose();
      parameter.grad = null;
      return;
    }
    parameter.grad ??= untracked(() => empty(parameter.device, parameter.shape));
    parameter.grad.write(gradient as Float32Array<ArrayBuffer>);
  });
}

/** A step that is computed in shares. */
export interface SharedStep {
  readonly exchange: GradientExchange;
  /** Its number, from 1. */
  readonly step: number;
  readonly model: TrainableModel;
  readonly parameters: readonly Tensor[];
  /** Batches of this step, and of a whole one: the last step of an epoch may have fewer. */
  readonly count: number;
  readonly total: number;
  /** Numbers that the objective sums beside the loss. */
  readonly sumCount: number;
  /** Forward and backward of some of the batches, by their places. */
  readonly compute: (places: readonly number[]) => BatchLoss;
}

/**
 * Computes this process's shares, and leaves the sum of all as the parameters' gradients. Each forward draws the random
 * numbers that it would draw in one process.
 * @returns the loss, and what the objective sums
 * @throws the signal's reason once it aborts: no gradient is left then
 */
export async function exchangeGradients(
  { exchange, step, model, parameters, count, total, sumCount, compute }: SharedStep,
  signal?: AbortSignal,
): Promise<Pick<ShareNumbers, "loss" | "sums">> {
  const shares = cutIntoShares(count, total, exchange.shares);
  const randoms = randomStates(model).map((random) => ({ random, first: random.step }));
  const moveTo = (place: number) => randoms.forEach(({ random, first }) => random.step = first + place);
  const computeShare = async (share: number) => {
    const places = shares.get(share)!;
    moveTo(places[0]);
    zeroGrad(parameters);
    const found = compute(places);
    const numbers = await readShare(found, parameters);
    found.loss.dispose();
    found.sums?.dispose();
    return packShare(numbers);
  };
  try {
    const bytes = await exchange.exchange(step, [...shares.keys()], computeShare, signal);
    const sizes = parameters.map(({ size }) => size);
    const sum = sumShares(bytes.map((one) => unpackShare(one, sizes, sumCount)));
    writeGradients(parameters, sum);
    moveTo(count);
    return sum;
  } catch (error) {
    moveTo(0);
    zeroGrad(parameters);
    throw error;
  }
}
