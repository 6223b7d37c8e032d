/**
 * `PeftConfig.fromPretrained`: an adapter's configuration by folder or hub id.
 * @module
 */

import type { FolderInput } from "../../io/file_source.ts";
import type { PeftConfig as Config } from "../config/peft_config.ts";
import { readAdapterConfig } from "./adapter_files.ts";
import { adapterFolder, type LoadAdapterOptions } from "./adapter_folder.ts";

/** A configuration of one adapter. */
export type PeftConfig = Config;

/** Reads configurations, with Hugging Face's name. */
export interface PeftConfigReader {
  /**
   * Reads `adapter_config.json` into the class of its method: a `LoraConfig`, an `IA3Config`, …
   * @param dirOrId a folder (a path, a URL, picked or dropped files, or one in memory), or a hub id
   * @throws {Error} if there is no such file   @throws {RangeError} if its method or a field's value is not supported
   */
  fromPretrained(dirOrId: FolderInput, options?: LoadAdapterOptions): Promise<Config>;
}

/**
 * Reads configurations, with Hugging Face's name.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig, PeftConfig } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * await getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] })).savePretrained("out/adapter");
 * const config = await PeftConfig.fromPretrained("out/adapter");
 * console.log(config.peftType, config.baseModelNameOrPath);
 * ```
 */
export const PeftConfig: PeftConfigReader = {
  async fromPretrained(dirOrId: FolderInput, options: LoadAdapterOptions = {}): Promise<Config> {
    return await readAdapterConfig(await adapterFolder(dirOrId, options));
  },
};
