/**
 * The configuration of trainable tokens, with the fields and defaults of Hugging Face's `peft` 0.21.
 * @module
 */

import { flag } from "../../options/rules.ts";
import { option } from "../../options/table.ts";
import { COMMON_OPTIONS, MethodConfig, type MethodTable, TARGET_OPTIONS } from "../config/method_config.ts";
import type { PeftConfigFields } from "../config/peft_config.ts";
import { tokens } from "../config/rules.ts";

/**
 * Fields of a trainable tokens configuration.
 *
 * @example
 * ```ts
 * import { TrainableTokensConfig } from "@peft/webgpu";
 * import type { TrainableTokensConfigFields } from "@peft/webgpu/peft";
 *
 * const fields: Partial<TrainableTokensConfigFields> = { tokenIndices: [0, 1], targetModules: ["wpe"], initWeights: false };
 * console.log(new TrainableTokensConfig(fields).targetModules); // [ "wpe" ]: positions instead of tokens
 * ```
 */
export interface TrainableTokensConfigFields extends PeftConfigFields {
  /** Ids of the tokens; required. */
  tokenIndices: readonly number[];
  /** Embeddings: names, a regular expression, or null for the model's input embedding. */
  targetModules: readonly string[] | string | null;
  /** Start from the base's rows; default true. Otherwise from normal numbers. */
  initWeights: boolean;
}

const TABLE: MethodTable<TrainableTokensConfigFields> = {
  method: "trainable tokens",
  title: "trainable tokens",
  peftType: "TRAINABLE_TOKENS",
  options: {
    ...COMMON_OPTIONS,
    tokenIndices: option<readonly number[]>([], tokens, { inSummary: "always" }),
    targetModules: TARGET_OPTIONS.targetModules,
    initWeights: option(true, flag),
  },
};

/**
 * A trainable tokens configuration, with Hugging Face's fields and defaults.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, TrainableTokensConfig } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new TrainableTokensConfig({ tokenIndices: [5, 6, 7] }));
 * model.printTrainableParameters();
 * ```
 */
export class TrainableTokensConfig extends MethodConfig<TrainableTokensConfigFields> {
  /** "TRAINABLE_TOKENS". */
  readonly peftType = "TRAINABLE_TOKENS";

  /** @internal */
  override get table(): MethodTable<TrainableTokensConfigFields> {
    return TABLE;
  }
}

/**
 * The fields are properties of the class.
 *
 * @example
 * ```ts
 * import { TrainableTokensConfig } from "@peft/webgpu";
 *
 * const config: TrainableTokensConfig = TrainableTokensConfig.fromJSON({ token_indices: [50257, 50258] });
 * console.log(config.tokenIndices, config.targetModules); // [ 50257, 50258 ] null: the model's input embedding
 * ```
 */
export interface TrainableTokensConfig extends TrainableTokensConfigFields {}
