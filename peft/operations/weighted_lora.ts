/**
 * A LoRA adapter made from others (`peft`'s `add_weighted_adapter`). With s_i the scaling and w_i the weight of adapter
 * i:
 *   cat      A = all w_i s_i A_i below each other, B = all B_i beside each other: the exact weighted sum
 *   linear   A = sum sign(w_i s_i) sqrt|w_i s_i| A_i, B = sum sqrt|w_i s_i| B_i: has cross terms A_i B_j
 *   svd      U S V^T of sum w_i s_i B_i A_i cut to a rank: B = U S, A = V^T
 * ties, dare_linear, dare_ties and magnitude_prune combine the A's and the B's as `combine.ts` says, with the weights
 * of linear; followed by _svd they combine the changes s_i B_i A_i, and the result is cut to a rank. The new adapter's
 * alpha is its rank and it does not use rsLoRA, so that its scaling is 1. (`peft` keeps rsLoRA, which makes the result
 * sqrt(r) times too large.)
 * @module
 */

import { defaultSeed, HostRandom } from "../../autograd/mod.ts";
import type { Module } from "../../nn/mod.ts";
import { type PeftConfig, withFields } from "../config/peft_config.ts";
import { changeOf, type FactorValues, joinFactors, readFactors } from "../lora/factor_values.ts";
import type { LoraConfig } from "../lora/lora_config.ts";
import { type LowRankLayer, lowRankLayers } from "../lora/low_rank.ts";
import { truncatedProduct, truncatedSvd } from "../lora/truncated_svd.ts";
import type { LowRankFactors } from "../state/low_rank_factors.ts";
import { quoteAll } from "../targets/names.ts";
import { type CombineOptions, type CombineRule, combineTensors, type MajoritySignMethod } from "./combine.ts";
import { unionTargets } from "./union_targets.ts";

/**
 * How adapters become one.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import type { CombinationType } from "@peft/webgpu/peft";
 *
 * const config = new LoraConfig({ r: 4, targetModules: ["c_attn"] }), combinationType: CombinationType = "cat";
 * const model = getPeftModel(await AutoModelForCausalLM.fromPretrained("examples/demo/model"), config, "pirate");
 * model.addAdapter("poet", config);
 * await model.addWeightedAdapter(["pirate", "poet"], [0.7, 0.3], "both", { combinationType }); // exact, of rank 8
 * model.setAdapter("both");
 * ```
 */
export type CombinationType = "cat" | "svd" | CombineRule | `${Exclude<CombineRule, "linear">}_svd`;

/**
 * Options of `addWeightedAdapter` for LoRA.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import type { WeightedAdapterOptions } from "@peft/webgpu/peft";
 *
 * const config = new LoraConfig({ r: 4, targetModules: ["c_attn"] });
 * const model = getPeftModel(await AutoModelForCausalLM.fromPretrained("examples/demo/model"), config, "pirate");
 * model.addAdapter("poet", config);
 * const options: WeightedAdapterOptions = { combinationType: "dare_linear", density: 0.5, seed: 1 };
 * await model.addWeightedAdapter(["pirate", "poet"], [1, 1], "both", options);
 * console.log(Object.keys(model.peftConfig)); // [ "pirate", "poet", "both" ]
 * ```
 */
export interface WeightedAdapterOptions {
  /** Default "svd". With a single adapter always "linear", which is exact then. */
  combinationType?: CombinationType;
  /** Rank of the result of the svd forms; default the largest rank. */
  svdRank?: number;
  /** Quantile at which the svd forms clamp their factors, 0 to 1; default none. */
  svdClamp?: number;
  /** Fraction of the elements that the ties, dare and magnitude_prune forms keep, 0 to 1; required there. */
  density?: number;
  /** How ties elects a sign: that of the sum (default), or the more frequent one. */
  majoritySignMethod?: MajoritySignMethod;
  /** Seed of dare; default 0. */
  seed?: number;
}

/** Names of {@linkcode WeightedAdapterOptions}. */
export const WEIGHTED_OPTIONS: readonly string[] = Object.keys(
  {
    combinationType: true,
    svdRank: true,
    svdClamp: true,
    density: true,
    majoritySignMethod: true,
    seed: true,
  } satisfies Record<keyof WeightedAdapterOptions, true>,
);

/** What is combined, and by which rule. */
const COMBINATIONS: Readonly<
  Record<
    CombinationType,
    {
      readonly of: "rows" | "factors" | "changes";
      readonly rule: CombineRule;
      readonly needsDensity: boolean;
    }
  >
> = {
  cat: { of: "rows", rule: "linear", needsDensity: false },
  linear: { of: "factors", rule: "linear", needsDensity: false },
  ties: { of: "factors", rule: "ties", needsDensity: true },
  dare_linear: { of: "factors", rule: "dare_linear", needsDensity: true },
  dare_ties: { of: "factors", rule: "dare_ties", needsDensity: true },
  magnitude_prune: { of: "factors", rule: "magnitude_prune", needsDensity: true },
  svd: { of: "changes", rule: "linear", needsDensity: false },
  ties_svd: { of: "changes", rule: "ties", needsDensity: true },
  dare_linear_svd: { of: "changes", rule: "dare_linear", needsDensity: true },
  dare_ties_svd: { of: "changes", rule: "dare_ties", needsDensity: true },
  magnitude_prune_svd: { of: "changes", rule: "magnitude_prune", needsDensity: true },
};

/** An adapter, its configuration and its weight. */
export interface Weighted<Config extends PeftConfig> {
  readonly name: string;
  readonly config: Config;
  readonly weight: number;
}

/** The configuration of a new adapter and the values of its parameters, by layer and key. */
export interface WeightedPlan {
  readonly config: PeftConfig;
  /** Writes the new adapter's parameters. */
  readonly write: (name: string) => void;
}

const ACTION = "Cannot add a weighted adapter";

/** Rank that holds every layer of an adapter. */
const largestRank = ({ r, rankPattern }: LoraConfig) => Math.max(r, ...Object.values(rankPattern));

function checkOptions(type: CombinationType, options: WeightedAdapterOptions): void {
  const { density, svdRank, svdClamp, majoritySignMethod = "total" } = options;
  if (!Object.hasOwn(COMBINATIONS, type)) {
    throw new RangeError(
      `${ACTION}: Invalid combination_type: ${type}, the types are ${quoteAll(Object.keys(COMBINATIONS))}`,
    );
  }
  if (COMBINATIONS[type].needsDensity) {
    if (density === undefined) {
      throw new TypeError(
        `${ACTION}: combinationType "${type}" needs a density between 0 and 1, received none`,
      );
    }
    if (!(density >= 0)) throw new RangeError(`${ACTION}: Density should be >= 0, got ${density}`);
    if (density >= 1) {
      console.warn(`The density ${density} is greater than or equal to 1, no pruning will be performed.`);
    }
  }
  if (svdRank !== undefined && !(Number.isInteger(svdRank) && svdRank > 0)) {
    throw new RangeError(`${ACTION}: svdRank must be a positive integer, received ${svdRank}`);
  }
  if (svdClamp !== undefined && !(svdClamp >= 0 && svdClamp <= 1)) {
    throw new RangeError(`${ACTION}: svdClamp must be between 0 and 1, received ${svdClamp}`);
  }
  if (majoritySignMethod !== "total" && majoritySignMethod !== "frequency") {
    throw new RangeError(
      `${ACTION}: majoritySignMethod must be "total" or "frequency", received "${majoritySignMethod}"`,
    );
  }
}

/** Rank of the new adapter. */
function newRank(
  type: CombinationType,
  adapters: readonly Weighted<LoraConfig>[],
  svdRank: number | undefined,
): number {
  const ranks = adapters.map(({ config }) => largestRank(config));
  const { of } = COMBINATIONS[type];
  if (of === "rows") return ranks.reduce((sum, rank) => sum + rank, 0);
  if (of === "changes") return svdRank ?? Math.max(...ranks);
  if (new Set(ranks).size > 1) {
    throw new RangeError(
      `${ACTION}: All adapters must have the same r value when using combination_type linear, ties, dare_ties or dare_linear, received ${
        ranks.join(", ")
      }`,
    );
  }
  return ranks[0];
}

/**
 * Computes the adapter that others make together; the model is not changed yet.
 * @throws {RangeError} for an unknown type, ranks that differ where they must not, or values out of range
 * @throws {TypeError} if a density is missing
 */
export async function planWeightedLora(
  model: Module,
  adapters: readonly Weighted<LoraConfig>[],
  options: WeightedAdapterOptions,
): Promise<WeightedPlan> {
  const type = adapters.length === 1 ? "linear" : options.combinationType ?? "svd";
  checkOptions(options.combinationType ?? "svd", options);
  const rank = newRank(type, adapters, options.svdRank);
  const job: Job = {
    type,
    rank,
    svdClamp: options.svdClamp,
    combine: {
      density: options.density ?? 1,
      majoritySignMethod: options.majoritySignMethod ?? "total",
      random: new HostRandom(options.seed ?? defaultSeed()),
    },
  };
  const layers: [LowRankLayer, FactorValues, Float32Array<ArrayBuffer> | null][] = [];
  for (const [path, layer] of lowRankLayers(model)) {
    const parts = adapters.flatMap(({ name, weight }): Part[] => {
      const factors = layer.lowRank(name);
      return factors ? [{ factors, weight, scaling: layer.scaling.get(name)! }] : [];
    });
    if (parts.length === 0) continue;
    if (parts.some(({ factors }) => factors.hasMagnitude)) {
      throw new RangeError(
        `${ACTION}: adapters without DoRA are required, received one with it in "${path}"`,
      );
    }
    if (parts.some(({ factors }) => factors.offset)) {
      throw new RangeError(
        `${ACTION}: plain LoRA is required, received an adapter that starts from the weight of "${path}"; save it with convertToLora`,
      );
    }
    layers.push([layer, await combineLayer(parts, job), await combineBiases(parts)]);
  }
  const [first] = adapters;
  const config = withFields(first.config, {
    ...unionTargets(model, adapters),
    r: rank,
    loraAlpha: rank,
    useRslora: false,
    rankPattern: {},
    alphaPattern: {},
    initLoraWeights: true,
    trainableTokenIndices: adapters.find(({ config }) => config.trainableTokenIndices)?.config
      .trainableTokenIndices ?? null,
    loraBias: layers.some(([, , bias]) => bias !== null),
  });
  return {
    config,
    write: (name) => {
      for (const [layer, { A, B }, bias] of layers) {
        const made = layer.lowRank(name)!;
        made.A.write(A);
        made.B.write(B);
        if (bias) made.bias?.write(bias);
      }
    },
  };
}

interface Job {
  readonly type: CombinationType;
  readonly rank: number;
  readonly svdClamp: number | undefined;
  readonly combine: CombineOptions;
}

/** An adapter in one layer. */
interface Part {
  readonly factors: LowRankFactors;
  readonly weight: number;
  readonly scaling: number;
}

/** A [rank, in] and B [out, rank] of the new adapter in one layer. */
async function combineLayer(parts: readonly Part[], job: Job): Promise<FactorValues> {
  const { type, rank, svdClamp, combine } = job;
  const { of, rule } = COMBINATIONS[type];
  const [{ factors: { A: { device, shape: [, inFeatures] }, B: { shape: [outFeatures] } } }] = parts;
  const sizes = { inFeatures, outFeatures };
  const weights = parts.map(({ weight }) => weight);
  const scaled = parts.map(({ weight, scaling }) => weight * scaling);
  if (of === "changes" && rule !== "linear") {
    const changes: Float32Array<ArrayBuffer>[] = [];
    for (const { factors, scaling } of parts) changes.push(await changeOf(factors, scaling));
    return await truncatedSvd(device, combineTensors(rule, changes, weights, combine), sizes, rank, svdClamp);
  }
  const read = await Promise.all(parts.map(({ factors }) => readFactors(factors)));
  if (of === "factors") {
    const roots = scaled.map((weight) => Math.sqrt(Math.abs(weight)));
    const signed = scaled.map((weight, i) => weight >= 0 ? roots[i] : -roots[i]);
    const padded = read.map((values) => joinFactors([values], [1], sizes, rank));
    return {
      A: combineTensors(rule, padded.map(({ A }) => A), signed, combine),
      B: combineTensors(rule, padded.map(({ B }) => B), roots, combine),
    };
  }
  if (of === "rows") return joinFactors(read, scaled, sizes, rank);
  const total = parts.reduce((sum, { factors }) => sum + factors.A.shape[0], 0);
  return await truncatedProduct(device, joinFactors(read, scaled, sizes, total), sizes, rank, svdClamp);
}

/** The biases of B add up by their weights; null where there is none. */
async function combineBiases(parts: readonly Part[]): Promise<Float32Array<ArrayBuffer> | null> {
  const biased = parts.filter(({ factors }) => factors.bias !== null);
  if (biased.length === 0) return null;
  const values = await Promise.all(biased.map(({ factors }) => factors.bias!.data()));
  return Float32Array.from(
    values[0],
    (_, i) => biased.reduce((sum, { weight, scaling }, k) => sum + weight * scaling * values[k][i], 0),
  );
}
