/**
 * BOFT (Liu et al. 2024, arXiv:2311.06243): OFT with butterfly factors, each of which mixes features twice as far apart as
 * the one before, and a trained scale of every output.
 *   y = s ((x M) W) + b,   M = M_f … M_1 M_0,   M_i = P_i diag(R_i1, …, R_iD) P_i^T,   R = (I - S) (I + S)^-1
 * with S the skew-symmetric part of the entries. Fields, defaults, initial values and keys are those of Hugging Face's
 * `peft` 0.21, whose own does not take GPT-2's Conv1D, and has only one factor where its CUDA extension is missing: here
 * both work.
 * @module
 */

import {
  add,
  addDiagonal,
  blockDropout,
  cayley,
  multiply,
  noGrad,
  permute,
  type RandomState,
  reshape,
  scale,
  slice,
  subtract,
  type Tensor,
  transpose,
  untracked,
} from "../../autograd/mod.ts";
import { Parameter } from "../../nn/mod.ts";
import { refuseConfig } from "../config/peft_config.ts";
import type { LinearAdapter, LinearCall, LinearFacts } from "../layers/linear_call.ts";
import type { InjectionContext } from "../layers/tuner_layer.ts";
import { BOFTConfig } from "./boft_config.ts";
import { linearMethod, type PeftMethod } from "./method.ts";
import { rotateBlocks } from "./rotation.ts";

/** Number and size of the blocks of a layer, by `peft`'s rules. @throws {RangeError} if they do not fit */
function blocksOf(config: BOFTConfig, { inFeatures }: LinearFacts): [count: number, size: number] {
  const { boftBlockSize, boftBlockNum, boftNButterflyFactor } = config;
  const refuse = (message: string) => refuseConfig("boft", message);
  const [name, wanted] = boftBlockSize === 0
    ? ["boft_block_num", boftBlockNum]
    : ["boft_block_size", boftBlockSize];
  if (inFeatures % wanted !== 0) {
    refuse(`in_features (${inFeatures}) must be divisible by ${name} (${wanted})!`);
  }
  const other = inFeatures / wanted;
  const [count, size] = boftBlockSize === 0 ? [wanted, other] : [other, wanted];
  const reach = 2 ** (boftNButterflyFactor - 1); // blocks that the last factor mixes
  if (count % reach !== 0) {
    refuse(
      `Invalid combination of in_features (${inFeatures}), boft_n_butterfly_factor (${boftNButterflyFactor}) and boft_block_size (${size})!`,
    );
  }
  if (reach > 1 && size % 2 !== 0) refuse(`boft_block_size (${size}) must be an even number!`);
  return [count, size];
}

/** Butterfly rotations of one layer's inputs, and scales of its outputs. */
class BoftAdapter implements LinearAdapter {
  readonly parameters: { readonly boft_R: Parameter; readonly boft_s: Parameter };
  readonly #facts: LinearFacts;
  readonly #p: number;
  readonly #random: RandomState;

  constructor(config: BOFTConfig, facts: LinearFacts, { init, random }: InjectionContext) {
    const [count, size] = blocksOf(config, facts);
    const shape = [config.boftNButterflyFactor, count, size, size];
    const { outFeatures } = facts;
    this.parameters = config.initWeights
      ? { boft_R: init.constant(shape, 0), boft_s: init.constant([outFeatures, 1], 1) }
      : { boft_R: init.normal(shape, 0.1), boft_s: aroundOne(init.normal([outFeatures, 1], 0.1)) };
    this.#facts = facts;
    this.#p = config.boftDropout;
    this.#random = random;
  }

  /** Rotations of each factor, [D, H, H]; factor 0 first. While training, some of one factor may be left out. */
  #rotations(training: boolean): Tensor[] {
    const R = this.parameters.boft_R;
    const [factors, count, size] = R.shape;
    const flat = reshape(R, [factors * count, size, size]);
    let all = cayley(scale(subtract(flat, transpose(flat)), 0.5));
    const resting = training ? Math.trunc(this.#p * count) : 0;
    if (resting > 0) {
      const keep = blockDropout(factors, count, resting, this.#random);
      const change = multiply(addDiagonal(all, -1), reshape(keep, [factors * count, 1, 1]));
      all = addDiagonal(change, 1);
    }
    if (factors === 1) return [all];
    return Array.from({ length: factors }, (_, i) => slice(all, 0, i * count, (i + 1) * count));
  }

  apply(call: LinearCall, training: boolean): LinearCall {
    const { boft_s: s } = this.parameters;
    const own = reshape(s, [s.size]);
    const x = this.#rotations(training).reduceRight((x, R, i) => butterfly(x, R, i), call.x); // the last factor first
    return { ...call, x, gain: call.gain ? multiply(call.gain, own) : own };
  }

  /** s (M W): rows of a [out, in] weight go through the transposed factors, the first factor first. */
  mergedWeight(weight: Tensor): Tensor {
    const { boft_s: s } = this.parameters; // [out, 1]
    const conv1d = this.#facts.layout === "conv1d";
    const rows = conv1d ? transpose(weight) : weight; // [out, in]
    const turned = this.#rotations(false).reduce((w, R, i) => butterfly(w, transpose(R), i), rows);
    const scaled = multiply(turned, s);
    return conv1d ? transpose(scaled) : scaled;
  }
}

/**
 * x P diag(R) P^T for factor `i`, whose P lets a block take its two halves from places 2^i half blocks apart.
 * x [..., D H], R [D, H, H]
 */
function butterfly(x: Tensor, R: Tensor, i: number): Tensor {
  if (i === 0) return rotateBlocks(x, R);
  const half = R.shape[1] / 2;
  const pairs = 2 ** i;
  const width = x.shape.at(-1)!;
  const groups = x.size / (2 * pairs * half);
  const order = [0, 2, 1, 3];
  const together = permute(reshape(x, [groups, 2, pairs, half]), order); // [groups, pairs, 2, half]
  const turned = rotateBlocks(reshape(together, [x.size / width, width]), R);
  return reshape(permute(reshape(turned, [groups, pairs, 2, half]), order), x.shape);
}

/** 1 + x as a new parameter; x is disposed. */
function aroundOne(x: Parameter): Parameter {
  const result = new Parameter(untracked(() => noGrad(() => add(x, 1))));
  x.dispose();
  return result;
}

/** BOFT, for the registry. */
export const boft: PeftMethod<BOFTConfig> = linearMethod({
  name: "boft",
  configFromJSON: (json) => BOFTConfig.fromJSON(json),
  adapter: BoftAdapter,
});
