/**
 * `PeftConfig.fromPretrained`: an adapter's configuration by folder or hub id.
 * @module
 */

import { checkOptions } from "../../options/names.ts";
import type { FolderInput } from "../../io/file_source.ts";
import type { PeftConfig as Config } from "../config/peft_config.ts";
import type { LoadAdapterOptions } from "./adapter_folder.ts";

/**
 * A configuration of one adapter.
 *
 * @example
 * ```ts
 * import { IA3Config, LoraConfig, PeftConfig } from "@peft/webgpu";
 *
 * const configs: PeftConfig[] = [new LoraConfig({ targetModules: ["c_attn"] }), new IA3Config()]; // of any method
 * console.log(configs.map(({ peftType, targetModules }) => [peftType, targetModules ?? "the model's default"]));
 * ```
 */
export type PeftConfig = Config;

/**
 * Reads configurations, with Hugging Face's name.
 *
 * @example
 * ```ts
 * import { memoryFolder, PeftConfig } from "@peft/webgpu";
 * import type { PeftConfigReader } from "@peft/webgpu/peft";
 *
 * const reader: PeftConfigReader = PeftConfig;
 * const json = new Blob([JSON.stringify({ peft_type: "LORA", r: 16, target_modules: ["c_attn"] })]);
 * const config = await reader.fromPretrained(memoryFolder({ "adapter_config.json": json }));
 * console.log(config.peftType, config.targetModules); // LORA [ "c_attn" ]
 * ```
 */
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
    const { ADAPTER_OPTIONS, adapterFolder } = await import("./adapter_folder.ts");
    checkOptions("load an adapter", options, ADAPTER_OPTIONS);
    const { readAdapterConfig } = await import("./adapter_files.ts");
    return await readAdapterConfig(await adapterFolder(dirOrId, options));
  },
};
