/**
 * LoftQ over a base that is quantised already.
 * @module
 */

import {
  cast,
  isQuantized,
  noGrad,
  subtract,
  svd,
  Tensor,
  tidy,
  transpose,
  untracked,
} from "../../autograd/mod.ts";
import { openCheckpoint } from "../../io/checkpoint.ts";
import type { FolderInput } from "../../io/file_source.ts";
import { toFloat32 } from "../../io/safetensors.ts";
import type { TensorReader } from "../../io/safetensors_reader.ts";
import { Conv1D, type Module, type Parameter } from "../../nn/mod.ts";
import { checkOptions } from "../../options/names.ts";
import { type LowRankLayer, lowRankLayers } from "../lora/low_rank.ts";
import { fromSingularValues } from "../lora/named_starts.ts";
import { tunerOf } from "../adapters/find_adapters.ts";

/**
 * Options of `replaceLoraWeightsLoftq`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig, replaceLoraWeightsLoftq } from "@peft/webgpu";
 * import type { ReplaceLoftQOptions } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model", { quantization: "nf4" });
 * const model = getPeftModel(base, new LoraConfig({ r: 4, targetModules: ["h.0.attn.c_proj", "h.1.attn.c_proj"] }));
 * const options: ReplaceLoftQOptions = { callback: (_, path) => path.includes(".h.0.") }; // or whether the loss falls
 * console.log(await replaceLoraWeightsLoftq(model, "examples/demo/model", options)); // [ "transformer.h.0.attn.c_proj" ]
 * ```
 */
export interface ReplaceLoftQOptions<M extends Module = Module> {
  /** The adapter; default "default". */
  adapterName?: string;
  /**
   * Called after each layer with its path; what it says decides whether the layer's new factors stay. Default: all stay.
   */
  callback?: (model: M, path: string) => boolean | Promise<boolean>;
}

/** The name of a layer's weight in the checkpoint, with or without the base model's prefix. */
function nameIn(checkpoint: TensorReader, path: string): string {
  const names = [`${path}.weight`, `${path.slice(path.indexOf(".") + 1)}.weight`];
  const found = names.find((name) => checkpoint.has(name));
  if (found !== undefined) return found;
  throw new TypeError(
    `Cannot replace LoRA's weights: tensor "${names[0]}" is required, which the checkpoint has not`,
  );
}

/** The weight of a layer's base. */
function weightOf(layer: LowRankLayer): Parameter {
  return (layer.base_layer as unknown as { readonly weight: Parameter }).weight;
}

/** Writes the best factors of W - Q into an adapter. @param values W, [out, in], or [in, out] of a Conv1D */
function fit(
  layer: LowRankLayer,
  adapter: string,
  values: Float32Array<ArrayBuffer>,
  shape: readonly number[],
  isTurned: boolean,
): void {
  const quantized = weightOf(layer);
  const { device } = quantized;
  const { A, B } = layer.lowRank(adapter)!;
  noGrad(() =>
    tidy(() => {
      const given = Tensor.from(values, { shape: [...shape], device });
      const numbers = cast(quantized, "float32");
      const whole = isTurned ? transpose(given) : given; // [out, in]
      const held = numbers.shape[0] === B.shape[0] ? numbers : transpose(numbers);
      const found = fromSingularValues({ rank: A.shape[0], scaling: 1 }, svd(subtract(whole, held)));
      device.copy(found.A.view, A.view);
      device.copy(found.B.view, B.view);
    })
  );
}

/**
 * Gives a LoRA adapter over a base that was quantised while it was loaded LoftQ's start (Li et al. 2023, arXiv:2310.08659):
 * B A becomes the best approximation of what the base lost. The whole weights are read from the folder that the base was
 * loaded from, one at a time.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig, replaceLoraWeightsLoftq } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model", { quantization: "nf4" });
 * const model = getPeftModel(base, new LoraConfig({ r: 4, loraAlpha: 4, targetModules: ["h.0.attn.c_proj"] }));
 * console.log(await replaceLoraWeightsLoftq(model, "examples/demo/model")); // [ "transformer.h.0.attn.c_proj" ]
 * ```
 * @param folder with `model.safetensors`, or shards with their index
 * @returns paths of the layers whose factors were replaced and stayed
 * @param model with adapters
 * @throws {TypeError} where no layer of the adapter has a quantised weight, and for a weight that the folder lacks or has
 * in another shape; layers before it are replaced then
 */
export async function replaceLoraWeightsLoftq<M extends Module>(
  model: M,
  folder: FolderInput,
  options: ReplaceLoftQOptions<M> = {},
): Promise<string[]> {
  checkOptions("replace LoRA's weights", options, ["adapterName", "callback"]);
  const { adapterName = "default", callback } = options;
  const layers = lowRankLayers(tunerOf(model, "replace LoRA's weights").model).filter(([, layer]) =>
    layer.lowRank(adapterName) && isQuantized(weightOf(layer).dtype)
  );
  if (layers.length === 0) {
    throw new TypeError(
      `Cannot replace LoRA's weights: adapter "${adapterName}" in layers whose weights are quantised is required, received none`,
    );
  }
  const kept: string[] = [];
  const checkpoint = await openCheckpoint(folder);
  try {
    for (const [path, layer] of layers) {
      const name = nameIn(checkpoint, path);
      const { dtype, shape } = checkpoint.info(name);
      const { A, B } = layer.lowRank(adapterName)!;
      const [rows, columns] = [B.shape[0], A.shape[1]];
      const isTurned = layer.base_layer instanceof Conv1D;
      if (shape.join() !== (isTurned ? [columns, rows] : [rows, columns]).join()) {
        throw new TypeError(
          `Cannot replace LoRA's weights: tensor "${name}" must be [${
            isTurned ? [columns, rows] : [rows, columns]
          }], received [${shape}]`,
        );
      }
      const values = toFloat32(dtype, await checkpoint.read(name)) as Float32Array<ArrayBuffer>;
      const before = callback ? [A, B].map((tensor) => untracked(() => tensor.copy())) : null;
      fit(layer, adapterName, values, shape, isTurned);
      if (!before || await callback!(model, path)) kept.push(path);
      else [A, B].forEach((tensor, i) => tensor.device.copy(before[i].view, tensor.view));
      for (const copy of before ?? []) copy.dispose();
    }
  } finally {
    await checkpoint.close();
  }
  return kept;
}
