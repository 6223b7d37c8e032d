/**
 * A LoRA adapter as llama.cpp reads it: one GGUF file with a pair `<tensor>.lora_a`, `<tensor>.lora_b` for each layer.
 * llama.cpp computes y = W x + scale alpha / r B (A x) with one alpha for the file, so that other scalings are folded into B.
 * Source: llama.cpp's src/llama-adapter.cpp.
 * @module
 */

import type { Tensor } from "../../autograd/mod.ts";
import { inPairs, transposed } from "../../io/gguf_values.ts";
import { type GgufOut, ggufPieces, type GgufTensorOut } from "../../io/gguf_writer.ts";
import type { PeftConfig } from "../config/peft_config.ts";
import { LoraConfig } from "../lora/lora_config.ts";
import { KEY_PREFIX } from "../methods/adapter_format.ts";
import { patternValue } from "../targets/targets.ts";

/** What a model says of its tensors in llama.cpp's files. */
export interface GgufNames {
  /** `general.architecture`. */
  readonly architecture: string;
  /** Where a parameter lies; `rotaryHeads`: its rows are in ggml's order of rotary embeddings, in so many heads. */
  placeOf(path: string): { readonly name: string; readonly rotaryHeads?: number } | null;
}

/** A model that llama.cpp's files can hold. */
export interface GgufModel {
  /** Its names there; null where it has none. */
  readonly ggufFormat?: GgufNames | null;
  /** Loads them. */
  loadGgufFormat?(): Promise<void>;
  /** Whether its head is its embedding. */
  readonly config?: { readonly tieWordEmbeddings?: boolean };
}

function refuse(what: string): never {
  throw new TypeError(`Cannot save the adapter as GGUF: ${what}`);
}

/** Fails for what the format cannot hold. */
function checkConfig(config: PeftConfig): asserts config is LoraConfig {
  if (!(config instanceof LoraConfig)) refuse(`a LoRA adapter is required, received ${config.peftType}`);
  if (config.useDora) refuse("DoRA cannot be held by the format; merge it into the base instead");
  if (config.loraBias) refuse("lora_bias cannot be held by the format; merge it into the base instead");
  if (config.bias !== "none") refuse(`bias must be "none", received "${config.bias}"`);
  if (config.modulesToSave?.length) refuse("modules_to_save cannot be held by the format");
  if (config.trainableTokenIndices !== null) refuse("trained tokens cannot be held by the format");
  if (["pissa", "olora"].some((start) => String(config.initLoraWeights).startsWith(start))) {
    refuse(`an adapter that starts with ${config.initLoraWeights} needs { convertToLora: true }`);
  }
}

/**
 * The pieces of the file.
 * @param tensors the adapter's, by their keys on disk
 * @throws {TypeError} for an adapter or a model that the format cannot hold, by name
 */
export function ggufAdapter(
  config: PeftConfig,
  tensors: ReadonlyMap<string, Tensor>,
  model: GgufModel,
): AsyncIterableIterator<Uint8Array> {
  checkConfig(config);
  const names = model.ggufFormat ?? refuse("llama.cpp has no names for this model");
  const { loraAlpha, r, useRslora, alphaPattern } = config;
  const alpha = (useRslora ? loraAlpha * Math.sqrt(r) : loraAlpha) || r; // llama.cpp takes 0 for no scaling
  const metadata = new Map<string, GgufOut>([
    ["general.architecture", { string: names.architecture }],
    ["general.type", { string: "adapter" }],
    ["adapter.type", { string: "lora" }],
    ["adapter.lora.alpha", { f32: alpha }],
    ["general.quantization_version", { u32: 2 }],
  ]);
  const out: GgufTensorOut[] = [];
  for (const [key, tensor] of tensors) {
    const [, path, embedding, factor] = /^(.*)\.lora_(embedding_)?([AB])(?:\.weight)?$/.exec(key) ?? [];
    if (path === undefined) {
      if (key.endsWith(".base_layer.weight")) continue; // the base's own
      refuse(`"${key}" cannot be held by the format`);
    }
    const module = path.slice(KEY_PREFIX.length);
    if (module === "lm_head" && model.config?.tieWordEmbeddings) {
      refuse(
        "an adapter of a head that is the embedding cannot be held by the format; merge it into the base instead",
      );
    }
    const place = names.placeOf(`${module}.weight`) ?? refuse(`llama.cpp has no name for module "${module}"`);
    const [rows, columns] = tensor.shape;
    const isA = factor === "A";
    const rank = isA ? rows : columns;
    const own = patternValue(alphaPattern, module, loraAlpha);
    const scaling = useRslora ? own / Math.sqrt(rank) : own / rank;
    const fold = scaling / (alpha / rank);
    const turned = isA && embedding !== undefined; // llama.cpp wants A of an embedding as [vocabulary, r]
    out.push({
      name: `${place.name}.lora_${isA ? "a" : "b"}`,
      type: "F32",
      shape: turned ? [columns, rows] : [rows, columns],
      data: async () => {
        let values = await tensor.data() as Float32Array;
        if (turned) values = transposed(values, rows, columns);
        if (!isA && place.rotaryHeads !== undefined) values = inPairs(values, columns, place.rotaryHeads);
        if (!isA && fold !== 1) values = values.map((value) => value * fold);
        return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      },
    });
  }
  return ggufPieces(metadata, out);
}
