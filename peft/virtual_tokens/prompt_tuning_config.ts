/**
 * The configuration of prompt tuning, with the fields and defaults of Hugging Face's `peft` 0.21.
 * @module
 */

import { choice, orNull, rule, text } from "../../options/rules.ts";
import { option } from "../../options/table.ts";
import { MethodConfig, type MethodTable } from "../config/method_config.ts";
import { type PromptLearningFields, VIRTUAL_TOKEN_OPTIONS } from "./virtual_token_options.ts";

/**
 * Fields of prompt tuning.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, getPeftModel, PromptTuningConfig } from "@peft/webgpu";
 * import type { PromptTuningConfigFields } from "@peft/webgpu/peft";
 *
 * const fields: Partial<PromptTuningConfigFields> = {
 *   promptTuningInit: "TEXT",
 *   promptTuningInitText: "Tell a story about the sea:",
 *   tokenizerNameOrPath: "examples/demo/model",
 * };
 * const { encode } = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * getPeftModel(base, new PromptTuningConfig({ ...fields, numVirtualTokens: 8 }), "default", { encode });
 * ```
 */
export interface PromptTuningConfigFields extends PromptLearningFields {
  /** "RANDOM": N(0, 1). "SAMPLE_VOCAB": embeddings of random tokens. "TEXT": embeddings of a text's tokens. */
  promptTuningInit: "RANDOM" | "SAMPLE_VOCAB" | "TEXT";
  /** The text of "TEXT". */
  promptTuningInitText: string | null;
  /** Tokenizer of "TEXT", for the file; `getPeftModel(..., { encode })` gives the tokens. */
  tokenizerNameOrPath: string | null;
  /** Options of that tokenizer, for the file. */
  tokenizerKwargs: Readonly<Record<string, unknown>> | null;
}

const TABLE: MethodTable<PromptTuningConfigFields> = {
  method: "prompt_tuning",
  title: "prompt tuning",
  peftType: "PROMPT_TUNING",
  options: {
    ...VIRTUAL_TOKEN_OPTIONS,
    promptTuningInit: option("RANDOM", choice("RANDOM", "SAMPLE_VOCAB", "TEXT"), { inSummary: "always" }),
    promptTuningInitText: option<string | null>(null, orNull(text), { inSummary: "changed" }),
    tokenizerNameOrPath: option<string | null>(null, orNull(text)),
    tokenizerKwargs: option<Readonly<Record<string, unknown>> | null>(
      null,
      rule("a table or null", (value) => typeof value === "object" && !Array.isArray(value)),
    ),
  },
  check: ({ promptTuningInit: init, tokenizerNameOrPath, promptTuningInitText }, refuse) => {
    if (init === "TEXT" && !tokenizerNameOrPath) {
      refuse(`tokenizer_name_or_path can't be None when prompt_tuning_init is "TEXT"`);
    }
    if (init === "TEXT" && !promptTuningInitText) {
      refuse(`prompt_tuning_init_text can't be None when prompt_tuning_init is "TEXT"`);
    }
  },
};

/**
 * A prompt tuning configuration, with Hugging Face's fields and defaults.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, PromptTuningConfig } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new PromptTuningConfig({ numVirtualTokens: 8 }));
 * model.printTrainableParameters();
 * ```
 */
export class PromptTuningConfig extends MethodConfig<PromptTuningConfigFields> {
  /** "PROMPT_TUNING". */
  readonly peftType = "PROMPT_TUNING";

  /** @internal */
  override get table(): MethodTable<PromptTuningConfigFields> {
    return TABLE;
  }
}

/**
 * The fields are properties of the class.
 *
 * @example
 * ```ts
 * import { PromptTuningConfig } from "@peft/webgpu";
 *
 * const config: PromptTuningConfig = PromptTuningConfig.fromJSON({ num_virtual_tokens: 8, prompt_tuning_init: "RANDOM" });
 * console.log(config.numVirtualTokens, config.promptTuningInitText); // 8 null
 * ```
 */
export interface PromptTuningConfig extends PromptTuningConfigFields {}
