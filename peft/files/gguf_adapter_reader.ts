/**
 * Reads a LoRA adapter from a GGUF file, as llama.cpp's converter and `savePretrained` with `format: "gguf"` write it: the
 * reverse of `gguf_adapter.ts`. The model says which of its modules a tensor belongs to.
 * Source: llama.cpp's src/llama-adapter.cpp.
 * @module
 */

import { dequantize, type Device } from "../../autograd/mod.ts";
import type { FileInput } from "../../io/file_source.ts";
import { GgufError, type GgufTensorInfo } from "../../io/gguf_header.ts";
import { type GgufFile, openGguf } from "../../io/gguf_reader.ts";
import { READABLE_TYPES } from "../../io/gguf_types.ts";
import { inHalves, transposed } from "../../io/gguf_values.ts";
import { quote } from "../../io/relative_path.ts";
import { toFloat32 } from "../../io/safetensors.ts";
import { Embedding, mismatchError, type Module } from "../../nn/mod.ts";
import { LoraConfig } from "../lora/lora_config.ts";
import { KEY_PREFIX } from "../methods/adapter_format.ts";
import type { AdapterValues } from "./adapter_files.ts";
import type { GgufModel } from "./gguf_adapter.ts";

/** A module that a GGUF file has a name for. */
interface Place {
  readonly path: string;
  readonly isEmbedding: boolean;
  /** Heads whose rows lie in ggml's order of rotary embeddings. */
  readonly rotaryHeads?: number;
}

/** One layer's pair. */
interface Pair {
  readonly place: Place;
  readonly rank: number;
  /** Names of the tensors. */
  readonly a: string;
  readonly b: string;
}

/** Whether a module is an embedding, or wraps one. */
function isEmbedding(module: Module): boolean {
  return module instanceof Embedding || "base_layer" in module && isEmbedding(module.base_layer as Module);
}

/** The modules of a model by the names that the file has for their weights. */
function placesOf(model: Module & GgufModel): Map<string, Place> {
  const places = new Map<string, Place>();
  for (const [path, module] of model.namedModules()) {
    if (path === "lm_head" && model.config?.tieWordEmbeddings) continue; // has no weight of its own
    const place = model.ggufFormat?.placeOf(`${path}.weight`);
    if (place) {
      places.set(place.name, { path, isEmbedding: isEmbedding(module), rotaryHeads: place.rotaryHeads });
    }
  }
  return places;
}

/** Fails for a file that holds no LoRA adapter of the model's architecture. */
function checkMetadata(file: GgufFile, model: GgufModel): void {
  const refuse = (problem: string): never => {
    throw new GgufError(`Cannot load adapter ${quote(file.name)}: ${problem}`);
  };
  const text = (key: string) => {
    const value = file.metadata.get(key);
    return value === undefined ? "none" : typeof value === "string" ? quote(value) : typeof value;
  };
  if (text("general.type") !== '"adapter"') {
    const type = text("general.type");
    refuse(
      `general.type must be "adapter", received ${type}; AutoModelForCausalLM.fromPretrained() loads a model's file`,
    );
  }
  if (text("adapter.type") !== '"lora"') {
    refuse(`adapter.type must be "lora", received ${text("adapter.type")}`);
  }
  if (!model.ggufFormat) {
    throw new TypeError(
      `Cannot load adapter ${quote(file.name)}: a model that llama.cpp has names for is required, received ${
        (model as Module).constructor.name
      }`,
    );
  }
  const { architecture } = model.ggufFormat;
  if (text("general.architecture") !== quote(architecture)) {
    refuse(
      `general.architecture must be the model's, ${quote(architecture)}, received ${
        text("general.architecture")
      }`,
    );
  }
  if (file.metadata.has("adapter.alora.invocation_tokens")) {
    refuse("a LoRA adapter that always acts is required, received one that waits for invocation tokens");
  }
}

/** Whether a tensor's numbers can be read. */
const isReadable = ({ type }: GgufTensorInfo) => type in READABLE_TYPES;

/**
 * The pairs of a file.
 * @throws {TypeError} listing every tensor that belongs to no module, has no partner, or does not fit its partner
 */
function pairsOf(file: GgufFile, places: ReadonlyMap<string, Place>): Pair[] {
  const lines: string[] = [];
  const skipped: string[] = [];
  const pairs: Pair[] = [];
  for (const [name, info] of file.tensors) {
    const [, tensor, half] = /^(.*)\.lora_([ab])$/.exec(name) ?? [];
    const place = places.get(tensor);
    if (tensor === undefined && /_norm\.weight$/.test(name)) skipped.push(name);
    else if (tensor === undefined) lines.push(`"${name}" is no part of a LoRA layer`);
    else if (!place) lines.push(`"${name}" belongs to no module of the model`);
    else if (info.shape.length !== 2) {
      lines.push(`"${name}" must be a matrix, found [${info.shape.join(", ")}]`);
    } else if (!isReadable(info)) {
      lines.push(`"${name}" is of ${info.type}: ${Object.keys(READABLE_TYPES).join(", ")} can be read`);
    }
    if (!place || half === "b") {
      if (place && !file.tensors.has(`${tensor}.lora_a`)) lines.push(`"${tensor}.lora_a" is missing`);
      continue;
    }
    const b = `${tensor}.lora_b`;
    const other = file.tensors.get(b);
    if (!other) {
      lines.push(`"${b}" is missing`);
      continue;
    }
    const rank = info.shape[place.isEmbedding ? 1 : 0];
    if (other.shape[1] !== rank) {
      lines.push(`"${name}" has rank ${rank}, "${b}" has ${other.shape[1]}`);
    }
    pairs.push({ place, rank, a: name, b });
  }
  if (lines.length === 0 && pairs.length === 0) lines.push("no LoRA layer is there");
  if (lines.length > 0) throw mismatchError(`Cannot load adapter "${file.name}"`, lines);
  if (skipped.length > 0) {
    console.warn(
      `Found weights of norms in the adapter, which llama.cpp leaves out too: [${skipped.join(", ")}]`,
    );
  }
  return pairs;
}

/** The value that most have. */
function usual(values: readonly number[]): number {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].reduce((most, one) => one[1] > most[1] ? one : most)[0];
}

/** Names of modules: the last part alone, such as `q_proj`, where all modules of that name have a pair. */
function targetsOf(pairs: readonly Pair[], places: ReadonlyMap<string, Place>): string[] {
  const last = (path: string) => path.split(".").at(-1)!;
  const count = (paths: string[], name: string) => paths.filter((path) => last(path) === name).length;
  const [own, all] = [pairs.map(({ place }) => place.path), [...places.values()].map(({ path }) => path)];
  return [
    ...new Set(own.map((path) => {
      const name = last(path);
      return count(own, name) === count(all, name) ? name : path;
    })),
  ];
}

/** The configuration that a file stands for: llama.cpp scales by alpha / rank, and by 1 for alpha 0. */
function configOf(file: GgufFile, pairs: readonly Pair[], places: ReadonlyMap<string, Place>): LoraConfig {
  const alpha = file.metadata.get("adapter.lora.alpha") ?? 0;
  if (typeof alpha !== "number" || !(alpha >= 0 && alpha < Infinity)) {
    throw new GgufError(
      `Cannot load adapter ${quote(file.name)}: adapter.lora.alpha must be a number from 0 on, received ${
        String(alpha)
      }`,
    );
  }
  const r = usual(pairs.map(({ rank }) => rank));
  const others = Object.fromEntries(
    pairs.filter(({ rank }) => rank !== r).map(({ place, rank }) => [place.path, rank]),
  );
  return new LoraConfig({
    r,
    loraAlpha: alpha || r,
    rankPattern: others,
    alphaPattern: alpha ? {} : others,
    targetModules: targetsOf(pairs, places),
    taskType: "CAUSAL_LM",
    inferenceMode: true,
  });
}

/** A tensor's numbers. */
async function numbersOf(file: GgufFile, name: string, device: Device): Promise<Float32Array<ArrayBuffer>> {
  const { type } = file.tensors.get(name)!;
  const bytes = await file.read(name);
  if (type === "F32" || type === "F16" || type === "BF16") return toFloat32(type, bytes);
  const values = dequantize(bytes, READABLE_TYPES[type as keyof typeof READABLE_TYPES], device);
  try {
    return await values.data() as Float32Array<ArrayBuffer>;
  } finally {
    values.dispose();
  }
}

/** An adapter's configuration, what messages call its file, and its values by their keys in `peft`'s files. */
export interface GgufAdapter {
  readonly config: LoraConfig;
  readonly name: string;
  readonly values: AdapterValues;
}

/**
 * Reads an adapter for a model.
 * @throws {GgufError} for a file that is not valid, is no LoRA adapter, or is one of another architecture
 * @throws {TypeError} listing every tensor that does not fit, or for a model that llama.cpp has no names for
 */
export async function readGgufAdapter(input: FileInput, model: Module & GgufModel): Promise<GgufAdapter> {
  await model.loadGgufFormat?.();
  const file = await openGguf(input);
  try {
    checkMetadata(file, model);
    const places = placesOf(model);
    const pairs = pairsOf(file, places);
    const config = configOf(file, pairs, places);
    const [{ device }] = model.parameters();
    const values = new Map<string, { shape: readonly number[]; data: Float32Array<ArrayBuffer> }>();
    for (const { place: { path, isEmbedding, rotaryHeads }, a, b } of pairs) {
      const key = `${KEY_PREFIX}${path}.lora_`;
      const { shape: [rows, columns] } = file.tensors.get(a)!;
      let data = await numbersOf(file, a, device);
      if (isEmbedding) data = transposed(data, rows, columns) as typeof data;
      values.set(isEmbedding ? `${key}embedding_A` : `${key}A.weight`, {
        shape: isEmbedding ? [columns, rows] : [rows, columns],
        data,
      });
      const { shape } = file.tensors.get(b)!;
      data = await numbersOf(file, b, device);
      if (rotaryHeads !== undefined) data = inHalves(data, shape[1], rotaryHeads);
      values.set(isEmbedding ? `${key}embedding_B` : `${key}B.weight`, { shape, data });
    }
    return { config, name: file.name, values };
  } finally {
    await file.close();
  }
}
