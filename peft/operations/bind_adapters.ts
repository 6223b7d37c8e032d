/**
 * Rows of a batch bound to adapters for as many forwards as a caller likes: what continuous batching needs of adapters.
 * @module
 */

import type { Module } from "../../nn/mod.ts";
import { noGrad } from "../../autograd/mod.ts";
import { BASE } from "../adapters/adapter_names.ts";
import { tunerOf } from "../adapters/find_adapters.ts";
import type { MixedBatch } from "../adapters/mixed_batch.ts";
import { type Adapted, batchOf, checkPresent } from "../adapters/run_model.ts";
import type { AdapterCall } from "../state/adapter_state.ts";

/**
 * Rows that are bound to adapters: forwards run with each row through its own.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import { bindAdapters, type BoundAdapters } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] }), "pirate").eval();
 * const bound: BoundAdapters = bindAdapters(model, ["pirate", null]); // the second row: the base alone
 * console.log(bound.run(() => base.forward({ inputIds: [[1, 2], [1, 2]] }).logits.shape)); // [ 2, 2, 768 ]
 * bound.dispose();
 * ```
 */
export interface BoundAdapters {
  /** Runs a forward of as many rows, synchronously and without gradients. @throws {RangeError} if an adapter is gone */
  run<T>(step: () => T): T;
  /** Frees the copies of factors that rows of different adapters share a launch by. */
  dispose(): void;
}

/**
 * Binds the rows of a batch to adapters; null stands for none.
 * @throws {RangeError} for an unknown adapter, merged adapters, or DoRA beside others
 */
function bindRows(adapted: Adapted, names: readonly (string | null)[]): BoundAdapters {
  const { state } = adapted;
  const [first] = names;
  let mixed: MixedBatch | null = null;
  let call: AdapterCall = { ...state.call, mixed, disabled: true };
  if (names.some((name) => name !== first)) {
    mixed = batchOf(adapted, names.map((name) => name ?? BASE), undefined);
    call = { ...state.call, mixed, disabled: false };
  } else if (first !== null) call = { ...state.call, mixed, active: [first], disabled: false };
  const run = <T>(step: () => T): T => {
    checkPresent(adapted, call);
    return state.during(call, () => noGrad(step));
  };
  return { run, dispose: () => mixed?.dispose() };
}

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
