/**
 * How configurations of virtual tokens are told from others.
 * @module
 */

import type { PeftConfig } from "../config/peft_config.ts";
import type { PromptLearningConfig } from "./prompt_learning.ts";

/** Names of the methods in files. */
export const VIRTUAL_TOKEN_TYPES: readonly PromptLearningConfig["peftType"][] = [
  "PREFIX_TUNING",
  "PROMPT_TUNING",
  "P_TUNING",
];

/** Whether a name in files is one of a method of virtual tokens. */
export function isVirtualTokenType(type: unknown): type is PromptLearningConfig["peftType"] {
  return VIRTUAL_TOKEN_TYPES.some((known) => known === type);
}

/** Whether a configuration is one of virtual tokens. */
export function isPromptLearning(config: PeftConfig): config is PromptLearningConfig {
  return isVirtualTokenType(config.peftType);
}
