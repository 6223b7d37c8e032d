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
  showShape,
  storageType,
  unallocated,
  untracked,
  weightFormat,
  type WeightType,
} from "../autograd/mod.ts";
import { openCheckpoint } from "../io/checkpoint.ts";
import type { FolderInput } from "../io/file_source.ts";
import { readJsonFrom } from "../io/json.ts";
import { openFolder } from "../io/open_file.ts";
import { fromFloat32, type TensorReader, toFloat32 } from "../io/safetensors.ts";
import { mismatchError, Parameter } from "../nn/mod.ts";
import type { Family } from "./family.ts";
import type { CausalLM } from "./causal_lm.ts";
import type { ModelConfig } from "./facts.ts";
import type { ParameterSource } from "./parameter_source.ts";

/** How frozen weights are stored on the device. */
export type WeightDType = WeightType;

/** Options of `fromPretrained` for an open folder. */
export interface LoadOptions {
  /** Where the weights go; default the default device, made if there is none. */
  device?: Device;
  /** Storage of weight matrices; float16 weights are frozen. Default "float32". */
  dtype?: WeightDType;
  /** Seed of dropout; default 0. */
  seed?: number;
  /** Called after each tensor. */
  onProgress?: (progress: LoadProgress) => void;
}

/** How far loading has come. */
export interface LoadProgress {
  /** Number of tensors loaded so far. */
  readonly loaded: number;
  /** Number of tensors in the model. */
  readonly total: number;
  /** Name of the tensor that was loaded last. */
  readonly name: string;
}

/** Host bytes read at a time. One buffer serves all reads, because fresh memory costs as much as the read itself. */
const CHUNK_BYTES = 8 * 2 ** 20;

/** Dtypes that are read; others are refused. */
const READABLE: ReadonlySet<string> = new Set(["F32", "F16", "BF16", "F64"]);

/**
 * Loads a folder in Hugging Face's layout, in eval mode.
 * @param choose the architecture of a config.json; it throws for one that it does not know
 * @throws {Error} for a folder without config.json
 * @throws {TypeError} listing every missing, unexpected or mis-shaped tensor, before memory for any is allocated
 */
export async function loadModel<Config extends ModelConfig, Model extends CausalLM<Config>>(
  folder: FolderInput,
  choose: (json: Readonly<Record<string, unknown>>) => Family<Config, Model>,
  options: LoadOptions = {},
): Promise<Model> {
  const source = openFolder(folder);
  const json = await readJsonFrom(source, "config.json");
  if (!json) {
    throw new Error(
      `Cannot load model "${source.name}": config.json is required, received a folder without it`,
    );
  }
  const family = choose(json);
  const config = family.readConfig(json);
  config.nameOrPath = source.name;
  const reader = await openCheckpoint(source);
  try {
    const { device = await defaultDevice(), seed } = options;
    const room = unallocatedSource(device, options.dtype ?? "float32");
    const model = family.build(config, { device, seed }, room);
    try {
      await fill(model, matchCheckpoint(reader, model, family), reader, options.onProgress);
    } catch (error) {
      model.dispose();
      throw error;
    }
    return model.eval();
  } finally {
    await reader.close();
  }
}

/** Parameters without memory yet; matrices in `dtype` where their rows consist of whole blocks of it. */
function unallocatedSource(device: Device, dtype: WeightDType): ParameterSource {
  return (shape, _init, matrix) => {
    const stored = matrix ? storageType(dtype, shape) : "float32";
    return new Parameter(untracked(() => unallocated(device, shape, stored)));
  };
}

/**
 * Finds each parameter's tensor in a checkpoint.
 * @returns the name in the file of each parameter, by path, in the order of the tree
 * @throws {TypeError} listing every tensor that is missing, mis-shaped, of another dtype, or unexpected
 */
export function matchCheckpoint(
  reader: TensorReader,
  model: CausalLM,
  family: Pick<Family, "fileNames" | "ignores">,
): Map<string, string> {
  const matched = new Map<string, string>();
  const lines: string[] = [];
  for (const [path, { shape }] of model.namedParameters()) {
    const name = family.fileNames(path).find((name) => reader.has(name));
    if (name === undefined) {
      lines.push(`"${path}" is missing`);
      continue;
    }
    const info = reader.info(name);
    if (!READABLE.has(info.dtype)) lines.push(`"${name}" expected F32, F16 or BF16, found ${info.dtype}`);
    else if (showShape(info.shape) !== showShape(shape)) {
      lines.push(`"${name}" expected ${showShape(shape)}, found ${showShape(info.shape)}`);
    }
    matched.set(path, name);
  }
  const used = new Set(matched.values());
  const tied = new Set(model.stateDict().keys()); // a tied weight may be in the file a second time
  for (const name of reader.names()) {
    if (!used.has(name) && !tied.has(name) && !family.ignores(name)) lines.push(`"${name}" is unexpected`);
  }
  if (lines.length > 0) throw mismatchError(`Cannot load model "${reader.name}"`, lines);
  return matched;
}

/** Allocates memory for every parameter, then fills it. @param names the name in the file of each path */
async function fill(
  model: CausalLM,
  names: ReadonlyMap<string, string>,
  reader: TensorReader,
  onProgress: LoadOptions["onProgress"],
): Promise<void> {
  const parameters = new Map(model.namedParameters());
  model.random.allocate();
  for (const parameter of parameters.values()) allocate(parameter);
  const room = new Uint8Array(CHUNK_BYTES);
  let loaded = 0;
  for (const [path, name] of names) {
    await streamTensor(reader, name, parameters.get(path)!, room);
    onProgress?.({ loaded: ++loaded, total: names.size, name: path });
  }
}

/**
 * Streams one tensor of a file into a parameter, converted to the parameter's dtype.
 * @param room CHUNK_BYTES bytes, used again for each piece
 */
async function streamTensor(
  reader: TensorReader,
  name: string,
  parameter: Parameter,
  room: Uint8Array<ArrayBuffer>,
): Promise<void> {
  const { dtype } = reader.info(name);
  const { file } = weightFormat(parameter.dtype)!;
  let at = 0;
  for await (const chunk of reader.readChunks(name, CHUNK_BYTES, room)) {
    const numbers = dtype === file ? null : toFloat32(dtype, chunk);
    const bytes = numbers === null ? chunk : file === "F32" ? numbers : fromFloat32(file, numbers);
    parameter.device.write(parameter.window(at, bytes.byteLength), bytes);
    at += bytes.byteLength;
  }
}
