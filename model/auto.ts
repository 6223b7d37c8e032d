/**
 * Models by folder or hub id.
 * @module
 */

import type { Device } from "../autograd/mod.ts";
import type { FileInput, FolderInput } from "../io/file_source.ts";
import type { FoundGguf } from "../io/find_gguf.ts";
import { type GgufOptions, resolveCheckpointOrGguf, SOURCE_OPTIONS } from "../io/gguf_source.ts";
import type { JsonObject } from "../io/json.ts";
import type { HubProgress } from "../io/hub.ts";
import { nameOfFolder } from "../io/model_folder.ts";
import { checkOptions } from "../options/names.ts";
import { architectureOf, ARCHITECTURES, type DefaultModel } from "./architectures.ts";
import type { CausalLM } from "./causal_lm.ts";
import { loadModel, type LoadOptions, type LoadProgress } from "./checkpoint.ts";
import type { StorageOptions } from "./storage.ts";

/**
 * Options of `AutoModelForCausalLM.fromPretrained`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, type FromPretrainedOptions } from "@peft/webgpu";
 *
 * const options: FromPretrainedOptions = {
 *   dtype: "float16", // half the memory, frozen: for adapters
 *   onProgress: (progress) => "name" in progress && console.log(`${progress.loaded} of ${progress.total}`),
 * };
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model", options);
 * console.log(model.facts.displayName, model.facts.numLayers); // GPT-2 4
 * ```
 */
export interface FromPretrainedOptions extends Omit<GgufOptions, "onProgress">, StorageOptions {
  /** Default: the default device, made if there is none. */
  device?: Device;
  /** Seed of dropout; default 0. */
  seed?: number;
  /** Called as the bytes of each file arrive from the hub, and after each tensor that is loaded. */
  onProgress?: (progress: LoadProgress | HubProgress) => void;
}

type OwnOption = Exclude<keyof FromPretrainedOptions, keyof GgufOptions>;
const OWN_OPTIONS: Readonly<Record<OwnOption, true>> = {
  dtype: true,
  quantization: true,
  doubleQuant: true,
  device: true,
  seed: true,
};

/** Names of {@linkcode FromPretrainedOptions}. */
export const MODEL_OPTIONS: readonly string[] = [...Object.keys(OWN_OPTIONS), ...SOURCE_OPTIONS];

/**
 * Loads language models, with Hugging Face's name and files.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import { type AutoModel, LlamaForCausalLM } from "@peft/webgpu/model";
 *
 * const loader: AutoModel = AutoModelForCausalLM;
 * const model = await loader.fromPretrained<LlamaForCausalLM>("HuggingFaceTB/SmolLM2-135M-Instruct");
 * console.log(model instanceof LlamaForCausalLM, model.config.hiddenSize);
 * ```
 */
export interface AutoModel {
  /**
   * Loads a model of any architecture that is known, in eval mode.
   * @typeParam Model the class that the caller expects; the folder decides, so it is not checked
   * @param idOrDir a folder in Hugging Face's layout (a path, a URL, files that a user picked or dropped, or one in
   *   memory), a GGUF file (a path or URL that ends in .gguf, or its bytes), or a hub id such as "org/name". A folder or
   *   hub model may hold one GGUF file in place of a checkpoint; of several, `ggufFile` names one
   * @throws {Error} if there is no such folder or model
   * @throws {RangeError} for several GGUF files without `ggufFile`
   * @throws {TypeError} for an option that does not exist; for an unknown architecture, by name; or listing every tensor that is missing or does not fit
   */
  fromPretrained<Model extends CausalLM = DefaultModel>(
    idOrDir: FolderInput | FileInput,
    options?: FromPretrainedOptions,
  ): Promise<Model>;
}

async function fromGguf({ file, hubId }: FoundGguf, load: LoadOptions): Promise<CausalLM> {
  const { loadGguf } = await import("./gguf_model.ts");
  const model = await loadGguf(file, load);
  if (hubId) model.config.nameOrPath = hubId;
  return model;
}

/**
 * Loads language models, with Hugging Face's name and files.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer } from "@peft/webgpu";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model"); // or "gpt2", a URL, a .gguf file
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const [ids] = await model.generate("Once upon a time", { tokenizer, maxNewTokens: 8 });
 * console.log(tokenizer.decode(ids));
 * ```
 */
export const AutoModelForCausalLM: AutoModel = {
  async fromPretrained<Model extends CausalLM = DefaultModel>(
    idOrDir: FolderInput | FileInput,
    options: FromPretrainedOptions = {},
  ): Promise<Model> {
    checkOptions("load a model", options, MODEL_OPTIONS);
    const { device, dtype, quantization, doubleQuant, seed, ...files } = options;
    const load = { device, dtype, quantization, doubleQuant, seed, onProgress: files.onProgress };
    const chosen = (config: JsonObject) => architectureOf(config, ARCHITECTURES);
    const { gguf, folder } = await resolveCheckpointOrGguf(idOrDir, { ...files, checkConfig: chosen });
    if (gguf) return await fromGguf(gguf, load) as Model;
    const model = await loadModel(folder, (config) => chosen(config).load(), load);
    model.config.nameOrPath = nameOfFolder(idOrDir as FolderInput);
    return model as CausalLM as Model;
  },
};
