/**
 * AdapterHub's adapter folders (`adapters` 1.x): `adapter_config.json` with the method's fields under "config", and
 * `adapter.safetensors`, whose keys carry the adapter's name: `transformer.h.0.output_adapters.adapters.NAME.…`.
 * @module
 */

import type { AdapterFormat } from "../files/adapter_format.ts";
import type { BottleneckConfig, BottleneckConfigFields } from "./bottleneck.ts";
import { type PeftConfig, refuseConfig, snakeCase } from "../config.ts";

/** Version of `adapters` whose file format is written. */
const VERSION = "adapters.1.3.0";

/** What a file says of the model it was made for. */
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

/** Fields of the method, and their names on disk. */
export const hubFormatFields: ReadonlyMap<string, string> = new Map(
  ([
    "mhAdapter",
    "outputAdapter",
    "reductionFactor",
    "nonLinearity",
    "originalLnBefore",
    "originalLnAfter",
    "lnBefore",
    "lnAfter",
    "initWeights",
    "initWeightsSeed",
    "isParallel",
    "scaling",
    "residualBeforeLn",
    "adapterResidualBeforeLn",
    "leaveOut",
    "dropout",
  ] satisfies (keyof BottleneckConfigFields)[]).map((name) => [name, snakeCase(name)]),
);

/** Fields that ask for what is not here, with the values AdapterHub writes then. */
const FIXED: Readonly<Record<string, unknown>> = {
  cross_adapter: false,
  inv_adapter: null,
  inv_adapter_reduction_factor: null,
  phm_layer: false,
  stochastic_depth: 0,
  use_gating: false,
};

/** Fields of phm_layer, which mean nothing without it. */
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

/** Where adapters sit: the part of a block here, and the name of their list in AdapterHub's tree. */
const PLACES = [["attn", "attention_adapters"], ["mlp", "output_adapters"]] as const;
const PREFIX = "base_model.model.";

function read(
  json: Readonly<Record<string, unknown>>,
  defaults: BottleneckConfigFields,
): { fields: Partial<BottleneckConfigFields>; origin: BottleneckOrigin } {
  const config = json.config as Readonly<Record<string, unknown>>;
  const text = (name: string) => typeof json[name] === "string" ? json[name] as string : "";
  if (typeof config.architecture === "string") {
    refuseConfig(
      "bottleneck",
      `architecture ${JSON.stringify(config.architecture)} is not a bottleneck adapter's`,
    );
  }
  const names = new Map([...hubFormatFields].map(([name, key]) => [key, name]));
  const fields: Record<string, unknown> = {};
  const unknown: string[] = [];
  for (const [key, value] of Object.entries(config)) {
    const name = names.get(key);
    if (name !== undefined) fields[name] = value;
    else if (Object.hasOwn(FIXED, key)) {
      if (value !== FIXED[key]) {
        refuseConfig("bottleneck", `${key} is not supported, received ${JSON.stringify(value)}`);
      }
    } else if (!Object.hasOwn(IDLE, key) && key !== "architecture") unknown.push(key);
  }
  if (unknown.length > 0) {
    console.warn(`Unexpected fields [${unknown.join(", ")}] in the bottleneck configuration are ignored.`);
  }
  for (const name of ["mhAdapter", "outputAdapter", "reductionFactor", "nonLinearity"]) {
    if (!Object.hasOwn(fields, name)) {
      refuseConfig("bottleneck", `${hubFormatFields.get(name)} is required in the file, received none`);
    }
  }
  return {
    // AdapterHub's own default of this one differs from seq_bn's
    fields: { ...defaults, originalLnBefore: false, ...fields },
    origin: {
      hiddenSize: typeof json.hidden_size === "number" ? json.hidden_size : 0,
      modelClass: text("model_class"),
      modelName: text("model_name"),
      modelType: text("model_type"),
      savedName: text("name"),
    },
  };
}

function write(config: BottleneckConfig, adapterName: string): Record<string, unknown> {
  const fields: Record<string, unknown> = { ...FIXED, ...IDLE };
  for (const [name, key] of hubFormatFields) fields[key] = config[name as keyof BottleneckConfigFields];
  const sorted = Object.fromEntries(Object.entries(fields).sort(([a], [b]) => a < b ? -1 : 1));
  const { hiddenSize = 0, modelClass = "", modelName = "", modelType = "" } = config.origin ?? {};
  return {
    config: sorted,
    hidden_size: hiddenSize,
    model_class: modelClass,
    model_name: modelName,
    model_type: modelType,
    name: adapterName,
    version: VERSION,
  };
}

function toDisk(key: string, adapterName: string): string {
  const path = key.startsWith(PREFIX) ? key.slice(PREFIX.length) : key;
  for (const [part, list] of PLACES) {
    const at = path.indexOf(`.${part}.`);
    if (at >= 0) {
      return `${path.slice(0, at)}.${list}.adapters.${adapterName}.${path.slice(at + part.length + 2)}`;
    }
  }
  return path;
}

function fromDisk(key: string, config: PeftConfig): string {
  const { savedName = "" } = (config as BottleneckConfig).origin ?? {};
  for (const [part, list] of PLACES) {
    const mark = `.${list}.adapters.${savedName}.`;
    const at = key.indexOf(mark);
    // AdapterHub writes "h.0.…" for a model without a head, "transformer.h.0.…" with one
    const path = key.startsWith("h.") ? `transformer.${key.slice(0, at)}` : key.slice(0, at);
    if (at >= 0) return `${PREFIX}${path}.${part}.${key.slice(at + mark.length)}`;
  }
  return key;
}

/** AdapterHub's layout. */
export const hubFormat: AdapterFormat & { read: typeof read; write: typeof write } = {
  weightsFile: "adapter.safetensors",
  metadata: undefined,
  pickleFile: "pytorch_adapter.bin",
  library: "adapters",
  configOf: (config, adapterName) => write(config as BottleneckConfig, adapterName),
  toDisk,
  fromDisk,
  read,
  write,
};
