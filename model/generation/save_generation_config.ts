/**
 * `generation_config.json` of a model that is saved.
 * @module
 */

import type { JsonObject } from "../../io/json.ts";
import { checkOptions } from "../../options/names.ts";
import { checkFields, FIELDS, type GenerationConfig } from "./generation_config.ts";

/**
 * The contents of generation_config.json as `transformers` writes them: fields by name, one end token as a number, none
 * that is not set. Null where nothing is set: then no file is written.
 * @throws {TypeError} for a field of another type, or one that does not exist
 */
export function writeGenerationConfig(config: GenerationConfig): JsonObject | null {
  checkOptions("save generation_config.json", config, [...Object.keys(FIELDS), "otherFields"]);
  const fields: [string, unknown][] = Object.entries(config.otherFields ?? {});
  for (const [name, [key]] of Object.entries(FIELDS)) {
    const value = config[name as keyof GenerationConfig];
    if (value !== undefined) {
      fields.push([key, Array.isArray(value) && value.length === 1 ? value[0] : value]);
    }
  }
  if (fields.length === 0) return null;
  const json = Object.fromEntries(fields.sort(([a], [b]) => a < b ? -1 : 1)) as JsonObject;
  checkFields("save", json);
  return json;
}
