/**
 * Models by folder or hub id.
 * @module
 */

import type { Device } from "../autograd/mod.ts";
import type { FolderInput } from "../io/file_source.ts";
import { type HubOptions, type HubProgress, nameOfFolder, resolveCheckpointFolder } from "../io/hub.ts";
import type { WeightDType } from "./checkpoint.ts";
import { GPT2LMHeadModel, type LoadProgress } from "./causal_lm.ts";

/** Options of `AutoModelForCausalLM.fromPretrained`. */
export interface FromPretrainedOptions extends Omit<HubOptions, "onProgress"> {
  /** Default: the default device, made if there is none. */
  device?: Device;
  /** Storage of weight matrices: "float16" halves their memory and freezes them. Default "float32". */
  dtype?: WeightDType;
  /** Seed of dropout; default 0. */
  seed?: number;
  /** Called as the bytes of each file arrive from the hub, and after each tensor that is loaded. */
  onProgress?: (progress: LoadProgress | HubProgress) => void;
}

/** Loads language models, with Hugging Face's name and files. */
export interface AutoModel {
  /**
   * Loads a model in eval mode.
   * @param idOrDir a folder in Hugging Face's layout (a path, a URL, files that a user picked or dropped, or one in
   *   memory), or a hub id such as "gpt2"
   * @throws {Error} if there is no such folder or model
   * @throws {TypeError} listing every tensor that is missing or does not fit
   */
  fromPretrained(idOrDir: FolderInput, options?: FromPretrainedOptions): Promise<GPT2LMHeadModel>;
}

/** Loads language models, with Hugging Face's name and files. */
export const AutoModelForCausalLM: AutoModel = {
  async fromPretrained(idOrDir: FolderInput, options: FromPretrainedOptions = {}): Promise<GPT2LMHeadModel> {
    const { device, dtype, seed, ...hub } = options;
    const folder = await resolveCheckpointFolder(idOrDir, hub);
    const model = await GPT2LMHeadModel.load(folder, {
      device,
      dtype,
      seed,
      onProgress: options.onProgress,
    });
    model.config.nameOrPath = nameOfFolder(idOrDir);
    return model;
  },
};
