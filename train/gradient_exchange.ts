/**
 * Data-parallel training: the batches of a step are cut into shares, processes compute the gradients of one each, and all of
 * them sum all in the same order, so that every process makes the same update. Equal to one process that accumulates the
 * gradients of the same batches.
 * @module
 */

import { empty, type Tensor, untracked } from "../autograd/mod.ts";
import { type ComputedShare, type GradientCompression, SHARE_CODECS } from "./gradient_compression.ts";
import { type ShareNumbers, sumShares } from "./gradient_share.ts";
import type { BatchLoss } from "./objective.ts";
import { randomStates, type TrainableModel, zeroGrad } from "./trainable_model.ts";

/**
 * How processes get each other's gradients.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, Trainer } from "@peft/webgpu";
 * import type { GradientExchange } from "@peft/webgpu/train";
 *
 * // one process computes all shares: the sum is that of several processes, to the bit
 * const gradientExchange: GradientExchange = {
 *   shares: 2,
 *   async exchange(_step, shares, compute) {
 *     const all: Uint8Array[] = [];
 *     for (const share of shares) all.push((await compute(share, null)).bytes);
 *     return all;
 *   },
 * };
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const trainDataset = [{ inputIds: [1, 2, 3] }, { inputIds: [4, 5, 6] }];
 * const args = { maxSteps: 1, perDeviceTrainBatchSize: 1, gradientAccumulationSteps: 2, reportTo: "none" } as const;
 * await new Trainer({ model, trainDataset, gradientExchange, args }).train();
 * ```
 */
export interface GradientExchange {
  /** Shares that the batches of a step are cut into: `gradientAccumulationSteps` must be a multiple of it. */
  readonly shares: number;
  /** How gradients travel; the same on all processes. Default "none". */
  readonly compression?: GradientCompression;
  /**
   * All shares of a step.
   * @param step number of the optimizer step, from 1
   * @param shares numbers of the shares that have batches, ascending
   * @param compute computes one of them on this process; the bytes are the same on every process with the same adapter,
   * and the same `previous`: with compression, this share of the step before, or null if that had no such share
   * @returns the bytes of each share, in the order of `shares`
   * @throws the signal's reason once it aborts
   */
  exchange(
    step: number,
    shares: readonly number[],
    compute: (share: number, previous: ComputedShare | null) => Promise<ComputedShare>,
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
  /** Forwards in train mode of each batch of this step. */
  readonly forwards: readonly number[];
  /** Batches of a whole step: the last one of an epoch may have fewer. */
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
  { exchange, step, model, parameters, forwards, total, sumCount, compute }: SharedStep,
  signal?: AbortSignal,
): Promise<Pick<ShareNumbers, "loss" | "sums">> {
  const count = forwards.length;
  const shares = cutIntoShares(count, total, exchange.shares);
  const randoms = randomStates(model).map((random) => ({ random, first: random.step }));
  const moveTo = (place: number) => {
    const before = forwards.slice(0, place).reduce((sum, own) => sum + own, 0);
    for (const { random, first } of randoms) random.step = first + before;
  };
  const codec = SHARE_CODECS[exchange.compression ?? "none"];
  const form = { sizes: parameters.map(({ size }) => size), sumCount };
  const computeShare = async (share: number, previous: ComputedShare | null) => {
    const places = shares.get(share)!;
    moveTo(places[0]);
    zeroGrad(parameters);
    const found = compute(places);
    const numbers = await readShare(found, parameters);
    found.loss.dispose();
    found.sums?.dispose();
    return codec.pack(numbers, previous, form);
  };
  try {
    const bytes = await exchange.exchange(step, [...shares.keys()], computeShare, signal);
    const sum = sumShares(bytes.map((one) => codec.unpack(one, form)));
    writeGradients(parameters, sum);
    moveTo(count);
    return sum;
  } catch (error) {
    moveTo(0);
    zeroGrad(parameters);
    throw error;
  }
}
