/**
 * Settings of `DPOTrainer`, by TRL's names in camelCase.
 * @module
 */

import { choice, flag, integer, number, orNull, type Rule, rule } from "../../options/rules.ts";
import { option } from "../../options/table.ts";
import { type SettingsTable, TrainingArguments } from "../training_arguments.ts";
import type { TruncationMode } from "../data/truncation.ts";
import { MUST_LEARN, mustDivide, PREFERENCE_SETTINGS } from "./preference_settings.ts";
import {
  DIVERGENCES,
  DPO_LOSS_TYPES,
  DPO_LOSSES,
  type DPOLossType,
  type FDivergenceType,
} from "./dpo_losses.ts";

/**
 * Settings as they are given: one loss may stand for a list of it.
 *
 * @example
 * ```ts
 * import { DPOConfig } from "@peft/webgpu";
 * import type { DPOConfigOptions } from "@peft/webgpu/train";
 *
 * const mpo: DPOConfigOptions = { lossType: ["sigmoid", "bco_pair", "sft"], lossWeights: [0.8, 0.2, 1] };
 * console.log(new DPOConfig({ ...mpo, beta: 0.1 }).lossType); // Mixed Preference Optimization: three losses in one
 * ```
 */
export type DPOConfigOptions = Partial<Omit<DPOConfig, "lossType">> & {
  /** One loss, or several that are added up. */
  lossType?: DPOLossType | readonly DPOLossType[];
};

const isLoss = (value: unknown) => DPO_LOSS_TYPES.includes(value as DPOLossType);
const losses: Rule<readonly DPOLossType[]> = rule(
  `one or several of ${DPO_LOSS_TYPES.map((name) => `"${name}"`).join(", ")}`,
  (value) => isLoss(value) || Array.isArray(value) && value.length > 0 && value.every(isLoss),
);
const weights: Rule<readonly number[]> = rule(
  "a list of numbers",
  (value) => Array.isArray(value) && value.every((weight) => Number.isFinite(weight)),
);

const DPO_SETTINGS = {
  ...PREFERENCE_SETTINGS,
  truncationMode: option<TruncationMode>("keep_start", choice("keep_start", "keep_end")),
  precomputeRefLogProbs: option(false, flag),
  precomputeRefBatchSize: option<number | null>(null, orNull(integer(1))),
  lossType: option<readonly DPOLossType[]>(["sigmoid"], losses),
  lossWeights: option<readonly number[] | null>(null, orNull(weights)),
  ldAlpha: option<number | null>(null, orNull(number(0, 1))),
  fDivergenceType: option<FDivergenceType>(
    "reverse_kl",
    choice(...Object.keys(DIVERGENCES) as FDivergenceType[]),
  ),
  fAlphaDivergenceCoef: option(0.5, number()),
  labelSmoothing: option(0, number(0, 1)),
  discopopTau: option(0.05, number(1e-12)),
} as const;

function refuse(message: string): never {
  throw new RangeError(`Cannot make a DPO configuration: ${message}`);
}

/**
 * Settings of `DPOTrainer`: those of `TrainingArguments`, and these. Defaults are those of TRL 1.16's `DPOConfig`; of
 * the shared ones `learningRate` is 1e-6, `loggingSteps` 10 and `gradientCheckpointing` true.
 *
 * @example
 * ```ts
 * import { DPOConfig } from "@peft/webgpu";
 *
 * const args = new DPOConfig({ beta: 0.1, maxLength: 512 });
 * console.log(args.learningRate, args.lossType);
 * ```
 */
export class DPOConfig extends TrainingArguments {
  /** Tokens of prompt and answer that are kept; null for all. A row is left out if its prompt has as many. Default 1024. */
  declare maxLength: number | null;
  /** Which of them. Default "keep_start". */
  declare truncationMode: TruncationMode;
  /** No dropout while training. Default true. */
  declare disableDropout: boolean;
  /**
   * Compute the reference's log-probabilities once, before the first step, in place of once a step. A resumed run computes
   * them again, the same to the bit. Default false.
   */
  declare precomputeRefLogProbs: boolean;
  /** Pairs per batch of that; null: as in training and evaluations. Default null. */
  declare precomputeRefBatchSize: number | null;
  /** The losses, which are added up. Default ["sigmoid"]. */
  declare lossType: readonly DPOLossType[];
  /** A factor for each loss; null: 1. Default null. */
  declare lossWeights: readonly number[] | null;
  /** Factor of the tokens by which one answer is longer than the other (arXiv:2409.06411); null: 1. Default null. */
  declare ldAlpha: number | null;
  /** Divergence between policy and reference (arXiv:2309.16240). Default "reverse_kl". */
  declare fDivergenceType: FDivergenceType;
  /** Coefficient of "alpha_divergence". Default 0.5. */
  declare fAlphaDivergenceCoef: number;
  /** Probability that a preference is the wrong way round, for "robust", "exo_pair", "aot" and "aot_unpaired". Default 0. */
  declare labelSmoothing: number;
  /** How strongly the policy is held to the reference; for "ipo" the paper's tau. Default 0.1. */
  declare beta: number;
  /** Temperature of "discopop". Default 0.05. */
  declare discopopTau: number;

  /**
   * Defaults, with the given options in their place.
   * @throws {RangeError} for a value out of range @throws {TypeError} for a name that is no setting
   */
  constructor(options: DPOConfigOptions = {}) {
    super(options as Partial<TrainingArguments>);
    this.lossType = [this.lossType].flat();
    const { lossType, lossWeights, fDivergenceType, labelSmoothing, beta } = this;
    const divides = lossType.find((name) => DPO_LOSSES[name].beta === "divides");
    if (beta === 0 && divides) refuse(mustDivide(divides));
    if (beta === 0 && lossType.every((name) => DPO_LOSSES[name].beta !== "unused")) refuse(MUST_LEARN);
    if (lossWeights && lossWeights.length !== lossType.length) {
      refuse(
        `lossWeights must be as many as lossType, received ${lossWeights.length} for ${lossType.length} losses`,
      );
    }
    const takes = (name: DPOLossType) => DPO_LOSSES[name].takesDivergences;
    const bad = lossType.find((name) => !takes(name));
    if (fDivergenceType !== "reverse_kl" && bad) {
      const fitting = DPO_LOSS_TYPES.filter(takes).map((name) => `"${name}"`).join(", ");
      refuse(`lossType must be of ${fitting} with fDivergenceType "${fDivergenceType}", received "${bad}"`);
    }
    if (lossType.includes("robust") && !(labelSmoothing < 0.5)) {
      refuse(`labelSmoothing must be below 0.5 with lossType "robust", received ${labelSmoothing}`);
    }
    if (lossType.includes("exo_pair") && !(labelSmoothing > 0 && labelSmoothing < 1)) {
      refuse(
        `labelSmoothing must be between 0 and 1 with lossType "exo_pair", such as 0.001, received ${labelSmoothing}`,
      );
    }
  }

  /** @internal Its settings. */
  override get settings(): SettingsTable {
    return DPO_SETTINGS;
  }
}
