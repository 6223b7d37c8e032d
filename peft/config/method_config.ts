/**
 * The one form of every method's configuration: a table of its fields, from which its constructor, its reader and writer
 * of `adapter_config.json`, its errors and its summary come.
 * @module
 */

import {
  completeOptions,
  fromDisk,
  keyOf,
  namesOf,
  option,
  type OptionTable,
  snakeCase,
  toDisk,
} from "../../options/table.ts";
import { meantName } from "../../options/names.ts";
import { flag, orNull, refusedAs, rule, text } from "../../options/rules.ts";
import {
  type BlockwiseFields,
  type PeftConfig,
  type PeftConfigFields,
  refuseConfig,
  type TargetedFields,
} from "./peft_config.ts";
import { layers, names } from "./rules.ts";

/** Version of `peft` whose file format is written. */
const PEFT_VERSION = "0.21.2";

/** `peft`'s task types. */
const TASK_TYPES: readonly unknown[] = [
  "SEQ_CLS",
  "SEQ_2_SEQ_LM",
  "CAUSAL_LM",
  "TOKEN_CLS",
  "QUESTION_ANS",
  "FEATURE_EXTRACTION",
];

/** Entries of every file that are no fields. */
const FILE_ENTRIES = ["peft_type", "peft_version", "auto_mapping"];

/** Rows of the fields that every method has. */
export const COMMON_OPTIONS: OptionTable<PeftConfigFields> = {
  taskType: option<string | null>(
    "CAUSAL_LM",
    refusedAs(
      rule("a task type", (value) => value === null || TASK_TYPES.includes(value)),
      (_, value) =>
        `Invalid task type: '${value}'. Must be one of the following task types: ${TASK_TYPES.join(", ")}`,
    ),
  ),
  inferenceMode: option(false, flag),
  baseModelNameOrPath: option<string | null>(null, orNull(text)),
  revision: option<string | null>(null, orNull(text)),
};

/** Rows of the fields that choose modules. */
export const TARGET_OPTIONS: OptionTable<TargetedFields> = {
  ...COMMON_OPTIONS,
  targetModules: option(null, names("pattern"), { inSummary: "changed" }),
  excludeModules: option(null, names("pattern"), { inSummary: "changed" }),
  modulesToSave: option(null, names("list"), { inSummary: "changed" }),
};

/** Rows of the fields that choose modules and blocks. */
export const BLOCKWISE_OPTIONS: OptionTable<BlockwiseFields> = {
  ...TARGET_OPTIONS,
  layersToTransform: option(null, layers, { inSummary: "changed" }),
  layersPattern: option(null, names("pattern")),
};

/** The table of a method's configuration. */
export interface MethodTable<Fields extends PeftConfigFields> {
  /** Name of the method in messages: "lora". */
  readonly method: string;
  /** Its usual name: "LoRA". */
  readonly title: string;
  /** Its name in files: "LORA". */
  readonly peftType: string;
  /** Its fields. */
  readonly options: OptionTable<Fields>;
  /** Entries of the file that are not supported, with the values that `peft` writes where they are not used. */
  readonly unsupported?: Readonly<Record<string, unknown>>;
  /** Those of them that mean nothing by themselves, so that any value is fine. */
  readonly ignored?: readonly string[];
  /** Checks several fields together; absent: nothing more to check. */
  check?(fields: Fields, refuse: (message: string) => never): void;
}

/** Whether an entry of a file is set. */
function isOn(value: unknown): boolean {
  if (value === null || value === undefined || value === false) return false;
  return typeof value !== "object" || Object.keys(value).length > 0;
}

/** `peft`'s rules for the choice of blocks. */
function checkBlocks(fields: Partial<BlockwiseFields>, refuse: (message: string) => never): void {
  const { layersToTransform: blocks = null, layersPattern: pattern = null, targetModules } = fields;
  if (blocks !== null && typeof targetModules === "string") {
    refuse("`layers_to_transform` cannot be used when `target_modules` is a str.");
  }
  if (pattern !== null && blocks === null) {
    refuse("When `layers_pattern` is specified, `layers_to_transform` must also be specified.");
  }
}

/** What is wrong with fields that a method does not have. */
function problemOf(
  unknown: readonly string[],
  given: Readonly<Record<string, unknown>>,
  known: readonly string[],
  unsupported: Readonly<Record<string, unknown>>,
): string {
  const absent = unknown.find((name) => Object.hasOwn(unsupported, snakeCase(name)));
  if (absent !== undefined) {
    return `${snakeCase(absent)} is not supported, received ${JSON.stringify(given[absent])}`;
  }
  const meant = unknown.flatMap((name) => meantName(name, known) ?? []);
  const advice = meant.length > 0 ? `, did you mean ${meant.map((name) => `"${name}"`).join(", ")}?` : "";
  return `fields are ${known.join(", ")}, received ${unknown.join(", ")}${advice}`;
}

/**
 * All fields, those that are not given at their defaults.
 * @throws {RangeError} for a field that the method does not have, or a value that it cannot have
 */
export function completeFields<Fields extends PeftConfigFields>(
  { method, peftType, options, unsupported = {}, check }: MethodTable<Fields>,
  given: Partial<Fields> & { peftType?: unknown },
): Fields {
  const refuse = (message: string): never => refuseConfig(method, message);
  const isSpread = given.peftType === peftType; // a configuration brings its type along
  const unknown = Object.keys(given).filter((name) =>
    !Object.hasOwn(options, name) && !(isSpread && name === "peftType")
  );
  if (unknown.length > 0) refuse(problemOf(unknown, given, namesOf(options), unsupported));
  const nameOf = (name: string) => keyOf(options, name as keyof Fields & string);
  const all = completeOptions(options, given, { refuse, nameOf });
  checkBlocks(all as Partial<BlockwiseFields>, refuse);
  check?.(all, refuse);
  return all;
}

/**
 * The fields of an `adapter_config.json` by their names here. Entries that nothing here knows are named in a warning.
 * @throws {RangeError} for an entry that is not supported
 */
export function readFields<Fields extends PeftConfigFields>(
  { method, options, unsupported = {}, ignored = [] }: MethodTable<Fields>,
  json: Readonly<Record<string, unknown>>,
): Partial<Fields> {
  const { given, rest } = fromDisk(options, json);
  const unknown: string[] = [];
  for (const [key, value] of Object.entries(rest)) {
    if (FILE_ENTRIES.includes(key) || ignored.includes(key)) continue;
    if (!Object.hasOwn(unsupported, key)) unknown.push(key);
    else if (isOn(value) && JSON.stringify(value) !== JSON.stringify(unsupported[key])) {
      refuseConfig(method, `${key} is not supported, received ${JSON.stringify(value)}`);
    }
  }
  if (unknown.length > 0) {
    console.warn(`Unexpected fields [${unknown.join(", ")}] in the ${method} configuration are ignored.`);
  }
  return given;
}

/** The entries of `adapter_config.json`, sorted by name. */
export function writeFields<Fields extends PeftConfigFields>(
  { peftType, options, unsupported }: MethodTable<Fields>,
  fields: Readonly<Fields>,
): Record<string, unknown> {
  const json = {
    peft_type: peftType,
    peft_version: PEFT_VERSION,
    auto_mapping: null,
    ...unsupported,
    ...toDisk(options, fields),
  };
  return Object.fromEntries(Object.entries(json).sort(([a], [b]) => a < b ? -1 : 1));
}

/**
 * A class of configurations.
 *
 * @example
 * ```ts
 * import { LoraConfig, VeraConfig } from "@peft/webgpu";
 * import type { ConfigClass } from "@peft/webgpu/peft";
 *
 * const withDefaults = <C>(kind: ConfigClass<C>): C => new kind({} as never);
 * console.log(withDefaults(LoraConfig).r, withDefaults(VeraConfig).r); // 8 256
 * ```
 */
export interface ConfigClass<C> {
  /** Makes one of its fields. */
  new (fields: never): C;
  /** Holds the table of its fields. */
  readonly prototype: C;
}

/**
 * A configuration whose fields are those of a table.
 *
 * @example
 * ```ts
 * import { LoraConfig } from "@peft/webgpu";
 * import { MethodConfig } from "@peft/webgpu/peft";
 *
 * const config = new LoraConfig({ r: 4, targetModules: ["c_attn"] });
 * console.log(config instanceof MethodConfig); // true, as of every method
 * const { peft_type, r, lora_alpha } = config.toJSON(); // what adapter_config.json holds
 * console.log(peft_type, r, lora_alpha, LoraConfig.fromJSON({ r }).r); // LORA 4 8 4
 * ```
 */
export abstract class MethodConfig<Fields extends PeftConfigFields = PeftConfigFields> implements PeftConfig {
  /** Name of the method in files. */
  abstract readonly peftType: string;
  /** @internal The table of its fields. */
  abstract get table(): MethodTable<Fields>;

  /**
   * Fields that are not given take their defaults, which are `peft`'s.
   * @throws {RangeError} for a field that the method does not have, or a value that it cannot have
   */
  constructor(fields: Partial<Fields> = {}) {
    Object.assign(this, completeFields((this as MethodConfig<Fields>).table, fields));
  }

  /**
   * The configuration that an `adapter_config.json` holds.
   * @throws {RangeError} for an entry that is not supported, or a value that the method cannot have
   */
  static fromJSON<C extends MethodConfig>(
    this: ConfigClass<C>,
    json: Readonly<Record<string, unknown>>,
  ): C {
    return new this(readFields(this.prototype.table, json) as never);
  }

  /** The entries of `adapter_config.json`. */
  toJSON(): Record<string, unknown> {
    return writeFields(this.table, this as unknown as Fields);
  }
}

/**
 * The fields are properties of the class.
 *
 * @example
 * ```ts
 * import { IA3Config, LoraConfig } from "@peft/webgpu";
 * import type { MethodConfig } from "@peft/webgpu/peft";
 *
 * const configs: MethodConfig[] = [new LoraConfig({ r: 4 }), new IA3Config({ inferenceMode: true })];
 * console.log(configs.map(({ peftType, inferenceMode }) => [peftType, inferenceMode])); // LORA false, IA3 true
 * ```
 */
export interface MethodConfig<Fields> extends PeftConfigFields {}
