/**
 * Options that stand as a table of their own in one field of LoRA's configuration.
 * @module
 */

import { completeOptions, fromDisk, namesOf, type OptionTable, snakeCase } from "../../options/table.ts";
import { refuseConfig } from "../config/peft_config.ts";

/** All options of a field. @throws {RangeError} for an option that is unknown or out of range */
export function completeNested<Options extends object>(
  field: string,
  table: OptionTable<Options>,
  given: Partial<Options>,
): Options {
  const refuse = (message: string) => refuseConfig("lora", `${field}: ${message}`);
  if (typeof given !== "object" || Array.isArray(given)) {
    refuse(`a table of options is required, received ${JSON.stringify(given)}`);
  }
  const unknown = Object.keys(given).filter((name) => !Object.hasOwn(table, name));
  if (unknown.length > 0) {
    refuse(`the options are ${namesOf(table).join(", ")}, received ${unknown.join(", ")}`);
  }
  return completeOptions(table, given, { refuse, nameOf: snakeCase });
}

/** The options of a file by their names here; what is no table is left to {@linkcode completeNested}. */
export function nestedFromDisk<Options extends object>(table: OptionTable<Options>, json: object): object {
  if (typeof json !== "object" || Array.isArray(json)) return json;
  const { given, rest } = fromDisk(table, json as Readonly<Record<string, unknown>>);
  return { ...given, ...rest };
}
