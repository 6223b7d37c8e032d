/**
 * Weights in Hugging Face's files, of any architecture: one file or shards, F32, F16, BF16 or F64. The module tree is
 * built without memory and says which tensors it wants; when the files hold exactly those, memory is allocated and each
 * tensor is streamed into it.
 * @module
 */

import {
  allocate,
  defaultDevice,
  type Device,
  loadAttention,
  loadHalfFormats,
  loadQuantizedFormats,
  type Shape,
  showShape,
  unallocated,
  untracked,
} from "../autograd/mod.ts";
import { openCheckpoint } from "../io/checkpoint.ts";
import type { FolderInput, FolderSource } from "../io/file_source.ts";
import { readJsonFrom } from "../io/json.ts";
import { openFolder } from "../io/open_file.ts";
import { mismatchError, Parameter } from "../nn/mod.ts";
import type { Family } from "./family.ts";
import type { CausalLM } from "./causal_lm.ts";
import { readGenerationConfig } from "./generation/generation_config.ts";
import type { ModelConfig } from "./facts.ts";
import type { ParameterSource } from "./parameter_source.ts";
import { SafetensorsWeights } from "./safetensors_weights.ts";
import { checkStorage, chooseStorage, type StorageOptions, turnedInFiles } from "./storage.ts";
import type { WeightSource } from "./weight_source.ts";

/**
 * Options of `fromPretrained` for an open folder.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { GPT2LMHeadModel, type LoadOptions } from "@peft/webgpu/model";
 *
 * const options: LoadOptions = { device: await initDevice(), dtype: "float16", seed: 1 };
 * const model = await GPT2LMHeadModel.load("examples/demo/model", options); // GPT-2 and nothing else
 * console.log(model.config.nEmbd); // 128
 * ```
 */
export interface LoadOptions extends StorageOptions {
  /** Where the weights go; default the default device, made if there is none. */
  device?: Device;
  /** Seed of dropout; default 0. */
  seed?: number;
  /** Called after each tensor. */
  onProgress?: (progress: LoadProgress) => void;
}

/**
 * How far loading has come.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import type { LoadProgress } from "@peft/webgpu/model";
 *
 * let last: LoadProgress | undefined;
 * const onProgress = (progress: object) => void (last = progress as LoadProgress);
 * await AutoModelForCausalLM.fromPretrained("examples/demo/model", { onProgress });
 * console.log(last); // { loaded: 52, total: 52, name: "transformer.ln_f.bias" }
 * ```
 */
export interface LoadProgress {
  /** Number of tensors loaded so far. */
  readonly loaded: number;
  /** Number of tensors in the model. */
  readonly total: number;
  /** Name of the tensor that was loaded last. */
  readonly name: string;
}

async function refuseFolder(source: FolderSource): Promise<never> {
  const received = await readJsonFrom(source, "adapter_config.json")
    ? "the folder of an adapter; load its base model, and then the adapter"
    : "a folder without it";
  throw new Error(`Cannot load model "${source.name}": config.json is required, received ${received}`);
}

/**
 * Loads a folder in Hugging Face's layout, in eval mode.
 * @param choose the architecture of a config.json; it throws for one that it does not know
 * @throws {Error} for a folder without config.json
 * @throws {TypeError} listing every missing, unexpected or mis-shaped tensor, before memory for any is allocated
 */
export async function loadModel<Config extends ModelConfig, Model extends CausalLM<Config>>(
  folder: FolderInput,
  choose: (json: Readonly<Record<string, unknown>>) => Family<Config, Model> | Promise<Family<Config, Model>>,
  options: LoadOptions = {},
): Promise<Model> {
  const source = openFolder(folder);
  const json = await readJsonFrom(source, "config.json");
  if (!json) return await refuseFolder(source);
  const family = await choose(json);
  const config = family.readConfig(json);
  config.nameOrPath = source.name;
  const generation = readGenerationConfig(await readJsonFrom(source, "generation_config.json") ?? {});
  const reader = await openCheckpoint(source);
  try {
    const model = await loadWeights(family, config, await SafetensorsWeights.of(reader, family), options);
    model.generationConfig = generation;
    return model;
  } finally {
    await reader.close();
  }
}

/** Builds a tree without memory, compares it with what there is, and fills it. */
export async function loadWeights<Config extends ModelConfig, Model extends CausalLM<Config>>(
  family: Family<Config, Model>,
  config: Config,
  weights: WeightSource,
  options: LoadOptions,
): Promise<Model> {
  if (checkStorage(options) !== null) await loadQuantizedFormats();
  if ((options.dtype ?? "float32") !== "float32") await loadHalfFormats();
  const { device = await defaultDevice(), seed } = options;
  await loadAttention(device.profile);
  const matrices = new Set<Parameter>();
  const source: ParameterSource = (shape, _init, matrix) => {
    const parameter = new Parameter(untracked(() => unallocated(device, shape)));
    if (matrix) matrices.add(parameter);
    return parameter;
  };
  const model = family.build(config, { device, seed }, source);
  try {
    const names = matchWeights(weights, model);
    const quantized = chooseStorage(model, matrices, weights, names, options);
    const parameters = new Map(model.namedParameters());
    model.random.allocate();
    for (const parameter of parameters.values()) allocate(parameter);
    let loaded = 0;
    for (const [path, name] of names) {
      const parameter = parameters.get(path)!;
      const turned = quantized.get(parameter);
      if (turned === undefined) await weights.fill(name, path, parameter);
      else {
        const { fillQuantized } = await import("./quantized_weights.ts");
        await fillQuantized(weights, [name, path], parameter, turned);
      }
      options.onProgress?.({ loaded: ++loaded, total: names.size, name: path });
    }
  } catch (error) {
    model.dispose();
    throw error;
  }
  return model.eval();
}

/**
 * Finds each parameter's tensor among weights.
 * @returns its name in the file, by path, in the order of the tree
 * @throws {TypeError} listing every tensor that is missing, mis-shaped, of another dtype, or unexpected
 */
function matchWeights(weights: WeightSource, model: CausalLM): Map<string, string> {
  const matched = new Map<string, string>();
  const lines: string[] = [];
  const turned = turnedInFiles(model);
  for (const [path, parameter] of model.namedParameters()) {
    const { shape } = parameter;
    const name = weights.find(path);
    if (name === undefined) {
      lines.push(`"${path}" is missing`);
      continue;
    }
    const found: { shape: Shape; problem: string | null } = weights.info(name, path);
    const given = weights.kept(name, path)?.always && turned.has(parameter)
      ? [...found.shape].reverse()
      : found.shape;
    if (found.problem !== null) lines.push(`"${name}" ${found.problem}`);
    else if (showShape(given) !== showShape(shape)) {
      lines.push(`"${name}" expected ${showShape(shape)}, found ${showShape(given)}`);
    }
    matched.set(path, name);
  }
  const used = new Set(matched.values());
  const tied = new Set(model.stateDict().keys()); // a tied weight may be in the file a second time
  for (const name of weights.names()) {
    if (!used.has(name) && !tied.has(name) && !weights.ignores(name)) lines.push(`"${name}" is unexpected`);
  }
  if (lines.length > 0) throw mismatchError(`Cannot load model "${weights.name}"`, lines);
  return matched;
}
