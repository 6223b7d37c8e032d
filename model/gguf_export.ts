/**
 * Whole models as GGUF files for llama.cpp and what is built on it.
 * @module
 */

import { readNumbers } from "../autograd/mod.ts";
import { type FolderOutput, openTarget } from "../io/folder_target.ts";
import { type GgufOut, ggufPieces, type GgufTensorOut } from "../io/gguf_writer.ts";
import { fromFloat32 } from "../io/safetensors.ts";
import { inPairs, quantizeQ8_0, transposed } from "../io/gguf_values.ts";
import type { Parameter } from "../nn/mod.ts";
import { checkOptions } from "../options/names.ts";
import type { CausalLM } from "./causal_lm.ts";
import type { GgufPlace } from "./gguf_layout.ts";
import { writeGgufVocabulary } from "./tokenizer/gguf_vocabulary_writer.ts";
import type { Tokenizer } from "./tokenizer/tokenizer.ts";
import { turnedWeights } from "./turned_weights.ts";

/**
 * Options of `exportGguf`.
 *
 * @example
 * ```ts
 * import { AutoTokenizer, exportGguf, type ExportGgufOptions, initDevice, memoryFolder } from "@peft/webgpu";
 * import { GPT2Config, GPT2LMHeadModel } from "@peft/webgpu/model";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const { vocabSize, eosTokenId } = tokenizer, folder = memoryFolder();
 * const config = new GPT2Config({ vocabSize, nEmbd: 32, nLayer: 1, nHead: 2, bosTokenId: 0, eosTokenId });
 * const model = new GPT2LMHeadModel(config, { device: await initDevice() });
 * const options: ExportGgufOptions = { dtype: "q8_0", tokenizer };
 * await exportGguf(model, { folder, name: "mine-Q8_0.gguf" }, options);
 * console.log(folder.files.has("mine-Q8_0.gguf")); // true
 * ```
 */
export interface ExportGgufOptions {
  /** Number format of the matrices; vectors are float32. Default "f16". */
  dtype?: "f16" | "q8_0";
  /** The model's tokenizer, which llama.cpp needs to take and give text; without it the file takes ids alone. */
  tokenizer?: Tokenizer;
}

/**
 * Where a file is written: its path, or its name in a folder of any kind.
 *
 * @example
 * ```ts
 * import { memoryFolder } from "@peft/webgpu";
 * import type { GgufOutput } from "@peft/webgpu/gguf";
 *
 * const onDisk: GgufOutput = "out/small-F16.gguf";
 * const inMemory: GgufOutput = { folder: memoryFolder(), name: "small-F16.gguf" }; // in a browser: or a directory handle
 * console.log(onDisk, inMemory.name);
 * ```
 */
export type GgufOutput = string | { readonly folder: FolderOutput; readonly name: string };

/** llama.cpp's numbers for `general.file_type`. */
const FILE_TYPES = { f16: 1, q8_0: 7 } as const;

/** Numbers of a parameter as the file has them, float32. */
async function valuesOf(parameter: Parameter, place: GgufPlace): Promise<Float32Array> {
  let values: Float32Array = await readNumbers(parameter);
  const [rows, columns = 1] = parameter.shape;
  if (place.rotaryHeads !== undefined) values = inPairs(values, columns, place.rotaryHeads);
  if (place.shift) values = values.map((value) => value - place.shift!);
  return place.transposed ? transposed(values, rows, columns) : values;
}

function tensorOf(parameter: Parameter, place: GgufPlace, dtype: "f16" | "q8_0"): GgufTensorOut {
  const shape = place.transposed ? [...parameter.shape].reverse() : [...parameter.shape];
  const plain = shape.length === 1 || place.name === "position_embd.weight"; // as llama.cpp's converter
  const type = plain ? "F32" : dtype === "q8_0" && shape[1] % 32 === 0 ? "Q8_0" : "F16";
  return {
    name: place.name,
    type,
    shape,
    data: async () => {
      const values = await valuesOf(parameter, place);
      return type === "Q8_0" ? quantizeQ8_0(values) : fromFloat32(type, values);
    },
  };
}

/**
 * Writes a model as one GGUF file for llama.cpp. Adapters are merged before.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, exportGguf, getPeftModel, LoraConfig } from "@peft/webgpu";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const peftModel = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] })); // is trained here
 * await exportGguf(await peftModel.mergeAndUnload(), "out/tuned.gguf", { dtype: "q8_0", tokenizer });
 * ```
 * @param output the file's path, or folder and name; what was there is replaced only when the new one is whole
 * @throws {TypeError} for what is no place of a file, a model with adapters, one that llama.cpp has no names for or computes
 *   in another way, and a tokenizer that it does not know
 */
export async function exportGguf(
  model: CausalLM,
  output: GgufOutput,
  options: ExportGgufOptions = {},
): Promise<void> {
  checkOptions("export the model", options, ["dtype", "tokenizer"]);
  const { dtype = "f16", tokenizer } = options;
  const refuse = (problem: string): never => {
    throw new TypeError(`Cannot export the model: ${problem}`);
  };
  if (!Object.hasOwn(FILE_TYPES, dtype)) {
    refuse(`dtype must be "f16" or "q8_0", received ${JSON.stringify(dtype)}`);
  }
  const place = typeof output === "string" ? placeOf(output) : output;
  if (!place?.folder || !place.name) {
    refuse(
      `the path of a file, or { folder, name }, is required, received ${
        typeof output === "string"
          ? `the path ${JSON.stringify(output)}`
          : output
          ? "an object without both"
          : String(output)
      }`,
    );
  }
  if (!("ggufFormat" in model)) refuse("a model without adapters is required; mergeAndUnload() gives one");
  await model.loadGgufFormat();
  const format = model.ggufFormat ?? refuse("llama.cpp has no names for it");
  const adapted = [...model.namedParameters()].find(([name]) => format.placeOf(name) === null);
  if (adapted) {
    refuse(`parameter "${adapted[0]}" is none of the base's; merge adapters with mergeAndUnload() before`);
  }
  const { architecture } = format;
  const metadata = new Map<string, GgufOut>([
    ["general.architecture", { string: architecture }],
    ["general.type", { string: "model" }],
    ["general.name", {
      string: model.config.nameOrPath?.split(/[/\\]/).at(-1)?.replace(/\.gguf$/, "") || architecture,
    }],
    ["general.file_type", { u32: FILE_TYPES[dtype] }],
    ["general.quantization_version", { u32: 2 }],
    ...[...format.metadata()].map(([key, value]) => [`${architecture}.${key}`, value] as const),
    ...await writeGgufVocabulary(tokenizer, model.facts.vocabSize),
  ]);
  const turned = turnedWeights(model); // lie as in the file
  const tensors = [...model.namedParameters()].map(([name, parameter]) => {
    const place = format.placeOf(name)!;
    return tensorOf(parameter, turned.has(parameter) ? { ...place, transposed: false } : place, dtype);
  });
  for (const [name, values] of format.extraTensors()) {
    tensors.push({
      name,
      type: "F32",
      shape: [values.length],
      data: async () => await fromFloat32("F32", values),
    });
  }
  const target = openTarget(place.folder, "export the model");
  await target.write(place.name, ggufPieces(metadata, tensors));
}

/** Folder and name of a path. */
function placeOf(path: string): { folder: string; name: string } {
  const cut = Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\")) + 1;
  return { folder: path.slice(0, cut) || ".", name: path.slice(cut) };
}
