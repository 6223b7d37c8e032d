/**
 * GPT-2 weights in Hugging Face's files: with and without the `transformer.` prefix, with the mask buffers of old
 * files, sharded, F32, F16 or BF16. Everything is checked against the configuration before the device is touched, and
 * each tensor is streamed to it.
 * @module
 */

import { type Device, empty, type Shape, showShape, untracked } from "../autograd/mod.ts";
import type { TensorReader } from "../io/safetensors.ts";
import { fromFloat32, type SafetensorsDtype, toFloat32 } from "../io/safetensors.ts";
import { mismatchError, Parameter } from "../nn/mod.ts";
import type { ParameterSource } from "./gpt2/block.ts";
import type { GPT2Config } from "./gpt2/config.ts";

/** How frozen weights are stored on the device. */
export type WeightDType = "float32" | "float16";

/** Host bytes of a tensor in flight while loading: one buffer for all, since fresh memory costs as much as the read. */
export const CHUNK_BYTES = 8 * 2 ** 20;

/** Dtypes that are read; others are refused. */
const READABLE: ReadonlySet<string> = new Set(["F32", "F16", "BF16", "F64"]);

/** Buffers that old checkpoints carry: the causal mask, and the value of masked scores. */
const IGNORED = /(^|\.)attn\.(bias|masked_bias)$/;

/** Every parameter of a GPT-2 with a head, by path, in the order of the tree. */
export function gpt2ParameterShapes(config: GPT2Config): Map<string, Shape> {
  const { nEmbd: C, innerSize: I, vocabSize: V, nPositions: P, nLayer } = config;
  const shapes = new Map<string, Shape>([["transformer.wte.weight", [V, C]], ["transformer.wpe.weight", [
    P,
    C,
  ]]]);
  for (let i = 0; i < nLayer; i++) {
    const block: Record<string, Shape> = {
      "ln_1.weight": [C],
      "ln_1.bias": [C],
      "attn.c_attn.weight": [C, 3 * C],
      "attn.c_attn.bias": [3 * C],
      "attn.c_proj.weight": [C, C],
      "attn.c_proj.bias": [C],
      "ln_2.weight": [C],
      "ln_2.bias": [C],
      "mlp.c_fc.weight": [C, I],
      "mlp.c_fc.bias": [I],
      "mlp.c_proj.weight": [I, C],
      "mlp.c_proj.bias": [C],
    };
    for (const [name, shape] of Object.entries(block)) shapes.set(`transformer.h.${i}.${name}`, shape);
  }
  shapes.set("transformer.ln_f.weight", [C]);
  shapes.set("transformer.ln_f.bias", [C]);
  if (!config.tieWordEmbeddings) shapes.set("lm_head.weight", [V, C]);
  return shapes;
}

/**
 * Finds each parameter's tensor in a checkpoint.
 * @returns path of the parameter -> name in the file
 * @throws {TypeError} listing every tensor that is missing, mis-shaped, of another dtype, or unexpected
 */
export function matchCheckpoint(reader: TensorReader, config: GPT2Config): Map<string, string> {
  const shapes = gpt2ParameterShapes(config);
  const matched = new Map<string, string>();
  const lines: string[] = [];
  for (const [path, shape] of shapes) {
    const bare = path.replace(/^transformer\./, "");
    const name = reader.has(path) ? path : reader.has(bare) ? bare : undefined;
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
  const tied = config.tieWordEmbeddings ? "lm_head.weight" : "";
  for (const name of reader.names()) {
    if (!used.has(name) && !IGNORED.test(name) && name !== tied) lines.push(`"${name}" is unexpected`);
  }
  if (lines.length > 0) throw mismatchError(`Cannot load model "${reader.name}"`, lines);
  return matched;
}

/**
 * @internal Room for weights that are streamed in later; matrices in `dtype` where their rows are even.
 */
export function emptySource(device: Device, dtype: WeightDType): ParameterSource {
  return (shape, _init, matrix) => {
    const half = matrix && dtype === "float16" && shape.at(-1)! % 2 === 0;
    return new Parameter(untracked(() => empty(device, shape, half ? "float16" : "float32")));
  };
}

/**
 * Streams one tensor of a file into a parameter, converting as the parameter's dtype wants.
 * @param room CHUNK_BYTES bytes, used anew for each piece
 */
export async function streamTensor(
  reader: TensorReader,
  name: string,
  parameter: Parameter,
  room: Uint8Array<ArrayBuffer>,
): Promise<void> {
  const { dtype } = reader.info(name);
  const wanted: SafetensorsDtype = parameter.dtype === "float16" ? "F16" : "F32";
  let at = 0;
  for await (const chunk of reader.readChunks(name, CHUNK_BYTES, room)) {
    const bytes = dtype === wanted
      ? chunk
      : wanted === "F32"
      ? toFloat32(dtype, chunk)
      : fromFloat32("F16", toFloat32(dtype, chunk));
    parameter.device.write(parameter.window(at, bytes.byteLength), bytes);
    at += bytes.byteLength;
  }
}

/** What `savePretrained` writes: every parameter once, read from the device one at a time. */
export function checkpointEntries(
  parameters: Iterable<[string, Parameter]>,
): Record<string, { dtype: SafetensorsDtype; shape: Shape; data: () => Promise<ArrayBufferView> }> {
  const entries: ReturnType<typeof checkpointEntries> = {};
  for (const [name, parameter] of parameters) {
    const dtype = parameter.dtype === "float16" ? "F16" : "F32";
    entries[name] = { dtype, shape: parameter.shape, data: () => parameter.data() };
  }
  return entries;
}
