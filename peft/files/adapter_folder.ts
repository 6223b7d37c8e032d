/**
 * Where an adapter's files come from, and the options of loading and saving them.
 * @module
 */

import type { FolderInput, FolderSource } from "../../io/file_source.ts";
import { isGgufFile } from "../../io/gguf_names.ts";
import { resolveFolder } from "../../io/model_folder.ts";
import { ADAPTER_HUB_FILE, PEFT_FILE } from "../methods/adapter_format.ts";

/**
 * What an adapter is loaded from: a folder (a path, a URL, picked or dropped files, or one in memory), a hub id, or one GGUF
 * file (a path or URL that ends in .gguf, its bytes, or a Blob).
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig, memoryFolder, PeftModel } from "@peft/webgpu";
 * import type { AdapterInput } from "@peft/webgpu/peft";
 *
 * const load = async (input: AdapterInput) => // a folder, a hub id, a URL, or a GGUF file
 *   await PeftModel.fromPretrained(await AutoModelForCausalLM.fromPretrained("examples/demo/model"), input);
 * const folder = memoryFolder(), base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * await getPeftModel(base, new LoraConfig({ r: 2, targetModules: ["attn.c_proj"] })).savePretrained(folder);
 * console.log((await load(folder)).peftConfig.default.peftType); // LORA
 * ```
 */
export type AdapterInput = FolderInput | Uint8Array | ArrayBuffer | Blob;

/**
 * Options of loading an adapter.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig, memoryFolder, PeftModel } from "@peft/webgpu";
 * import type { LoadAdapterOptions } from "@peft/webgpu/peft";
 *
 * const folder = memoryFolder(), base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const first = getPeftModel(base, new LoraConfig({ r: 2, targetModules: ["attn.c_proj"] }));
 * await first.savePretrained(folder);
 * const options: LoadAdapterOptions = { isTrainable: true, localFilesOnly: true };
 * (await PeftModel.fromPretrained(first.unload(), folder, options)).printTrainableParameters(); // goes on training
 * ```
 */
export interface LoadAdapterOptions {
  /** Whether it trains; default false: frozen, in eval mode. */
  isTrainable?: boolean;
  /** Whether a missing or unexpected key is an error (default) or a warning. */
  strict?: boolean;
  /** Whether a tensor of another shape is left out with a warning; default false: an error. */
  ignoreMismatchedSizes?: boolean;
  /** Branch, tag or commit on the hub; default "main". */
  revision?: string;
  /** Where downloads are kept; default Hugging Face's cache. */
  cacheDir?: string;
  /** Never ask the network; default false. */
  localFilesOnly?: boolean;
  /** Access token of the hub; default HF_TOKEN, or the one that `hf auth login` stored. */
  token?: string;
  /** Address of the hub; default HF_ENDPOINT or the public hub. */
  hubUrl?: string;
}

const LOAD_OPTIONS: Readonly<Record<keyof LoadAdapterOptions, true>> = {
  isTrainable: true,
  strict: true,
  ignoreMismatchedSizes: true,
  revision: true,
  cacheDir: true,
  localFilesOnly: true,
  token: true,
  hubUrl: true,
};

/** Names of {@linkcode LoadAdapterOptions}, and what `PeftModel.fromPretrained` takes besides. */
export const ADAPTER_OPTIONS: readonly string[] = [...Object.keys(LOAD_OPTIONS), "adapterName", "mixed"];

/** Files of an adapter: the configuration, and tensors in `peft`'s layout or AdapterHub's. */
const FILES = ["adapter_config.json"];
const OPTIONAL_FILES = [PEFT_FILE, ADAPTER_HUB_FILE];

/**
 * Options of saving adapters.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig, memoryFolder } from "@peft/webgpu";
 * import type { SaveAdapterOptions } from "@peft/webgpu/peft";
 *
 * const folder = memoryFolder(), base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ r: 2, targetModules: ["attn.c_proj"] }), "pirate");
 * const options: SaveAdapterOptions = { selectedAdapters: ["pirate"], format: "gguf" }; // for llama.cpp's --lora
 * await model.savePretrained(folder, options);
 * console.log([...folder.files.keys()]);
 * ```
 */
export interface SaveAdapterOptions {
  /** Only these; default all. */
  selectedAdapters?: readonly string[];
  /** "auto" (default) writes the base's weight of an adapted head too, as `peft` does; false never. */
  saveEmbeddingLayers?: "auto" | false;
  /**
   * "peft" (default), or "gguf": one file, adapter_model.gguf, that llama.cpp loads with `--lora`. What that cannot hold
   * (methods other than LoRA, DoRA, biases, modules trained whole) is refused by name.
   */
  format?: "peft" | "gguf";
  /** Writes an adapter that starts from the weight (PiSSA, OLoRA) as plain LoRA of twice the rank; default false. */
  convertToLora?: boolean;
  /**
   * The same, from a folder that the adapter was saved in before training, as `peft` does it. `convertToLora` needs none:
   * the layers remember where they started.
   */
  pathInitialModelForWeightConversion?: string;
}

/** Names of {@linkcode SaveAdapterOptions}. */
export const SAVE_OPTIONS = [
  "selectedAdapters",
  "saveEmbeddingLayers",
  "format",
  "convertToLora",
  "pathInitialModelForWeightConversion",
] as const satisfies readonly (keyof SaveAdapterOptions)[];

/**
 * The folder of an adapter: a local one, one that the caller passed, or a downloaded one.
 * @throws {TypeError} for a GGUF file, which has no configuration of its own
 */
export function adapterFolder(
  dirOrId: AdapterInput,
  { revision, cacheDir, localFilesOnly, token, hubUrl }: LoadAdapterOptions,
): Promise<FolderSource> {
  if (isGgufFile(dirOrId)) {
    throw new TypeError(
      "Cannot read an adapter's configuration: a folder with adapter_config.json is required, received a GGUF file; " +
        "load its base model and use PeftModel.fromPretrained()",
    );
  }
  const files = { files: FILES, optionalFiles: OPTIONAL_FILES, kind: "adapter" as const };
  return resolveFolder(dirOrId as FolderInput, {
    ...files,
    revision,
    cacheDir,
    localFilesOnly,
    token,
    hubUrl,
  });
}
