/**
 * A LoRA adapter that turns one model into another, as closely as its rank allows.
 * @module
 */

import { cast, noGrad, sameShape, showShape, subtract, Tensor, tidy, transpose } from "../autograd/mod.ts";
import type { Module } from "../nn/mod.ts";
import type { AdaptableModel } from "./adaptable_model.ts";
import { LoraConfig, type LoraConfigFields } from "./lora/lora_config.ts";
import { type LowRankLayer, lowRankLayers } from "./lora/low_rank.ts";
import { truncatedSvd } from "./lora/truncated_svd.ts";
import { getPeftModel, type PeftModel } from "./peft_model.ts";

/**
 * Options of `extractLora`: those of a LoRA configuration that choose the modules and the rank.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, extractLora } from "@peft/webgpu";
 * import type { ExtractLoraOptions } from "@peft/webgpu/peft";
 *
 * const [base, tuned] = await Promise.all([1, 2].map(() => AutoModelForCausalLM.fromPretrained("examples/demo/model")));
 * const options: ExtractLoraOptions = { r: 2, targetModules: ["attn.c_proj"], layersToTransform: 0, adapterName: "tuned" };
 * console.log((await extractLora(base, tuned, options)).activeAdapters); // [ "tuned" ]
 * ```
 */
export interface ExtractLoraOptions extends
  Partial<
    Pick<
      LoraConfigFields,
      "r" | "rankPattern" | "targetModules" | "excludeModules" | "layersToTransform" | "layersPattern"
    >
  > {
  /** Name of the adapter; default "default". */
  adapterName?: string;
}

/**
 * Wraps `base` with a LoRA adapter whose change of each targeted weight is the best one of its rank: the singular value
 * decomposition of the difference, cut to r values, B = U S and A = V^T, scaling 1. What `tuned` changed elsewhere
 * (biases, norms, other modules) is not transferred. `savePretrained` then writes a file that Python loads.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, extractLora } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const tuned = await AutoModelForCausalLM.fromPretrained("models/small"); // the same model, trained whole
 * const peftModel = await extractLora(base, tuned, { r: 2, targetModules: ["h.0.attn.c_proj"] });
 * await peftModel.savePretrained("out/extracted");
 * ```
 * @throws {TypeError} if a targeted module of `tuned` is missing or of another shape; `base` is then unchanged
 */
export async function extractLora<M extends AdaptableModel>(
  base: M,
  tuned: Module,
  options: ExtractLoraOptions = {},
): Promise<PeftModel<M>> {
  const { adapterName = "default", r = 8, ...fields } = options;
  const { training } = base;
  const alphaPattern = { ...fields.rankPattern }; // alpha = r in every layer: scaling 1
  const config = new LoraConfig({ ...fields, r, loraAlpha: r, alphaPattern });
  const peftModel = getPeftModel(base, config, adapterName);
  try {
    for (const [path, layer] of lowRankLayers(base)) {
      const { A, B } = layer.lowRank(adapterName)!;
      const difference = differenceOf(path, layer, tuned);
      const sizes = { inFeatures: A.shape[1], outFeatures: B.shape[0] };
      try {
        const values = await difference.data() as Float32Array<ArrayBuffer>;
        const made = await truncatedSvd(A.device, values, sizes, A.shape[0]);
        A.write(made.A);
        B.write(made.B);
      } finally {
        difference.dispose();
      }
    }
  } catch (error) {
    peftModel.unload();
    base.train(training);
    throw error;
  }
  return peftModel.eval();
}

/** tuned - base of a layer's weight, [out, in]. */
function differenceOf(path: string, layer: LowRankLayer, tuned: Module): Tensor {
  const weightOf = (module: Module) => (module as { weight?: unknown }).weight;
  const own = weightOf(layer.base_layer);
  let other: unknown;
  try {
    other = weightOf(tuned.getSubmodule(path));
  } catch {
    other = undefined; // no such module
  }
  if (!(own instanceof Tensor) || !(other instanceof Tensor) || !sameShape(own.shape, other.shape)) {
    const shown = (weight: unknown) => weight instanceof Tensor ? showShape(weight.shape) : "none";
    throw new TypeError(
      `Cannot extract LoRA: "${path}" must have a weight ${shown(own)} in both models, received ${
        shown(other)
      }`,
    );
  }
  if (own.device !== other.device) {
    throw new TypeError("Cannot extract LoRA: both models must be on the same device, received two devices");
  }
  const { layout } = layer.base_layer as { layout?: string };
  return noGrad(() =>
    tidy(() => {
      const difference = subtract(cast(other, "float32"), cast(own, "float32"));
      return layout === "conv1d" ? transpose(difference) : difference;
    })
  );
}
