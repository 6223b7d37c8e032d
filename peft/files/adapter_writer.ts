/**
 * Writes adapter folders as Python's `peft` does.
 * @module
 */

import { readNumbers, type Shape, type Tensor } from "../../autograd/mod.ts";
import { type FolderTarget, writeJsonTo } from "../../io/folder_target.ts";
import { type SafetensorsDtype, safetensorsPieces } from "../../io/safetensors.ts";
import type { PeftConfig } from "../config/peft_config.ts";
import { formatOf } from "../registry.ts";
import { CONFIG_FILE } from "./adapter_files.ts";
import { modelCard } from "./model_card.ts";

/** Name of the model card. */
const CARD_FILE = "README.md";

/** Writes an adapter's folder. `storage`: the formats of few bits of the base that it was made for, for the card. */
export async function writeAdapter(
  target: FolderTarget,
  config: PeftConfig,
  tensors: ReadonlyMap<string, Tensor>,
  adapterName: string,
  storage: readonly string[] = [],
): Promise<void> {
  const format = formatOf(config);
  const entries: Record<
    string,
    { dtype: SafetensorsDtype; shape: Shape; data: () => Promise<ArrayBufferView> }
  > = {};
  for (const [key, tensor] of tensors) {
    entries[format.toDisk(key, adapterName)] = {
      dtype: "F32",
      shape: tensor.shape,
      data: () => readNumbers(tensor),
    };
  }
  await target.write(format.weightsFile, safetensorsPieces(entries, format.metadata));
  await writeJsonTo(target, CONFIG_FILE, format.configOf(config, adapterName));
  const baseModel = config.baseModelNameOrPath || null;
  const summary = `A ${config.peftType} adapter${
    baseModel ? ` for ${baseModel}` : ""
  }, trained with @peft/webgpu.${
    storage.length === 0 ? "" : ` The base was quantised: its weights were stored as ${storage.join(", ")}.`
  }`;
  const card = modelCard({ baseModel, library: format.library, summary }, await target.readText(CARD_FILE));
  await target.write(CARD_FILE, card);
}
