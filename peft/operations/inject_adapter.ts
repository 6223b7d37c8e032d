/**
 * Adapters in a model that is used directly, without a `PeftModel` around it (`peft.functional`). The functions that
 * switch adapters take a `PeftModel` too.
 * @module
 */

import type { Module } from "../../nn/mod.ts";
import { findHost, hostOf, registerHost } from "../adapters/find_adapters.ts";
import type { InjectOptions } from "../adapters/model_adapters.ts";
import { Tuner } from "../adapters/tuner.ts";
import type { PeftConfig } from "../config/peft_config.ts";
import { tunerLayers } from "../layers/find_layers.ts";
import { methodOf } from "../registry.ts";
import { isPromptLearning } from "../virtual_tokens/virtual_token_types.ts";
import { deleteFrom, setActive, setGradients } from "./switch_adapters.ts";

/**
 * Puts an adapter into a model in place and returns the model: the adapter acts and trains, everything else is frozen.
 * Its keys on disk have no `base_model.model.` in front; `setPeftModelStateDict` takes both forms. Further calls add
 * further adapters.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, injectAdapterInModel, LoraConfig } from "@peft/webgpu";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * injectAdapterInModel(new LoraConfig({ targetModules: ["c_attn"] }), model); // the model itself, without a PeftModel
 * console.log([...model.namedParameters()].filter(([, { requiresGrad }]) => requiresGrad).length); // 8: A and B of 4 layers
 * ```
 * @throws {TypeError} if the configuration's targets match nothing, or a `PeftModel` holds the model
 * @throws {RangeError} for virtual tokens, a name that is taken, or a second method
 */
export function injectAdapterInModel<M extends Module>(
  config: PeftConfig,
  model: M,
  adapterName = "default",
  options: InjectOptions = {},
): M {
  if (isPromptLearning(config)) {
    throw new RangeError(
      "Cannot inject the adapter: `create_and_replace` does not support prompt learning, adaption prompt and shadow yet.",
    );
  }
  if (methodOf(config.peftType).sharedPart) {
    throw new RangeError(
      `Cannot inject the adapter: \`inject_adapter_in_model\` does not support ${config.peftType} because it uses shared state stored on the tuner. Please use \`get_peft_model\` instead.`,
    );
  }
  const present = findHost(model);
  const held = present ? undefined : tunerLayers(model)[0];
  if (held) {
    throw new TypeError(
      `Cannot inject the adapter: "${
        held[0]
      }" has adapters already; use addAdapter() of the PeftModel it is in`,
    );
  }
  const host = present ?? new Tuner(model, "");
  host.inject(config, adapterName, options);
  registerHost(model, host);
  setActive(host, adapterName);
  return model;
}

/**
 * Makes one adapter (or several, summed) act, and train unless `inferenceMode`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, injectAdapterInModel, LoraConfig, setAdapter } from "@peft/webgpu";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * injectAdapterInModel(new LoraConfig({ targetModules: ["c_attn"] }), model, "sea");
 * injectAdapterInModel(new LoraConfig({ targetModules: ["c_fc"] }), model, "land");
 * setAdapter(model, ["sea", "land"]); // both act and train
 * ```
 */
export function setAdapter(
  model: Module,
  adapterName: string | readonly string[],
  options: { inferenceMode?: boolean } = {},
): void {
  setActive(hostOf(model, "set an adapter"), adapterName, options.inferenceMode);
}

/**
 * Removes an adapter and frees its memory.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, deleteAdapter, injectAdapterInModel, LoraConfig } from "@peft/webgpu";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * injectAdapterInModel(new LoraConfig({ targetModules: ["c_attn"] }), model, "sea");
 * deleteAdapter(model, "sea");
 * console.log(model.forward({ inputIds: [[1, 2]] }).logits.shape);
 * ```
 * @throws {RangeError} if it is unknown or merged
 */
export function deleteAdapter(model: Module, adapterName: string): void {
  deleteFrom(hostOf(model, "delete an adapter"), adapterName, model.training);
}

/**
 * Switches the training of adapters on or off, and of nothing else.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, injectAdapterInModel, LoraConfig, setRequiresGrad } from "@peft/webgpu";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * injectAdapterInModel(new LoraConfig({ targetModules: ["c_attn"] }), model, "sea");
 * setRequiresGrad(model, "sea", false);
 * console.log([...model.parameters()].some((parameter) => parameter.requiresGrad)); // false
 * ```
 */
export function setRequiresGrad(
  model: Module,
  adapterNames: string | readonly string[],
  requiresGrad = true,
): void {
  setGradients(hostOf(model, "set what trains"), adapterNames, requiresGrad);
}
