/**
 * Writes an adapter in the form that the options ask for.
 * @module
 */

import { Parameter } from "../../nn/mod.ts";
import { type FolderOutput, type FolderTarget, openTarget } from "../../io/folder_target.ts";
import { checkOptions } from "../../options/names.ts";
import type { AdaptableModel } from "../adaptable_model.ts";
import type { AdapterHost } from "../adapters/model_adapters.ts";
import { writeAdapter } from "../files/adapter_writer.ts";
import { SAVE_OPTIONS, type SaveAdapterOptions } from "../files/adapter_folder.ts";
import { ggufAdapter, type GgufModel } from "../files/gguf_adapter.ts";
import { quantizedTypes } from "../layers/quantized_base.ts";
import { GGUF_FILE } from "../methods/adapter_format.ts";
import { convertToLora, type WrittenAdapter } from "./convert_to_lora.ts";

/**
 * Writes the adapter `name` of a model; its tensors that are not parameters are disposed.
 * @throws {TypeError} for an adapter that the form cannot hold; nothing is written then
 */
async function saveAdapter(
  target: FolderTarget,
  model: AdaptableModel,
  name: string,
  own: WrittenAdapter,
  { convertToLora: plain, pathInitialModelForWeightConversion: initial, format }: SaveAdapterOptions,
): Promise<void> {
  if (format !== undefined && format !== "peft" && format !== "gguf") {
    throw new TypeError(
      `Cannot save the adapter: format must be "peft" or "gguf", received ${JSON.stringify(format)}`,
    );
  }
  const made = [...own.tensors.values()];
  try {
    const written = plain || initial !== undefined ? await convertToLora(model, name, own, initial) : own;
    made.push(...written.tensors.values());
    if (format === "gguf") {
      const named = model as GgufModel;
      await named.loadGgufFormat?.();
      await target.write(GGUF_FILE, ggufAdapter(written.config, written.tensors, named));
    } else await writeAdapter(target, written.config, written.tensors, name, quantizedTypes(model));
  } finally {
    for (const tensor of made) if (!(tensor instanceof Parameter)) tensor.dispose();
  }
}

/** Writes adapters of a host: "default" into the folder, others into subfolders of their names. */
export async function saveAdapters(
  host: AdapterHost<AdaptableModel>,
  folder: FolderOutput,
  options: SaveAdapterOptions,
): Promise<void> {
  checkOptions("save adapters", options, SAVE_OPTIONS);
  const root = openTarget(folder, "save adapters");
  const names = options.selectedAdapters ?? [...host.configs.keys()];
  for (const name of names) host.checkName(name);
  for (const name of names) {
    const target = name === "default" ? root : root.folder(name);
    const tensors = host.savedTensors(name, options.saveEmbeddingLayers !== false);
    await saveAdapter(target, host.model, name, { config: host.configs.get(name)!, tensors }, options);
  }
}
