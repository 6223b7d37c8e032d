/**
 * `generation_config.json`: the tokens that end an answer, and how its author samples from a model.
 * @module
 */

import type { JsonObject } from "../../io/json.ts";
import { shown } from "../../options/rules.ts";

/**
 * What `generation_config.json` says; a field is absent where the file does not name it.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import type { GenerationConfig } from "@peft/webgpu/model";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const config: GenerationConfig = { eosTokenIds: [0, 14], doSample: true, temperature: 0.7 };
 * model.generationConfig = config; // the end tokens act in generate(), and savePretrained() writes all of it
 * console.log(model.facts.eosTokenIds); // [ 0, 14 ]
 * ```
 */
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
  /** Length of the runs of tokens that do not occur twice. */
  readonly noRepeatNgramSize?: number;
  /** The file's other fields, which generation here does not read; saving writes them again. */
  readonly otherFields?: Readonly<Record<string, unknown>>;
}

const isId = (value: unknown) => Number.isInteger(value) && (value as number) >= 0;
const isNumber = (value: unknown) => typeof value === "number" && Number.isFinite(value);

/** Name in the file, what it must be, and a test, of each field. */
export const FIELDS: Readonly<
  Record<Exclude<keyof GenerationConfig, "otherFields">, [string, string, (value: unknown) => boolean]>
> = {
  eosTokenIds: ["eos_token_id", "a token id or several", (value) => [value].flat().every(isId)],
  doSample: ["do_sample", "true or false", (value) => typeof value === "boolean"],
  temperature: ["temperature", "a number", isNumber],
  topK: ["top_k", "a number", isNumber],
  topP: ["top_p", "a number", isNumber],
  minP: ["min_p", "a number", isNumber],
  repetitionPenalty: ["repetition_penalty", "a number", isNumber],
  noRepeatNgramSize: ["no_repeat_ngram_size", "an integer of at least 0", isId],
};

/** @throws {TypeError} for a field of another type */
export function checkFields(action: string, json: Readonly<JsonObject>): void {
  for (const [key, wanted, accepts] of Object.values(FIELDS)) {
    const value = json[key] ?? null;
    if (value === null || accepts(value)) continue;
    throw new TypeError(
      `Cannot ${action} generation_config.json: ${key} must be ${wanted}, received ${shown(value)}`,
    );
  }
}

/**
 * Reads the contents of generation_config.json.
 * @throws {TypeError} for a field of another type
 */
export function readGenerationConfig(json: Readonly<JsonObject>): GenerationConfig {
  checkFields("read", json);
  const config: Record<string, unknown> = {};
  const others = new Map(Object.entries(json));
  for (const [name, [key]] of Object.entries(FIELDS)) {
    const value = json[key];
    others.delete(key);
    if (value === undefined || value === null) continue;
    config[name] = name === "eosTokenIds" ? [value].flat() : value;
  }
  if (others.size > 0) config.otherFields = Object.fromEntries(others);
  return config as GenerationConfig;
}
