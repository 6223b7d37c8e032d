/**
 * What the configurations of prefix tuning, prompt tuning and P-tuning share (`peft`'s `PromptLearningConfig`).
 * @module
 */

import { integer, orNull, refusedAs, type Rule, rule } from "../../options/rules.ts";
import { option, type OptionTable } from "../../options/table.ts";
import { COMMON_OPTIONS } from "../config/method_config.ts";
import type { PeftConfigFields } from "../config/peft_config.ts";

/**
 * Fields of every prompt learning configuration; null ones are taken from the model.
 *
 * @example
 * ```ts
 * import { PrefixTuningConfig, PromptTuningConfig } from "@peft/webgpu";
 * import type { PromptLearningFields } from "@peft/webgpu/peft";
 *
 * const sizes: Partial<PromptLearningFields> = { numVirtualTokens: 16, baseModelNameOrPath: "gpt2" };
 * const configs = [new PromptTuningConfig(sizes), new PrefixTuningConfig(sizes)];
 * console.log(configs.map(({ tokenDim }) => tokenDim)); // [ null, null ]: the model's
 * ```
 */
export interface PromptLearningFields extends PeftConfigFields {
  /** Number of virtual tokens. */
  numVirtualTokens: number;
  /** Width of the model. */
  tokenDim: number | null;
  /** 1 for decoder-only models. */
  numTransformerSubmodules: number | null;
  /** Attention heads of the model. */
  numAttentionHeads: number | null;
  /** Blocks of the model. */
  numLayers: number | null;
  /** Not supported with virtual tokens: null. */
  modulesToSave: readonly string[] | null;
}

/** A positive integer, or null for what the model has. */
export const sizeOfModel: Rule<number | null> = orNull(integer(1));

/** Their rows. */
export const VIRTUAL_TOKEN_OPTIONS: OptionTable<PromptLearningFields> = {
  ...COMMON_OPTIONS,
  numVirtualTokens: option(
    0,
    rule<number>("a positive integer", (value) => Number.isInteger(value) && (value as number) > 0),
    { inSummary: "always" },
  ),
  tokenDim: option<number | null>(null, sizeOfModel),
  numTransformerSubmodules: option<number | null>(null, sizeOfModel),
  numAttentionHeads: option<number | null>(null, sizeOfModel),
  numLayers: option<number | null>(null, sizeOfModel),
  modulesToSave: option<readonly string[] | null>(
    null,
    refusedAs(
      rule("null", (value) => value === null),
      (name, value) => `${name} is not supported with virtual tokens, received ${JSON.stringify(value)}`,
    ),
  ),
};
