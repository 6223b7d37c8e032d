/**
 * Rows of a batch bound to adapters for as many forwards as a caller likes: what continuous batching needs of adapters.
 * @module
 */

import type { Module } from "../../nn/mod.ts";
import { tunerOf } from "../adapters/find_adapters.ts";
import { bindRows, type BoundAdapters } from "../adapters/run_model.ts";

/**
 * Binds the rows of a batch to adapters, as `adapterNames` of `generate` does; null stands for none. Only LoRA's rows share
 * launches. The model must be in eval mode, or called in one.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import { ContinuousBatch } from "@peft/webgpu/model";
 * import { bindAdapters } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] }), "pirate").eval();
 * using batch = new ContinuousBatch(base, { bindAdapters: (names) => bindAdapters(model, names) });
 * for await (const { id } of batch.add({ prompt: [1, 2], maxNewTokens: 3, adapter: "pirate" })) console.log(id);
 * ```
 * @param model a `PeftModel`, or a model that `injectAdapterInModel` changed
 * @throws {RangeError} for an unknown adapter, merged adapters, or DoRA beside other adapters
 * @throws {TypeError} for virtual tokens
 */
export function bindAdapters(model: Module, names: readonly (string | null)[]): BoundAdapters {
  return bindRows(tunerOf(model, "bind adapters"), names);
}
