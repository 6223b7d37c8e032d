/**
 * Settings of `KTOTrainer`, by TRL's names in camelCase.
 * @module
 */

import { choice, flag, number } from "../../options/rules.ts";
import { option } from "../../options/table.ts";
import { type SamplingStrategy, type SettingsTable, TrainingArguments } from "../training_arguments.ts";
import { MUST_LEARN, PREFERENCE_SETTINGS } from "./preference_settings.ts";

/**
 * A loss of single answers.
 *
 * @example
 * ```ts
 * import { KTOConfig } from "@peft/webgpu";
 * import type { KTOLossType } from "@peft/webgpu/train";
 *
 * // "kto" estimates the distance to the reference from the other rows of a batch, which a batch of one does not have
 * const lossFor = (perDeviceTrainBatchSize: number): KTOLossType => perDeviceTrainBatchSize > 1 ? "kto" : "apo_zero_unpaired";
 * const configs = [1, 8].map((n) => new KTOConfig({ perDeviceTrainBatchSize: n, lossType: lossFor(n) }));
 * console.log(configs.map(({ lossType }) => lossType)); // [ "apo_zero_unpaired", "kto" ]
 * ```
 */
export type KTOLossType = "kto" | "apo_zero_unpaired";

const KTO_SETTINGS = {
  ...PREFERENCE_SETTINGS,
  trainSamplingStrategy: option<SamplingStrategy>(
    "sequential",
    choice("random", "sequential", "group_by_length"),
  ),
  precomputeRefLogProbs: option(false, flag),
  lossType: option<KTOLossType>("kto", choice("kto", "apo_zero_unpaired")),
  desirableWeight: option(1, number(0)),
  undesirableWeight: option(1, number(0)),
} as const;

function refuse(message: string): never {
  throw new RangeError(`Cannot make a KTO configuration: ${message}`);
}

/**
 * Settings of `KTOTrainer`: those of `TrainingArguments`, and these. Defaults are those of TRL 1.16's `KTOConfig`; of the
 * shared ones `learningRate` is 1e-6, `loggingSteps` 10, `gradientCheckpointing` true and `trainSamplingStrategy`
 * "sequential".
 *
 * @example
 * ```ts
 * import { KTOConfig } from "@peft/webgpu";
 *
 * const args = new KTOConfig({ beta: 0.1 });
 * console.log(args.learningRate, args.beta);
 * ```
 */
export class KTOConfig extends TrainingArguments {
  /** Most tokens of prompt and answer; null for all. A row is left out if its prompt has as many. Default 1024. */
  declare maxLength: number | null;
  /** No dropout while training. Default true. */
  declare disableDropout: boolean;
  /**
   * Compute the reference's log-probabilities once, before the first step, in place of once a step; needs the order
   * "sequential", in which each answer always meets the same others. Default false.
   */
  declare precomputeRefLogProbs: boolean;
  /** The loss. Default "kto". */
  declare lossType: KTOLossType;
  /** How strongly the policy is held to the reference. Default 0.1. */
  declare beta: number;
  /** Factor of the losses of wanted answers. Default 1. */
  declare desirableWeight: number;
  /** Factor of the losses of unwanted answers. Default 1. */
  declare undesirableWeight: number;

  /**
   * Defaults, with the given options in their place.
   * @throws {RangeError} for a value out of range @throws {TypeError} for a name that is no setting
   */
  constructor(options: Partial<KTOConfig> = {}) {
    super(options);
    if (this.beta === 0) refuse(MUST_LEARN);
    if (this.lossType !== "kto") return;
    const { perDeviceTrainBatchSize: rows, precomputeRefLogProbs, trainSamplingStrategy: order } = this;
    if (rows < 2) {
      refuse(
        `perDeviceTrainBatchSize must be at least 2 with lossType "kto", received ${rows}: how far the model is from the reference is estimated from prompts with the answers of other rows`,
      );
    }
    if (precomputeRefLogProbs && order !== "sequential") {
      refuse(
        `trainSamplingStrategy must be "sequential" with precomputeRefLogProbs, received "${order}": answers would meet others than before`,
      );
    }
  }

  /** @internal Its settings. */
  override get settings(): SettingsTable {
    return KTO_SETTINGS;
  }
}
