/**
 * What every adapter configuration is: Hugging Face's fields, camelCase here and snake_case in `adapter_config.json`.
 * @module
 */

/**
 * Fields that every configuration file has.
 *
 * @example
 * ```ts
 * import { LoraConfig, VeraConfig } from "@peft/webgpu";
 * import type { PeftConfigFields } from "@peft/webgpu/peft";
 *
 * const origin: Partial<PeftConfigFields> = { baseModelNameOrPath: "gpt2", revision: "main", taskType: "CAUSAL_LM" };
 * console.log([new LoraConfig({ ...origin, r: 8 }), new VeraConfig({ ...origin, r: 64 })].map(({ revision }) => revision));
 * ```
 */
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

/**
 * Fields of methods that choose modules by name.
 *
 * @example
 * ```ts
 * import { IA3Config, LoraConfig } from "@peft/webgpu";
 * import type { TargetedFields } from "@peft/webgpu/peft";
 *
 * const where: Partial<TargetedFields> = { targetModules: "all-linear", excludeModules: ["mlp.c_proj"] };
 * console.log([new LoraConfig(where), new IA3Config(where)].map(({ excludeModules }) => excludeModules));
 * ```
 */
export interface TargetedFields extends PeftConfigFields {
  /** Modules to adapt: names, a regular expression, "all-linear", or null for the model's default. */
  targetModules: readonly string[] | string | null;
  /** Modules to leave out of those; same forms, default null. */
  excludeModules: readonly string[] | string | null;
  /** Modules trained and saved whole; default null. */
  modulesToSave: readonly string[] | null;
}

/**
 * Fields of methods that can be limited to some blocks.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoHaConfig } from "@peft/webgpu";
 * import type { BlockwiseFields } from "@peft/webgpu/peft";
 *
 * const lastTwo: Partial<BlockwiseFields> = { targetModules: ["c_attn"], layersToTransform: [2, 3], layersPattern: "h" };
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * console.log(getPeftModel(base, new LoHaConfig(lastTwo)).getLayerStatus().map(({ name }) => name)); // of blocks 2 and 3
 * ```
 */
export interface BlockwiseFields extends TargetedFields {
  /** Numbers of the blocks to adapt; null for all. Only with a list of targets. */
  layersToTransform: number | readonly number[] | null;
  /** Name of the list of blocks, such as "h", if it does not follow from the path; default null. */
  layersPattern: string | readonly string[] | null;
}

/**
 * A configuration of one adapter.
 *
 * @example
 * ```ts
 * import { BitFitConfig, LoraConfig } from "@peft/webgpu";
 * import type { AdapterConfig } from "@peft/webgpu/peft";
 *
 * const biasesOf = ({ bias = "none" }: AdapterConfig) => bias; // which biases of the base train, whatever the method
 * console.log(biasesOf(new LoraConfig({ bias: "lora_only" })), biasesOf(new LoraConfig())); // lora_only none
 * ```
 */
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

/** Refuses a value of a configuration. @throws {RangeError} `Cannot configure <method>: <message>` */
export function refuseConfig(method: string, message: string): never {
  throw new RangeError(`Cannot configure ${method}: ${message}`);
}

/** A configuration of the same class with other values of some fields. */
export function withFields<C extends PeftConfig>(config: C, fields: Partial<C>): C {
  return Object.assign(Object.create(Object.getPrototypeOf(config)), config, fields);
}
