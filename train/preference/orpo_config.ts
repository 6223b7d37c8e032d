/**
 * Settings of `ORPOTrainer`, by TRL's names in camelCase.
 * @module
 */

import { type SettingsTable, TrainingArguments } from "../training_arguments.ts";
import { PREFERENCE_SETTINGS } from "./preference_settings.ts";

/**
 * Settings of `ORPOTrainer`: those of `TrainingArguments`, and these. Defaults are those of TRL 1.16's `ORPOConfig`; of
 * the shared ones `learningRate` is 1e-6, `loggingSteps` 10 and `gradientCheckpointing` true.
 *
 * @example
 * ```ts
 * import { ORPOConfig } from "@peft/webgpu";
 *
 * const args = new ORPOConfig({ beta: 0.1 });
 * console.log(args.learningRate, args.beta);
 * ```
 */
export class ORPOConfig extends TrainingArguments {
  /** Most tokens of prompt and answer; null for all. A row is left out if its prompt has as many. Default 1024. */
  declare maxLength: number | null;
  /** No dropout while training. Default true. */
  declare disableDropout: boolean;
  /** Factor of the odds ratio, the paper's lambda. Default 0.1. */
  declare beta: number;

  /**
   * Defaults, with the given options in their place.
   * @throws {RangeError} for a value out of range @throws {TypeError} for a name that is no setting
   */
  constructor(options: Partial<ORPOConfig> = {}) {
    super(options);
  }

  /** @internal Its settings. */
  override get settings(): SettingsTable {
    return PREFERENCE_SETTINGS;
  }
}
