/**
 * Weights in Hugging Face's files: safetensors, in one file or shards, F32, F16, BF16 or F64, or quantised by bitsandbytes.
 * @module
 */

import { type Shape, WEIGHT_TYPES, weightFormat } from "../autograd/mod.ts";
import type { SafetensorsDtype, TensorReader } from "../io/safetensors.ts";
import type { Parameter } from "../nn/mod.ts";
import type { Family } from "./family.ts";
import type { BitsandbytesWeights } from "./bitsandbytes_weights.ts";
import type { KeptType, WeightSource } from "./weight_source.ts";

/** Host bytes read at a time. One buffer serves all reads, because fresh memory costs as much as the read itself. */
const CHUNK_BYTES = 8 * 2 ** 20;

/** Dtypes that are read; others are refused. */
const READABLE: ReadonlySet<string> = new Set(["F32", "F16", "BF16", "F64"]);

/** What bitsandbytes writes beside a weight that it has quantised. */
const OF_BITSANDBYTES = /\.quant_state\.bitsandbytes__|\.SCB$/;

const NOTHING_QUANTIZED: BitsandbytesWeights = { weights: new Map(), parts: new Set() };

async function quantizedIn(reader: TensorReader): Promise<BitsandbytesWeights> {
  const { findBitsandbytes } = await import("./bitsandbytes_weights.ts");
  return await findBitsandbytes(reader);
}

/** Converts the numbers of a file to the format of a parameter. */
async function converter(
  from: SafetensorsDtype,
  to: string | undefined,
): Promise<(chunk: Uint8Array) => Uint8Array<ArrayBuffer> | Float32Array<ArrayBuffer>> {
  const { fromFloat32, toFloat32 } = await import("../io/safetensors_numbers.ts");
  return (chunk) => {
    const numbers = toFloat32(from, chunk);
    return to === "F16" ? fromFloat32(to, numbers) : numbers;
  };
}

/** The weights of a folder. */
export class SafetensorsWeights implements WeightSource {
  readonly #reader: TensorReader;
  readonly #family: Pick<Family, "fileNames" | "ignores">;
  readonly #quantized: BitsandbytesWeights;
  readonly #room: Uint8Array<ArrayBuffer> = new Uint8Array(CHUNK_BYTES);

  /** Use `SafetensorsWeights.of`. */
  private constructor(
    reader: TensorReader,
    family: Pick<Family, "fileNames" | "ignores">,
    quantized: BitsandbytesWeights,
  ) {
    this.#reader = reader;
    this.#family = family;
    this.#quantized = quantized;
  }

  /** The weights of an open checkpoint. The family says what its files call a parameter. */
  static async of(
    reader: TensorReader,
    family: Pick<Family, "fileNames" | "ignores">,
  ): Promise<SafetensorsWeights> {
    const isQuantized = reader.names().some((name) => OF_BITSANDBYTES.test(name));
    return new SafetensorsWeights(
      reader,
      family,
      isQuantized ? await quantizedIn(reader) : NOTHING_QUANTIZED,
    );
  }

  /** What messages call the files. */
  get name(): string {
    return this.#reader.name;
  }

  /** Names of all tensors. */
  names(): string[] {
    return this.#reader.names();
  }

  /** The tensor of a parameter; undefined where there is none. */
  find(path: string): string | undefined {
    return this.#family.fileNames(path).find((name) => this.#reader.has(name));
  }

  /** Its shape, and what keeps it from being read, or null. */
  info(name: string): { shape: Shape; problem: string | null } {
    const quantized = this.#quantized.weights.get(name);
    if (quantized) return quantized;
    const { dtype, shape } = this.#reader.info(name);
    return { shape, problem: READABLE.has(dtype) ? null : `expected F32, F16 or BF16, found ${dtype}` };
  }

  /** The element type with the same bytes. */
  kept(name: string): KeptType | null {
    const quantized = this.#quantized.weights.get(name);
    if (quantized) return { type: quantized.type, always: true };
    const { dtype } = this.#reader.info(name);
    const type = WEIGHT_TYPES.find((type) => weightFormat(type)?.file === dtype);
    return type ? { type, always: false } : null;
  }

  /** Whether a tensor that no parameter wants may be there. */
  ignores(name: string): boolean {
    return this.#quantized.parts.has(name) || this.#family.ignores(name);
  }

  /** Streams a tensor into a parameter, converted to the parameter's dtype. */
  async fill(name: string, _path: string, parameter: Parameter): Promise<void> {
    const quantized = this.#quantized.weights.get(name);
    if (quantized) return parameter.device.write(parameter.view, await quantized.read());
    const { dtype } = this.#reader.info(name);
    const { file } = weightFormat(parameter.dtype)!;
    const convert = dtype === file ? null : await converter(dtype, file);
    let at = 0;
    for await (const chunk of this.#reader.readChunks(name, CHUNK_BYTES, this.#room)) {
      const bytes = convert ? convert(chunk) : chunk;
      parameter.device.write(parameter.window(at, bytes.byteLength), bytes);
      at += bytes.byteLength;
    }
  }
}
