/**
 * What a model folder says about its tokens apart from the vocabulary: special tokens, padding, the greatest length.
 *
 * @module
 */
import type { JsonObject } from "../../io/json.ts";
import { quote } from "../../io/relative_path.ts";
import type { TokenizerCore } from "./core.ts";

/**
 * The side on which a batch is padded.
 *
 * @example
 * ```ts
 * import { AutoTokenizer } from "@peft/webgpu";
 * import type { PaddingSide } from "@peft/webgpu/tokenizer";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * tokenizer.padTokenId = tokenizer.eosTokenId;
 * const paddingSide: PaddingSide = "left"; // as generation from ids needs it
 * console.log(tokenizer(["One day", "One"], { padding: true, paddingSide }).attentionMask[1][0]); // 0
 * ```
 */
export type PaddingSide = "left" | "right";

/** Ids of the special tokens (null when there is none) and defaults of the call. */
export interface TokenizerSettings {
  /** Beginning of a text. */
  bosTokenId: number | null;
  /** End of a text. */
  eosTokenId: number | null;
  /** Fills short rows of a batch. */
  padTokenId: number | null;
  /** Side of the padding. */
  paddingSide: PaddingSide;
  /** The greatest number of tokens the model takes; Infinity when the folder does not say. */
  modelMaxLength: number;
}

/** transformers writes 1e30 where there is no limit. */
const NO_LIMIT = 1e20;

/** A side of the padding. @throws {RangeError} for anything else */
export function checkSide(side: PaddingSide): PaddingSide {
  if (side === "left" || side === "right") return side;
  throw new RangeError(
    `Cannot set paddingSide: "left" or "right" is required, received ${quote(String(side))}`,
  );
}

/** A token's text as the files write it: a string, or an object with `content`. */
export function contentOf(value: unknown): string | undefined {
  const content = (value as { content?: unknown } | null | undefined)?.content ?? value;
  return typeof content === "string" ? content : undefined;
}

function validId(value: unknown, vocabSize: number): number | null {
  const id = Array.isArray(value) ? value[0] : value; // some config.json files list several end tokens
  return Number.isInteger(id) && id >= 0 && id < vocabSize ? id : null;
}

/**
 * Reads the settings: a token named in tokenizer_config.json, else in special_tokens_map.json, else an id in
 * config.json.
 */
export function readSettings(
  core: TokenizerCore,
  tokenizerConfig: JsonObject,
  specialTokensMap: JsonObject,
  modelConfig: JsonObject,
): TokenizerSettings {
  const idOf = (name: "bos" | "eos" | "pad"): number | null => {
    for (const file of [tokenizerConfig, specialTokensMap]) {
      const content = contentOf(file[`${name}_token`]);
      const id = content === undefined ? undefined : core.idOf(content);
      if (id !== undefined) return id;
    }
    return validId(modelConfig[`${name}_token_id`], core.vocabSize);
  };
  const limit = tokenizerConfig.model_max_length ?? modelConfig.n_positions ??
    modelConfig.max_position_embeddings;
  return {
    bosTokenId: idOf("bos"),
    eosTokenId: idOf("eos"),
    padTokenId: idOf("pad"),
    paddingSide: tokenizerConfig.padding_side === "left" ? "left" : "right",
    modelMaxLength: typeof limit === "number" && limit > 0 && limit < NO_LIMIT ? limit : Infinity,
  };
}
