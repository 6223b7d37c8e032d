/**
 * What a PEFT model needs of the part that holds its adapters: wrapped layers (`Tuner`) or virtual tokens
 * (`PromptTuner`).
 * @module
 */

import type { Tensor } from "../../autograd/mod.ts";
import type { Module, Parameter } from "../../nn/mod.ts";
import type { PeftConfig } from "../config/peft_config.ts";
import type { AdapterValues } from "../files/adapter_files.ts";
import type { TrainingState } from "../layers/tuner_layer.ts";
import type { AdapterState } from "../state/adapter_state.ts";
import type { AdapterSwitch } from "./adapter_switch.ts";

/**
 * Whether a model may have adapters of different methods.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoHaConfig, LoraConfig } from "@peft/webgpu";
 * import type { MixedOption } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const option: MixedOption = { mixed: true };
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] }), "lora", option);
 * model.addAdapter("loha", new LoHaConfig({ targetModules: ["c_attn"] }));
 * model.setAdapter(["lora", "loha"]); // both act and train
 * ```
 */
export interface MixedOption {
  /** Default false: all adapters are of one method. With `true`, LoRA's variants are not available. */
  mixed?: boolean;
}

/**
 * Options of adding an adapter.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import type { InjectOptions } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const options: InjectOptions = { seed: 42, partly: "warn" }; // GPT-2 has no q_proj: a warning instead of an error
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn", "q_proj"] }), "default", options);
 * console.log(model.activeAdapters);
 * ```
 */
export interface InjectOptions {
  /** Seed of its initial values; default 0. */
  seed?: number;
  /** Entries of targetModules that match nothing: default "error"; "warn" for files made elsewhere. */
  partly?: "error" | "warn";
  /** Token ids of a text: needed by prompt tuning that starts from a text. */
  encode?: (text: string) => readonly number[];
}

/**
 * Keys that did not match when values were loaded into an adapter.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, getPeftModelStateDict, LoraConfig, setPeftModelStateDict } from "@peft/webgpu";
 * import type { LoadedKeys } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"], layersToTransform: [0] }));
 * const [, B] = getPeftModelStateDict(model); // without A
 * const keys: LoadedKeys = await setPeftModelStateDict(model, new Map([B]), { strict: false });
 * console.log(keys.missingKeys.length, keys.unexpectedKeys.length); // 1 0
 * ```
 */
export interface LoadedKeys {
  /** Keys the file lacks. */
  missingKeys: string[];
  /** Keys of the file that the adapter lacks. */
  unexpectedKeys: string[];
}

/**
 * Holds the adapters of one model.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, type GPT2LMHeadModel, LoraConfig } from "@peft/webgpu";
 * import type { AdapterHost } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] }));
 * const host = model.base_model as unknown as AdapterHost<GPT2LMHeadModel>; // a Tuner
 * console.log([...host.adapterState("default").keys()][0]); // base_model.model.transformer.h.0.attn.c_attn.lora_A.weight
 * ```
 */
export interface AdapterHost<M extends Module> {
  /** The model. */
  readonly model: M;
  /** Which adapters are active, merged, or off. */
  readonly state: AdapterState;
  /** Configurations of the adapters by name. */
  readonly configs: ReadonlyMap<string, PeftConfig>;
  /**
   * Adds an adapter, which is neither active nor trainable yet. If it fails, nothing has changed.
   * @param isLoaded whether all its values follow, so that none are drawn
   */
  inject(config: PeftConfig, name: string, options?: InjectOptions, isLoaded?: boolean): void;
  /** An adapter's parameters by their keys on disk. */
  adapterState(name: string): Map<string, Parameter>;
  /** What is written of an adapter, by keys on disk; the caller disposes the tensors that are not parameters. */
  savedTensors(name: string, embeddings?: boolean): Map<string, Tensor>;
  /** Copies a file's values into an adapter. @throws {TypeError} listing every mismatch */
  loadValues(
    name: string,
    file: string,
    values: AdapterValues,
    options: { strict?: boolean; isTrainable?: boolean; ignoreMismatchedSizes?: boolean },
  ): LoadedKeys;
  /** Makes adapters act, in order; with `trainable`, their parameters train and no others. */
  activate(names: readonly string[], trainable: boolean): void;
  /** Checks a name. @throws {RangeError} if no adapter has it */
  checkName(name: string): void;
  /** Checks that adapters exist and can act together. @throws {RangeError} if not */
  checkActive(names: readonly string[]): void;
  /** Adds the change of adapters to the base weights; with `dequantize`, also to weights of few bits, which become float32. */
  merge(names: readonly string[], safe: boolean, dequantize?: boolean): Promise<void>;
  /** Removes every merged change from the base weights. */
  unmerge(): void;
  /** Switches all adapters off and on. */
  readonly switch: AdapterSwitch;
  /** Removes an adapter. */
  remove(name: string): void;
  /** Renames an adapter. */
  rename(from: string, to: string): void;
  /** Frees the adapters and returns the model. */
  unload(keepSaved: boolean): M;
  /** Frees the adapters, and the copies of base weights that they keep. */
  disposeAdapters(): void;
  /** Restores the `requiresGrad` flags that the base's parameters had before. */
  restoreGradients(): void;
  /** The model's forward, through the adapters. */
  forward(inputs: object): unknown;
  /** Whether it puts virtual tokens before every row; absent: no. */
  readonly addsTokens?: boolean;
  /** Whether a method changes ranks while it trains; absent: no. */
  readonly changesRanks?: boolean;
  /** Runs what methods do after an optimizer step; absent if no method does anything. */
  updateAndAllocate?(step: number): Promise<void>;
  /** @internal What a resumed training needs besides the parameters; absent if there is nothing. */
  trainingState?(): Promise<TrainingState>;
  /** @internal Restores that state. */
  loadTrainingState?(state: TrainingState): void;
  /** The model's generate, with the adapters that act when it is called. */
  generate(inputs: unknown, options: unknown): Promise<unknown>;
}
