/**
 * AdapterHub's `adapter_config.json` (`adapters` 1.x): the method's fields under "config", and what it says of the model.
 * @module
 */

import { fromDisk, keyOf, type OptionTable, toDisk } from "../../options/table.ts";
import { COMMON_OPTIONS } from "../config/method_config.ts";
import { type PeftConfigFields, refuseConfig } from "../config/peft_config.ts";

/** Version of `adapters` whose file format is written. */
const VERSION = "adapters.1.3.0";

/**
 * What a file says of the model it was made for.
 *
 * @example
 * ```ts
 * import { BottleneckConfig } from "@peft/webgpu";
 * import type { BottleneckOrigin } from "@peft/webgpu/peft";
 *
 * const json = { ...BottleneckConfig.named("seq_bn").toJSON("sentiment"), model_name: "gpt2" }; // AdapterHub's file
 * const { savedName, modelName } = BottleneckConfig.fromJSON(json).origin as BottleneckOrigin;
 * console.log(savedName, modelName); // sentiment gpt2
 * ```
 */
export interface BottleneckOrigin {
  /** Width of the model. */
  readonly hiddenSize: number;
  /** Class of the model. */
  readonly modelClass: string;
  /** Folder or hub id of the model, "" where there is none. */
  readonly modelName: string;
  /** Model type, such as "gpt2". */
  readonly modelType: string;
  /** Name of the adapter in the file that was read. */
  readonly savedName?: string;
}

/** Entries for what is not supported, with the values that AdapterHub writes otherwise. */
const FIXED: Readonly<Record<string, unknown>> = {
  cross_adapter: false,
  inv_adapter: null,
  inv_adapter_reduction_factor: null,
  phm_layer: false,
  stochastic_depth: 0,
  use_gating: false,
};

/** Entries of phm_layer, which mean nothing without it. */
const IDLE: Readonly<Record<string, unknown>> = {
  factorized_phm_W: true,
  factorized_phm_rule: false,
  hypercomplex_nonlinearity: "glorot-uniform",
  learn_phm: true,
  phm_bias: true,
  phm_c_init: "normal",
  phm_dim: 4,
  phm_init_range: 0.0001,
  phm_rank: 1,
  shared_W_phm: false,
  shared_phm_rule: true,
};

/** The rows of AdapterHub's fields: its file has none of those that every configuration of `peft` has. */
function hubOptions<Fields extends PeftConfigFields>(
  options: OptionTable<Fields>,
): OptionTable<Omit<Fields, keyof PeftConfigFields>> {
  return Object.fromEntries(
    Object.entries(options).filter(([name]) => !Object.hasOwn(COMMON_OPTIONS, name)),
  ) as OptionTable<Omit<Fields, keyof PeftConfigFields>>;
}

/**
 * The fields that a file gives, and what it says of the model.
 * @param required fields that every file has
 * @throws {RangeError} for an entry that is not supported, or a missing one
 */
export function readHubConfig<Fields extends PeftConfigFields>(
  options: OptionTable<Fields>,
  json: Readonly<Record<string, unknown>>,
  required: readonly (keyof Fields & string)[],
): { fields: Partial<Fields>; origin: BottleneckOrigin } {
  const config = json.config as Readonly<Record<string, unknown>>;
  const text = (name: string) => typeof json[name] === "string" ? json[name] as string : "";
  if (typeof config.architecture === "string") {
    refuseConfig(
      "bottleneck",
      `architecture ${JSON.stringify(config.architecture)} is not a bottleneck adapter's`,
    );
  }
  const { given, rest } = fromDisk(hubOptions(options), config);
  const unknown: string[] = [];
  for (const [key, value] of Object.entries(rest)) {
    if (!Object.hasOwn(FIXED, key)) {
      if (!Object.hasOwn(IDLE, key) && key !== "architecture") unknown.push(key);
    } else if (value !== FIXED[key]) {
      refuseConfig("bottleneck", `${key} is not supported, received ${JSON.stringify(value)}`);
    }
  }
  if (unknown.length > 0) {
    console.warn(`Unexpected fields [${unknown.join(", ")}] in the bottleneck configuration are ignored.`);
  }
  for (const name of required) {
    if (!Object.hasOwn(given, name)) {
      refuseConfig("bottleneck", `${keyOf(options, name)} is required in the file, received none`);
    }
  }
  return {
    fields: given as Partial<Fields>,
    origin: {
      hiddenSize: typeof json.hidden_size === "number" ? json.hidden_size : 0,
      modelClass: text("model_class"),
      modelName: text("model_name"),
      modelType: text("model_type"),
      savedName: text("name"),
    },
  };
}

/** The entries of a file. */
export function writeHubConfig<Fields extends PeftConfigFields>(
  options: OptionTable<Fields>,
  config: Readonly<Fields>,
  origin: Partial<BottleneckOrigin> = {},
  adapterName: string,
): Record<string, unknown> {
  const fields = { ...FIXED, ...IDLE, ...toDisk(hubOptions(options), config) };
  const { hiddenSize = 0, modelClass = "", modelName = "", modelType = "" } = origin;
  return {
    config: Object.fromEntries(Object.entries(fields).sort(([a], [b]) => a < b ? -1 : 1)),
    hidden_size: hiddenSize,
    model_class: modelClass,
    model_name: modelName,
    model_type: modelType,
    name: adapterName,
    version: VERSION,
  };
}
