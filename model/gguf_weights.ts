/**
 * Weights in GGUF files: llama.cpp's names and layouts under the paths of a module tree. Blocks go to the device as they
 * are, into a parameter of their format or, for another, to be dequantised there while they are streamed.
 * @module
 */

import {
  add,
  cast,
  dequantize,
  full,
  isQuantized,
  noGrad,
  scale,
  type Shape,
  type Tensor,
  tidy,
  transpose,
  type WeightType,
} from "../autograd/mod.ts";
import type { Bytes } from "../io/file_source.ts";
import type { GgufTensorInfo } from "../io/gguf_header.ts";
import type { GgufFile } from "../io/gguf_reader.ts";
import { GGML_TYPES, READABLE_TYPES } from "../io/gguf_types.ts";
import { inHalves } from "../io/gguf_values.ts";
import type { Parameter } from "../nn/mod.ts";
import type { GgufLayout, GgufPlace } from "./gguf_layout.ts";
import type { KeptType, WeightSource } from "./weight_source.ts";

/** Elements that are dequantised at a time: whole blocks of every format, and windows at any device's alignment. */
const CHUNK_ELEMENTS = 2 ** 21;

/** The element type of a tensor; undefined for one that cannot be read. */
const typeOf = ({ type }: GgufTensorInfo): WeightType | undefined =>
  READABLE_TYPES[type as keyof typeof READABLE_TYPES];

/** The weights of a GGUF file for the parameters of a tree. */
export class GgufWeights<Config> implements WeightSource {
  readonly #file: GgufFile;
  readonly #layout: GgufLayout<Config>;
  readonly #config: Config;

  /** The layout says where a model of this configuration has its weights. */
  constructor(file: GgufFile, layout: GgufLayout<Config>, config: Config) {
    this.#file = file;
    this.#layout = layout;
    this.#config = config;
  }

  /** The first place of a parameter that the file has, else the usual one. */
  #placeOf(path: string): GgufPlace {
    const places = this.#layout.placesOf(path, this.#config);
    return places.find(({ name }) => this.#file.tensors.has(name)) ?? places[0];
  }

  /** Whether a tensor that no parameter wants may be there. */
  ignores(name: string): boolean {
    return this.#layout.ignores?.(name) ?? false;
  }

  /** What messages call the file. */
  get name(): string {
    return this.#file.name;
  }

  /** Names of all tensors. */
  names(): string[] {
    return [...this.#file.tensors.keys()];
  }

  /** The tensor of a parameter; undefined where the file has none. */
  find(path: string): string | undefined {
    const { name } = this.#placeOf(path);
    return this.#file.tensors.has(name) ? name : undefined;
  }

  /** The shape that the parameter at `path` has in the file, and why it cannot be read, or null. */
  info(name: string, path: string): { shape: Shape; problem: string | null } {
    const info = this.#file.tensors.get(name)!;
    const { shape } = info;
    const { rows, transposed } = this.#placeOf(path);
    const problem = typeOf(info)
      ? null
      : `is of ${info.type}: ${Object.keys(READABLE_TYPES).join(", ")} can be read`;
    const part = rows && rows[1] <= shape[0] ? [rows[1] - rows[0], ...shape.slice(1)] : [...shape];
    return { shape: transposed ? part.reverse() : part, problem };
  }

  /** The file's element type, where the numbers are the parameter's. */
  kept(name: string, path: string): KeptType | null {
    const type = this.#placeOf(path).shift ? undefined : typeOf(this.#file.tensors.get(name)!);
    return type ? { type, always: false } : null;
  }

  /** Fills a parameter that has memory. */
  async fill(name: string, path: string, parameter: Parameter): Promise<void> {
    const info = this.#file.tensors.get(name)!;
    const place = this.#placeOf(path);
    const type = typeOf(info)!;
    // Formats of few bits lie [out, in] in a parameter as well.
    const turned = place.transposed && !isQuantized(parameter.dtype);
    const same = type === parameter.dtype && !turned && !place.shift;
    const { device } = parameter;
    const put = (bytes: Bytes, at: number, shape: Shape) => {
      if (same) {
        const format = GGML_TYPES[info.type];
        device.write(parameter.window(at / format.elements * format.bytes, bytes.byteLength), bytes);
        return;
      }
      noGrad(() =>
        tidy(() => {
          const values = shifted(dequantize(bytes, type, device), place);
          write(parameter, at, turned ? transpose(values.alias(shape)) : values);
        })
      );
    };
    if (turned || place.rotaryHeads !== undefined || place.rows) {
      const [count, width = 1] = info.shape;
      const [first, end] = place.rows ?? [0, count];
      const bytes = await this.#readRows(name, info, place, first, end);
      put(bytes, 0, [end - first, width]);
      return;
    }
    const { elements, bytes } = GGML_TYPES[info.type];
    let at = 0;
    for await (const chunk of this.#file.readChunks(name, CHUNK_ELEMENTS / elements * bytes)) {
      const size = chunk.byteLength / bytes * elements;
      put(chunk, at, [size]);
      at += size;
    }
  }

  /** Rows of a tensor in Hugging Face's order; blocks move with their rows. */
  async #readRows(
    name: string,
    info: GgufTensorInfo,
    { rotaryHeads }: GgufPlace,
    first: number,
    end: number,
  ): Promise<Bytes> {
    const all = await this.#file.read(name);
    const rowBytes = info.byteLength / info.shape[0];
    const part = all.subarray(first * rowBytes, end * rowBytes);
    return rotaryHeads === undefined ? part : inHalves(part, rowBytes, rotaryHeads);
  }
}

function shifted(x: Tensor, { shift = 0 }: GgufPlace): Tensor {
  return shift === 0 ? x : add(x, scale(full(x.device, x.shape, 1), shift));
}

/** Puts float32 numbers into a parameter from element `at` on, in its own storage. */
function write(parameter: Parameter, at: number, values: Tensor): void {
  const { dtype, device } = parameter;
  const stored = dtype === "float32" ? values : cast(values, dtype);
  const bytes = stored.byteLength / values.size;
  device.copy(stored.view, parameter.window(at * bytes, stored.byteLength));
}
