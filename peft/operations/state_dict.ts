/**
 * The parameters of one adapter, by their keys on disk, in memory.
 * @module
 */

import { readNumbers, type Tensor, weightFormat } from "../../autograd/mod.ts";
import type { Module } from "../../nn/mod.ts";
import { hostOf } from "../adapters/find_adapters.ts";
import type { LoadedKeys } from "../adapters/model_adapters.ts";
import type { LoadAdapterOptions } from "../files/adapter_folder.ts";

/**
 * Options of `setPeftModelStateDict`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig, setPeftModelStateDict, Tensor } from "@peft/webgpu";
 * import type { SetStateDictOptions } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ r: 2, targetModules: ["c_attn"] }), "pirate");
 * const key = "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight";
 * const options: SetStateDictOptions = { adapterName: "pirate", strict: false }; // the other keys may be missing
 * await setPeftModelStateDict(model, { [key]: Tensor.from(new Float32Array(256), { shape: [2, 128] }) }, options);
 * ```
 */
export interface SetStateDictOptions extends Pick<LoadAdapterOptions, "strict" | "ignoreMismatchedSizes"> {
  /** Adapter that takes the values; default "default". */
  adapterName?: string;
}

/**
 * What an adapter's file would hold: keys without the adapter's name, such as
 * `base_model.model.transformer.h.0.attn.c_attn.lora_A.weight`; without `base_model.model.` for a model that
 * `injectAdapterInModel` changed. Parameters come as they are, not as copies; virtual tokens as a tensor of their own.
 * @throws {RangeError} if there is no such adapter   @throws {TypeError} if the model has no adapters
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, getPeftModelStateDict, LoraConfig } from "@peft/webgpu";
 *
 * const model = getPeftModel(await AutoModelForCausalLM.fromPretrained("examples/demo/model"), new LoraConfig());
 * for (const [key, { shape }] of getPeftModelStateDict(model)) console.log(key, shape);
 * ```
 */
export function getPeftModelStateDict(
  model: Module,
  { adapterName = "default" }: { adapterName?: string } = {},
): Map<string, Tensor> {
  const host = hostOf(model, "get the state dict");
  host.checkName(adapterName);
  return host.savedTensors(adapterName);
}

/**
 * Copies values into an adapter. Keys may carry the adapter's name (`lora_A.default.weight`) and, for injected adapters,
 * the prefix `base_model.model.`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, getPeftModelStateDict, LoraConfig, setPeftModelStateDict } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] }));
 * const kept = getPeftModelStateDict(model); // the adapter's tensors by their names on disk
 * const { missingKeys } = await setPeftModelStateDict(model, kept);
 * console.log(missingKeys); // []
 * ```
 * @throws {RangeError} if there is no such adapter
 * @throws {TypeError} listing every key that is missing, unexpected or of another shape; nothing is changed then
 */
export async function setPeftModelStateDict(
  model: Module,
  stateDict: ReadonlyMap<string, Tensor> | Readonly<Record<string, Tensor>>,
  { adapterName = "default", ...options }: SetStateDictOptions = {},
): Promise<LoadedKeys> {
  const host = hostOf(model, "set the state dict");
  host.checkName(adapterName);
  const entries = stateDict instanceof Map ? [...stateDict] : Object.entries(stateDict);
  const values = await Promise.all(entries.map(async ([key, tensor]) => {
    if (!weightFormat(tensor.dtype)) {
      throw new TypeError(
        `Cannot set the state dict: "${key}" must be float32 or float16, received ${tensor.dtype}`,
      );
    }
    return [key, { shape: tensor.shape, data: await readNumbers(tensor) }] as const;
  }));
  return host.loadValues(adapterName, "state dict", new Map(values), options);
}
