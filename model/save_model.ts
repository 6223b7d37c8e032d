/**
 * Models as files, as `transformers` writes them.
 * @module
 */

import { cast, readAndDispose, readNumbers, tidy, transpose, weightFormat } from "../autograd/mod.ts";
import { type FolderOutput, openTarget, writeJsonTo } from "../io/folder_target.ts";
import { fromFloat32, type SafetensorsInput } from "../io/safetensors.ts";
import type { Module, Parameter } from "../nn/mod.ts";
import { checkOptions } from "../options/names.ts";
import type { GenerationConfig } from "./generation/generation_config.ts";
import { writeGenerationConfig } from "./generation/save_generation_config.ts";
import { parseShardSize, writeShards } from "./save_shards.ts";
import { turnedWeights } from "./turned_weights.ts";

/** Number formats of a saved model, by their names in safetensors files. */
const SAVED_DTYPES = { float32: "F32", float16: "F16", bfloat16: "BF16" } as const;

/**
 * Options of a model's `savePretrained`.
 *
 * @example
 * ```ts
 * import { initDevice, memoryFolder } from "@peft/webgpu";
 * import { GPT2Config, GPT2LMHeadModel, type SaveModelOptions } from "@peft/webgpu/model";
 *
 * const config = new GPT2Config({ vocabSize: 64, nEmbd: 32, nLayer: 1, nHead: 2, bosTokenId: 0, eosTokenId: 0 });
 * const folder = memoryFolder(), options: SaveModelOptions = { dtype: "bfloat16", maxShardSize: "70KB" };
 * await new GPT2LMHeadModel(config, { device: await initDevice() }).savePretrained(folder, options);
 * console.log([...folder.files.keys()]); // two shards beside config.json, and model.safetensors.index.json
 * ```
 */
export interface SaveModelOptions {
  /** Number format of every tensor, rounded to the nearest; default as they are stored, blocks of few bits as float32. */
  dtype?: "float32" | "float16" | "bfloat16";
  /**
   * Bytes of one file at most, a number or a text such as "5GB" (of 10^9 bytes): a larger model is written in shards with
   * an index. Default: one file.
   */
  maxShardSize?: number | string;
}

/** Names of {@linkcode SaveModelOptions}. */
export const SAVE_MODEL_OPTIONS = ["dtype", "maxShardSize"] as const satisfies (keyof SaveModelOptions)[];

/** What is saved. */
interface SavedModel extends Module {
  readonly generationConfig: GenerationConfig;
}

/** Float32 numbers of a parameter as the file has them: [out, in] for weights that lie turned on the device. */
async function valuesOf(parameter: Parameter, turned: boolean): Promise<Float32Array> {
  if (!turned) return await readNumbers(parameter);
  return await readAndDispose(tidy(() => transpose(cast(parameter, "float32")))) as Float32Array;
}

/** Every parameter once, read from the device one at a time. */
function entries(
  model: SavedModel,
  dtype: SaveModelOptions["dtype"],
): Record<string, SafetensorsInput> {
  const turned = turnedWeights(model);
  return Object.fromEntries(
    [...model.namedParameters()].map(([name, parameter]) => {
      const isTurned = turned.has(parameter);
      const shape = isTurned ? [...parameter.shape].reverse() : parameter.shape;
      const stored = isTurned ? null : weightFormat(parameter.dtype)!.file;
      if (dtype) {
        const wanted = SAVED_DTYPES[dtype];
        const data = async () => fromFloat32(wanted, await valuesOf(parameter, isTurned));
        return [name, { dtype: wanted, shape, data }];
      }
      const data = () => stored ? parameter.data() : valuesOf(parameter, isTurned);
      return [name, { dtype: stored ?? "F32", shape, data }];
    }),
  );
}

/**
 * Writes `config.json`, `generation_config.json` and `model.safetensors`, or its shards.
 * @throws {TypeError} for a dtype or size that is none and a field of the generation's configuration of another type,
 * before anything is written
 */
export async function saveModel(
  model: SavedModel,
  config: Readonly<Record<string, unknown>>,
  folder: FolderOutput,
  options: SaveModelOptions,
): Promise<void> {
  checkOptions("save the model", options, SAVE_MODEL_OPTIONS);
  const { dtype, maxShardSize } = options;
  if (dtype !== undefined && !Object.hasOwn(SAVED_DTYPES, dtype)) {
    throw new TypeError(
      `Cannot save the model: dtype must be "float32", "float16" or "bfloat16", received ${
        JSON.stringify(dtype)
      }`,
    );
  }
  const maxBytes = parseShardSize(maxShardSize);
  const generation = writeGenerationConfig(model.generationConfig);
  const target = openTarget(folder, "save the model");
  await writeJsonTo(target, "config.json", { ...config, ...dtype && { dtype } });
  if (generation) await writeJsonTo(target, "generation_config.json", generation);
  await writeShards(target, entries(model, dtype), maxBytes);
}
