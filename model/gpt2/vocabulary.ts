/**
 * What GPT-2's own tokenizer is known by. The vocabulary itself is loaded when it is needed.
 *
 * @module
 */
import type { JsonObject } from "../../io/json.ts";
import type { BuiltInVocabulary } from "../tokenizer/core.ts";
import { END_OF_TEXT } from "./end_of_text.ts";

/** tokenizer_config.json of GPT-2. */
const GPT2_CONFIG: JsonObject = {
  add_prefix_space: false,
  bos_token: END_OF_TEXT,
  clean_up_tokenization_spaces: false,
  eos_token: END_OF_TEXT,
  model_max_length: 1024,
  tokenizer_class: "GPT2Tokenizer",
  unk_token: END_OF_TEXT,
};

/** GPT-2's vocabulary, for the tokenizers. */
export const GPT2_VOCABULARY: BuiltInVocabulary = {
  hubIds: ["gpt2", "openai-community/gpt2"],
  config: GPT2_CONFIG,
  specialTokens: [END_OF_TEXT],
  load: async () => await (await import("./vocabulary_core.ts")).loadGpt2Core(),
  matches: async (vocab) => await (await import("./vocabulary_core.ts")).isGpt2(vocab),
};
