/**
 * An adapter's configuration and values, from a folder in `peft`'s layout or from one GGUF file.
 * @module
 */

import type { FileInput, FolderSource } from "../../io/file_source.ts";
import { isGgufFile, isGgufName } from "../../io/gguf_names.ts";
import type { Module } from "../../nn/mod.ts";
import { checkOptions } from "../../options/names.ts";
import { checkModel } from "../adaptable_model.ts";
import type { PeftConfig } from "../config/peft_config.ts";
import { GGUF_FILE } from "../methods/adapter_format.ts";
import { type AdapterValues, CONFIG_FILE, readAdapterConfig, readAdapterValues } from "./adapter_files.ts";
import {
  ADAPTER_OPTIONS,
  adapterFolder,
  type AdapterInput,
  type LoadAdapterOptions,
} from "./adapter_folder.ts";
import type { GgufModel } from "./gguf_adapter.ts";
import { loadPartsOf } from "./parts_of_config.ts";

/** An adapter that was found. */
export interface FoundAdapter {
  readonly config: PeftConfig;
  /** Whether it must have every value; else parameters that it lacks stay as they begin. */
  readonly isWhole: boolean;
  /** Its values, by their keys on disk, and what messages call their file. */
  values(): Promise<{ readonly name: string; readonly values: AdapterValues }>;
}

/** Whether a folder has an `adapter_config.json`. */
async function hasConfig(folder: FolderSource): Promise<boolean> {
  const config = await folder.open(CONFIG_FILE);
  await config?.close();
  return config !== undefined;
}

/** The GGUF file of a folder: adapter_model.gguf, or the only one. */
async function ggufOf(folder: FolderSource): Promise<FileInput | undefined> {
  const own = await folder.open(GGUF_FILE);
  if (own) return own;
  const names = (await folder.list?.() ?? []).filter(isGgufName);
  return names.length === 1 ? await folder.open(names[0]) : undefined;
}

/**
 * Finds an adapter for a model. A GGUF file is read whole, since its configuration follows from its tensors.
 * @throws {TypeError} for an option that does not exist, or what is no model
 * @throws {Error} where there is no adapter
 * @throws {GgufError} for a GGUF file that is not valid, or holds no LoRA adapter for the model's architecture
 * @throws {TypeError} for an option that does not exist, or listing the tensors of a GGUF file that do not fit
 */
export async function findAdapter(
  input: AdapterInput,
  model: Module,
  options: LoadAdapterOptions,
): Promise<FoundAdapter> {
  checkOptions("load an adapter", options, ADAPTER_OPTIONS);
  checkModel(model);
  const isWhole = (options.strict ?? true) && !options.ignoreMismatchedSizes;
  if (isGgufFile(input)) return await inGguf(input, model, isWhole);
  const folder = await adapterFolder(input, options);
  const file = await hasConfig(folder) ? undefined : await ggufOf(folder);
  if (file !== undefined) return await inGguf(file, model, isWhole);
  const config = await readAdapterConfig(folder);
  await loadPartsOf(config, model, isWhole);
  return { config, isWhole, values: () => readAdapterValues(folder, config) };
}

/** The adapter of a GGUF file. */
async function inGguf(file: FileInput, model: Module, isWhole: boolean): Promise<FoundAdapter> {
  const { readGgufAdapter } = await import("./gguf_adapter_reader.ts");
  const { config, ...values } = await readGgufAdapter(file, model as GgufModel & Module);
  await loadPartsOf(config, model, isWhole);
  return { config, isWhole, values: () => Promise.resolve(values) };
}
