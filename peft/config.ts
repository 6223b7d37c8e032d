/**
 * What every adapter configuration has: Hugging Face's fields, camelCase here and snake_case in `adapter_config.json`.
 * @module
 */

import type { FolderInput } from "../io/file_source.ts";
import type { LoadAdapterOptions } from "./files/adapter_folder.ts";

/** Fields that every configuration file has. */
export interface PeftConfigFields {
  /** What the model is for; default "CAUSAL_LM". */
  taskType: string | null;
  /** Whether the adapter is frozen when loaded; written as true. */
  inferenceMode: boolean;
  /** Folder or hub id of the base model. */
  baseModelNameOrPath: string | null;
  /** Branch, tag or commit of the base model. */
  revision: string | null;
}

/** `peft`'s task types. */
const TASK_TYPES = [
  "SEQ_CLS",
  "SEQ_2_SEQ_LM",
  "CAUSAL_LM",
  "TOKEN_CLS",
  "QUESTION_ANS",
  "FEATURE_EXTRACTION",
];

/** Version of `peft` whose file format is written. */
const PEFT_VERSION = "0.21.2";

/** A configuration of one adapter. */
export interface PeftConfig extends PeftConfigFields {
  /** Name of the method in files, such as "LORA". */
  readonly peftType: string;
  /** Module names, a regular expression, "all-linear", or null for the model's default. */
  targetModules?: readonly string[] | string | null;
  /** Modules trained and saved whole beside the adapter. */
  modulesToSave?: readonly string[] | null;
  /** Tokens whose rows train: of the input embedding, or by module name. */
  trainableTokenIndices?: readonly number[] | Readonly<Record<string, readonly number[]>> | null;
  /** Which biases of the base train too. */
  bias?: "none" | "all" | `${string}_only`;
  /** The fields of `adapter_config.json`. */
  toJSON(): Record<string, unknown>;
}

/** Reads configurations, with Hugging Face's name. */
export interface PeftConfigReader {
  /**
   * Reads `adapter_config.json` into the class of its method: a `LoraConfig`, an `IA3Config`, …
   * @param dirOrId a folder (a path, a URL, picked or dropped files, or one in memory), or a hub id
   * @throws {Error} if there is no such file   @throws {RangeError} if its method or a field's value is not supported
   */
  fromPretrained(dirOrId: FolderInput, options?: LoadAdapterOptions): Promise<PeftConfig>;
}

/** Reads configurations, with Hugging Face's name. */
export const PeftConfig: PeftConfigReader = {
  async fromPretrained(dirOrId: FolderInput, options: LoadAdapterOptions = {}): Promise<PeftConfig> {
    const { loadConfig } = await import("./files/load_config.ts"); // late: it knows the methods, which need this file
    return await loadConfig(dirOrId, options);
  },
};

/** Fields that `peft` spells in camelCase too. */
const VERBATIM: ReadonlySet<string> = new Set(["deltaT"]);

/** camelCase to `peft`'s snake_case. */
export function snakeCase(name: string): string {
  return VERBATIM.has(name) ? name : name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** Refuses a value of a configuration. */
export function refuseConfig(method: string, message: string): never {
  throw new RangeError(`Cannot configure ${method}: ${message}`);
}

/**
 * All fields of a configuration, those that are not given at their defaults.
 * @throws {RangeError} for a field the method does not have, or a wrong common field
 */
export function completeFields<Fields extends PeftConfigFields>(
  method: string,
  given: Partial<Fields>,
  defaults: Fields,
): Fields {
  const unknown = Object.keys(given).filter((name) => !Object.hasOwn(defaults, name));
  if (unknown.length > 0) {
    refuseConfig(method, `fields are ${Object.keys(defaults).join(", ")}, received ${unknown.join(", ")}`);
  }
  const all = { ...defaults, ...given };
  checkCommon(method, all);
  return all;
}

/** The values of a configuration's fields: what `configToJSON` writes. */
export function fieldsOf<Fields extends object>(
  config: Fields,
  defaults: Fields,
): Record<string, unknown> {
  return Object.fromEntries(
    (Object.keys(defaults) as (keyof Fields & string)[]).map((name) => [name, config[name]]),
  );
}

/** Defaults of the common fields. */
export const COMMON_DEFAULTS: PeftConfigFields = {
  taskType: "CAUSAL_LM",
  inferenceMode: false,
  baseModelNameOrPath: null,
  revision: null,
};

/** Fails for a task type `peft` does not have, and for common fields of another type. */
export function checkCommon(method: string, fields: PeftConfigFields): void {
  if (typeof fields.inferenceMode !== "boolean") {
    refuseConfig(
      method,
      `inference_mode must be true or false, received ${JSON.stringify(fields.inferenceMode)}`,
    );
  }
  for (const name of ["baseModelNameOrPath", "revision"] as const) {
    const value = fields[name];
    if (value === null || value === undefined || typeof value === "string") continue;
    refuseConfig(method, `${snakeCase(name)} must be a string or null, received ${JSON.stringify(value)}`);
  }
  if (fields.taskType !== null && !TASK_TYPES.includes(fields.taskType)) {
    refuseConfig(
      method,
      `Invalid task type: '${fields.taskType}'. Must be one of the following task types: ${
        TASK_TYPES.join(", ")
      }`,
    );
  }
}

/** The file form of a configuration: `fields` in snake_case with the common entries, keys sorted. */
export function configToJSON(
  peftType: string,
  fields: Readonly<Record<string, unknown>>,
  fixed: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const json: Record<string, unknown> = {
    peft_type: peftType,
    peft_version: PEFT_VERSION,
    auto_mapping: null,
    ...fixed,
  };
  for (const [name, value] of Object.entries(fields)) json[snakeCase(name)] = value;
  return Object.fromEntries(Object.entries(json).sort(([a], [b]) => a < b ? -1 : 1));
}

/**
 * Fields of a configuration file by their names here.
 * @param defaults every field the method has   @param fixed fields of the file that must keep these values or be off
 * @throws {RangeError} if a fixed field asks for something else
 */
export function configFromJSON<Fields extends object>(
  method: string,
  json: Readonly<Record<string, unknown>>,
  defaults: Fields,
  fixed: Readonly<Record<string, unknown>>,
): Partial<Fields> {
  const known = new Map(Object.keys(defaults).map((name) => [snakeCase(name), name]));
  const fields: Record<string, unknown> = {};
  const unknown: string[] = [];
  for (const [key, value] of Object.entries(json)) {
    const name = known.get(key);
    if (name !== undefined) fields[name] = value;
    else if (Object.hasOwn(fixed, key)) {
      const idle = JSON.stringify(value) === JSON.stringify(fixed[key]);
      if (isOn(value) && !idle) {
        refuseConfig(method, `${key} is not supported, received ${JSON.stringify(value)}`);
      }
    } else if (!["peft_type", "peft_version", "auto_mapping"].includes(key)) unknown.push(key);
  }
  if (unknown.length > 0) {
    console.warn(`Unexpected fields [${unknown.join(", ")}] in the ${method} configuration are ignored.`);
  }
  return fields as Partial<Fields>;
}

/** Whether an option of a file asks for something. */
function isOn(value: unknown): boolean {
  if (value === null || value === undefined || value === false) return false;
  return typeof value !== "object" || Object.keys(value).length > 0;
}

/** A configuration of the same class with other values of some fields. */
export function withFields<C extends PeftConfig>(config: C, fields: Partial<C>): C {
  return Object.assign(Object.create(Object.getPrototypeOf(config)), config, fields);
}
