/**
 * The configuration of P-tuning, with the fields and defaults of Hugging Face's `peft` 0.21.
 * @module
 */

import { choice, type Rule, rule } from "../../options/rules.ts";
import { option } from "../../options/table.ts";
import { MethodConfig, type MethodTable } from "../config/method_config.ts";
import { probability } from "../config/rules.ts";
import { type PromptLearningFields, sizeOfModel, VIRTUAL_TOKEN_OPTIONS } from "./virtual_token_options.ts";

/**
 * Fields of P-tuning.
 *
 * @example
 * ```ts
 * import { PromptEncoderConfig } from "@peft/webgpu";
 * import type { PromptEncoderConfigFields } from "@peft/webgpu/peft";
 *
 * const lstm: Partial<PromptEncoderConfigFields> = {
 *   encoderReparameterizationType: "LSTM",
 *   encoderNumLayers: 2,
 *   encoderDropout: 0.1,
 * };
 * console.log(new PromptEncoderConfig({ ...lstm, numVirtualTokens: 20 }).encoderNumLayers); // 2
 * ```
 */
export interface PromptEncoderConfigFields extends PromptLearningFields {
  /** The network after the table: three linear layers, or a bidirectional LSTM and two; default "MLP". */
  encoderReparameterizationType: "MLP" | "LSTM";
  /** Width of the network; null: the model's. */
  encoderHiddenSize: number | null;
  /** Layers of the LSTM. */
  encoderNumLayers: number;
  /** Dropout of the LSTM. */
  encoderDropout: number;
}

const layerCount: Rule<number> = rule(
  "a positive integer",
  (value) => Number.isInteger(value) && (value as number) > 0,
);

const TABLE: MethodTable<PromptEncoderConfigFields> = {
  method: "p_tuning",
  title: "P-tuning",
  peftType: "P_TUNING",
  options: {
    ...VIRTUAL_TOKEN_OPTIONS,
    encoderReparameterizationType: option("MLP", choice("MLP", "LSTM"), { inSummary: "always" }),
    encoderHiddenSize: option<number | null>(null, sizeOfModel, { inSummary: "always" }),
    encoderNumLayers: option(2, layerCount),
    encoderDropout: option(0, probability, { inSummary: "changed" }),
  },
};

/**
 * A P-tuning configuration, with Hugging Face's fields and defaults.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, PromptEncoderConfig } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new PromptEncoderConfig({ numVirtualTokens: 8 }));
 * model.printTrainableParameters();
 * ```
 */
export class PromptEncoderConfig extends MethodConfig<PromptEncoderConfigFields> {
  /** "P_TUNING". */
  readonly peftType = "P_TUNING";

  /** @internal */
  override get table(): MethodTable<PromptEncoderConfigFields> {
    return TABLE;
  }
}

/**
 * The fields are properties of the class.
 *
 * @example
 * ```ts
 * import { PromptEncoderConfig } from "@peft/webgpu";
 *
 * const config: PromptEncoderConfig = PromptEncoderConfig.fromJSON({ num_virtual_tokens: 20, encoder_hidden_size: 128 });
 * console.log(config.encoderReparameterizationType, config.encoderHiddenSize); // MLP 128
 * ```
 */
export interface PromptEncoderConfig extends PromptEncoderConfigFields {}
