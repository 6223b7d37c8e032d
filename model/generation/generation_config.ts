/**
 * `generation_config.json`: the tokens that end an answer, and how its author samples from a model.
 * @module
 */

import type { JsonObject } from "../../io/json.ts";
import { shown } from "../../options/rules.ts";

/** What `generation_config.json` says; a field is absent where the file does not name it. */
export interface GenerationConfig {
  /** Tokens that end a row: an end of a turn may be another one than the end of a text. */
  readonly eosTokenIds?: readonly number[];
  /** Whether the author samples. `generate()` does so only where its caller says it. */
  readonly doSample?: boolean;
  /** Temperature to sample with. */
  readonly temperature?: number;
  /** Number of tokens to sample from. */
  readonly topK?: number;
  /** Mass of the tokens to sample from. */
  readonly topP?: number;
  /** Least probability, as a part of the greatest one. */
  readonly minP?: number;
  /** Penalty of tokens that occurred. */
  readonly repetitionPenalty?: number;
}

const isId = (value: unknown) => Number.isInteger(value) && (value as number) >= 0;
const isNumber = (value: unknown) => typeof value === "number" && Number.isFinite(value);

/** Name in the file, what it must be, and a test, of each field. */
const FIELDS: Readonly<Record<keyof GenerationConfig, [string, string, (value: unknown) => boolean]>> = {
  eosTokenIds: ["eos_token_id", "a token id or several", (value) => [value].flat().every(isId)],
  doSample: ["do_sample", "true or false", (value) => typeof value === "boolean"],
  temperature: ["temperature", "a number", isNumber],
  topK: ["top_k", "a number", isNumber],
  topP: ["top_p", "a number", isNumber],
  minP: ["min_p", "a number", isNumber],
  repetitionPenalty: ["repetition_penalty", "a number", isNumber],
};

/**
 * The file's fields that generation knows; the others are left to `transformers`.
 * @throws {TypeError} for a field of another type
 */
export function readGenerationConfig(json: Readonly<JsonObject>): GenerationConfig {
  const config: Record<string, unknown> = {};
  for (const [name, [key, wanted, accepts]] of Object.entries(FIELDS)) {
    const value = json[key];
    if (value === undefined || value === null) continue;
    if (!accepts(value)) {
      throw new TypeError(
        `Cannot read generation_config.json: ${key} must be ${wanted}, received ${shown(value)}`,
      );
    }
    config[name] = name === "eosTokenIds" ? [value].flat() : value;
  }
  return config as GenerationConfig;
}
