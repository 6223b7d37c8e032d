/**
 * The configuration of prefix tuning, with the fields and defaults of Hugging Face's `peft` 0.21.
 * @module
 */

import { choice, flag } from "../../options/rules.ts";
import { option } from "../../options/table.ts";
import { MethodConfig, type MethodTable } from "../config/method_config.ts";
import { type PromptLearningFields, sizeOfModel, VIRTUAL_TOKEN_OPTIONS } from "./virtual_token_options.ts";

/**
 * Fields of prefix tuning.
 *
 * @example
 * ```ts
 * import { PrefixTuningConfig } from "@peft/webgpu";
 * import type { PrefixTuningConfigFields } from "@peft/webgpu/peft";
 *
 * const fields: Partial<PrefixTuningConfigFields> = { prefixProjection: true, encoderHiddenSize: 256 };
 * console.log(new PrefixTuningConfig({ ...fields, numVirtualTokens: 30 }).encoderHiddenSize); // 256
 * ```
 */
export interface PrefixTuningConfigFields extends PromptLearningFields {
  /** "zero" starts from zero keys and values (not a no-op: they take attention); null from N(0, 1). */
  initWeights: "zero" | null;
  /** Width of the network; null: the model's. */
  encoderHiddenSize: number | null;
  /** Put a network of two layers after the table; default false. */
  prefixProjection: boolean;
}

const TABLE: MethodTable<PrefixTuningConfigFields> = {
  method: "prefix_tuning",
  title: "prefix tuning",
  peftType: "PREFIX_TUNING",
  options: {
    ...VIRTUAL_TOKEN_OPTIONS,
    prefixProjection: option(false, flag, { inSummary: "changed" }),
    encoderHiddenSize: option<number | null>(null, sizeOfModel, { inSummary: "changed" }),
    initWeights: option<"zero" | null>(null, choice("zero", null)),
  },
};

/**
 * A prefix tuning configuration, with Hugging Face's fields and defaults.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, PrefixTuningConfig } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new PrefixTuningConfig({ numVirtualTokens: 8 }));
 * model.printTrainableParameters();
 * ```
 */
export class PrefixTuningConfig extends MethodConfig<PrefixTuningConfigFields> {
  /** "PREFIX_TUNING". */
  readonly peftType = "PREFIX_TUNING";

  /** @internal */
  override get table(): MethodTable<PrefixTuningConfigFields> {
    return TABLE;
  }
}

/**
 * The fields are properties of the class.
 *
 * @example
 * ```ts
 * import { PrefixTuningConfig } from "@peft/webgpu";
 *
 * const config: PrefixTuningConfig = PrefixTuningConfig.fromJSON({ num_virtual_tokens: 30, prefix_projection: true });
 * console.log(config.numVirtualTokens, config.prefixProjection); // 30 true
 * ```
 */
export interface PrefixTuningConfig extends PrefixTuningConfigFields {}
