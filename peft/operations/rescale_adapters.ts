/**
 * Scalings of LoRA adapters that hold while a function runs.
 * @module
 */

import type { Module } from "../../nn/mod.ts";
import { lowRankLayers } from "../lora/low_rank.ts";
import type { Rescale } from "../state/adapter_state.ts";

/**
 * Runs `body`, which may be asynchronous, with the scaling of every LoRA adapter multiplied; the scaling is restored
 * afterwards, even if it throws. Where calls overlap, their factors multiply, as those of nested ones do; a generation
 * keeps those it began with. With a multiplier in [0, 1] this is WiSE-FT (Wortsman et al. 2021, arXiv:2109.01903).
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig, rescaleAdapterScale } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const peftModel = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] })).eval();
 * const logits = rescaleAdapterScale(peftModel, 0.5, () => peftModel.forward({ inputIds: [[1, 2]] }).logits);
 * console.log(logits.shape); // [ 1, 2, 768 ], halfway between the base and the adapter
 * ```
 * @throws {TypeError} if the multiplier is no number   @throws {RangeError} if the model has no LoRA layer
 */
export function rescaleAdapterScale<T>(model: Module, multiplier: number, body: () => T): T {
  if (typeof multiplier !== "number" || !Number.isFinite(multiplier)) {
    throw new TypeError(
      `Cannot rescale adapters: Argument multiplier should be of type float, got ${multiplier}`,
    );
  }
  const found = lowRankLayers(model);
  const layers = found.map(([, layer]) => layer);
  if (layers.length === 0) {
    throw new RangeError(
      "Cannot rescale adapters: scaling is only supported for models with `LoraLayer`s",
    );
  }
  const rescale: Rescale = {
    factor: multiplier,
    scalings: new Set(layers.map(({ scaling }) => scaling)),
    layers: found.map(([path]) => path).join(" "),
  };
  const states = new Set(layers.map(({ adapterState }) => adapterState));
  for (const state of states) state.rescales = [...state.rescales, rescale];
  const end = () => {
    for (const state of states) state.rescales = state.rescales.filter((other) => other !== rescale);
  };
  let result: T;
  try {
    result = body();
  } catch (error) {
    end();
    throw error;
  }
  if (result instanceof Promise) return result.finally(end) as T;
  end();
  return result;
}
