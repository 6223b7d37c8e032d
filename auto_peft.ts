/**
 * A base model and its adapter by the adapter's folder alone.
 * @module
 */

import type { FolderInput } from "./io/file_source.ts";
import { nameOfFolder } from "./io/model_folder.ts";
import { MODEL_OPTIONS } from "./model/auto.ts";
import {
  AutoModelForCausalLM,
  type CausalLM,
  type DefaultModel,
  type FromPretrainedOptions,
} from "./model/mod.ts";
import { checkOptions } from "./options/names.ts";
import { ADAPTER_OPTIONS } from "./peft/files/adapter_folder.ts";
import { type LoadAdapterOptions, PeftConfig, PeftModel } from "./peft/mod.ts";

/**
 * Options of `AutoPeftModelForCausalLM.fromPretrained`: of the base model, and of the adapter.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoPeftModelForCausalLM, getPeftModel, LoraConfig, memoryFolder } from "@peft/webgpu";
 * import type { AutoPeftOptions } from "@peft/webgpu/peft";
 *
 * const folder = memoryFolder(), base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * await getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] })).savePretrained(folder);
 * const options: AutoPeftOptions = { adapterName: "pirate", isTrainable: true, dtype: "float16" };
 * (await AutoPeftModelForCausalLM.fromPretrained(folder, options)).printTrainableParameters();
 * ```
 */
export interface AutoPeftOptions
  extends Omit<FromPretrainedOptions, "revision">, Omit<LoadAdapterOptions, "revision"> {
  /** Name of the adapter; default "default". */
  adapterName?: string;
  /** Branch, tag or commit of the adapter on the hub; the adapter's configuration names that of the base. */
  revision?: string;
}

/**
 * Loads adapters with the model they are for, with Hugging Face's name.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoPeftModelForCausalLM, getPeftModel, LoraConfig, memoryFolder } from "@peft/webgpu";
 * import type { AutoPeftModel } from "@peft/webgpu/peft";
 *
 * const folder = memoryFolder(), loader: AutoPeftModel = AutoPeftModelForCausalLM;
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * await getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] })).savePretrained(folder);
 * console.log((await loader.fromPretrained(folder)).activeAdapters); // [ "default" ]
 * ```
 */
export interface AutoPeftModel {
  /**
   * Loads the base model that the adapter's configuration names, and the adapter into it.
   * @typeParam Model the class of the base model that the caller expects; the folder decides, so it is not checked
   * @param dirOrId a folder that `savePretrained` (here or in Python) wrote (a path, a URL, files or a folder source), or a hub id
   * @throws {RangeError} if the configuration names no base model
   * @throws {TypeError} listing every tensor that does not fit
   */
  fromPretrained<Model extends CausalLM = DefaultModel>(
    dirOrId: FolderInput,
    options?: AutoPeftOptions,
  ): Promise<PeftModel<Model>>;
}

/**
 * Loads adapters with the model they are for, with Hugging Face's name.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoPeftModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * await getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] })).savePretrained("out/adapter");
 * const model = await AutoPeftModelForCausalLM.fromPretrained("out/adapter"); // the adapter names its base
 * console.log(model.activeAdapters);
 * ```
 */
export const AutoPeftModelForCausalLM: AutoPeftModel = {
  async fromPretrained<Model extends CausalLM = DefaultModel>(
    dirOrId: FolderInput,
    options: AutoPeftOptions = {},
  ): Promise<PeftModel<Model>> {
    const { adapterName, isTrainable, strict, ignoreMismatchedSizes, revision, ...shared } = options;
    checkOptions("load an adapter with its base", options, [...MODEL_OPTIONS, ...ADAPTER_OPTIONS]);
    const { cacheDir, localFilesOnly, token, hubUrl } = shared;
    const hub = { revision, cacheDir, localFilesOnly, token, hubUrl };
    const config = await PeftConfig.fromPretrained(dirOrId, hub);
    const { baseModelNameOrPath } = config;
    if (!baseModelNameOrPath) {
      throw new RangeError(
        `Cannot load "${
          nameOfFolder(dirOrId)
        }" with its base: base_model_name_or_path is required in adapter_config.json, received none; load the base and use PeftModel.fromPretrained()`,
      );
    }
    const base = await AutoModelForCausalLM.fromPretrained<Model>(baseModelNameOrPath, {
      ...shared,
      revision: config.revision ?? undefined,
    });
    try {
      const how = { adapterName, isTrainable, strict, ignoreMismatchedSizes };
      return await PeftModel.fromPretrained(base, dirOrId, { ...how, ...hub });
    } catch (error) {
      base.dispose();
      throw error;
    }
  },
};
