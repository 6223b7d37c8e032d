/**
 * Prefix tuning (Li and Liang 2021, arXiv:2101.00190), prompt tuning (Lester et al. 2021, arXiv:2104.08691) and P-tuning
 * (Liu et al. 2021, arXiv:2103.10385): virtual tokens before every row. A prefix gives keys and values to each layer; the
 * other two give embeddings. Fields, defaults and files are those of Hugging Face's `peft` 0.21.
 * @module
 */

import { PrefixTuningConfig } from "./prefix_tuning_config.ts";
import { PromptEncoderConfig } from "./prompt_encoder_config.ts";
import { PromptTuningConfig } from "./prompt_tuning_config.ts";

/** A configuration of virtual tokens. */
export type PromptLearningConfig = PrefixTuningConfig | PromptTuningConfig | PromptEncoderConfig;

/** Readers of the three methods' files, by their names in files. */
export const promptLearningConfigs: Readonly<
  Record<PromptLearningConfig["peftType"], (json: Readonly<Record<string, unknown>>) => PromptLearningConfig>
> = {
  PREFIX_TUNING: (json) => PrefixTuningConfig.fromJSON(json),
  PROMPT_TUNING: (json) => PromptTuningConfig.fromJSON(json),
  P_TUNING: (json) => PromptEncoderConfig.fromJSON(json),
};
