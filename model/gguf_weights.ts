/**
 * Weights in GGUF files: llama.cpp's names and layouts under the paths of a module tree, block formats dequantised on the
 * device while they are streamed.
 * @module
 */

import {
  add,
  cast,
  dequantize,
  DEQUANTIZE_FORMATS,
  type DequantizeFormat,
  empty,
  full,
  noGrad,
  scale,
  type Shape,
  type Tensor,
  tidy,
  transpose,
} from "../autograd/mod.ts";
import type { Bytes } from "../io/file_source.ts";
import type { GgufTensorInfo } from "../io/gguf_header.ts";
import type { GgufFile } from "../io/gguf_reader.ts";
import { GGML_TYPES } from "../io/gguf_types.ts";
import { inHalves } from "../io/gguf_values.ts";
import type { Parameter } from "../nn/mod.ts";
import type { GgufLayout, GgufPlace } from "./gguf_layout.ts";
import type { WeightSource } from "./weight_source.ts";

/** Elements that are dequantised at a time: whole blocks of every format, and windows at any device's alignment. */
const CHUNK_ELEMENTS = 2 ** 21;

const isSupported = (type: string): type is DequantizeFormat | "F32" =>
  type === "F32" || (DEQUANTIZE_FORMATS as readonly string[]).includes(type);

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
    const { type, shape } = this.#file.tensors.get(name)!;
    const { rows, transposed } = this.#placeOf(path);
    const problem = isSupported(type)
      ? null
      : `is of ${type}: F32 and ${DEQUANTIZE_FORMATS.join(", ")} can be read`;
    const part = rows && rows[1] <= shape[0] ? [rows[1] - rows[0], ...shape.slice(1)] : [...shape];
    return { shape: transposed ? part.reverse() : part, problem };
  }

  /** Fills a parameter that has memory. */
  async fill(name: string, path: string, parameter: Parameter): Promise<void> {
    const info = this.#file.tensors.get(name)!;
    const place = this.#placeOf(path);
    if (place.transposed || place.rotaryHeads !== undefined || place.rows) {
      await this.#fillWhole(name, info, place, parameter);
      return;
    }
    const { elements, bytes } = GGML_TYPES[info.type];
    let at = 0;
    for await (const chunk of this.#file.readChunks(name, CHUNK_ELEMENTS / elements * bytes)) {
      const size = chunk.byteLength / bytes * elements;
      noGrad(() => tidy(() => write(parameter, at, shifted(numbers(parameter, info, chunk, size), place))));
      at += size;
    }
  }

  /** Fills a parameter whose rows have another order in the file. */
  async #fillWhole(
    name: string,
    info: GgufTensorInfo,
    place: GgufPlace,
    parameter: Parameter,
  ): Promise<void> {
    const all = await this.#file.read(name);
    const rowBytes = info.byteLength / info.shape[0];
    const [first, end] = place.rows ?? [0, info.shape[0]];
    const part = all.subarray(first * rowBytes, end * rowBytes);
    const { rotaryHeads } = place;
    const bytes = rotaryHeads === undefined ? part : inHalves(part, rowBytes, rotaryHeads);
    noGrad(() =>
      tidy(() => {
        const rows = end - first;
        const flat = shifted(numbers(parameter, info, bytes, rows * (info.shape[1] ?? 1)), place);
        write(parameter, 0, place.transposed ? transpose(flat.alias([rows, info.shape[1]])) : flat);
      })
    );
  }
}

/** Numbers of a file's bytes, float32 [size]. */
function numbers({ device }: Parameter, { type }: GgufTensorInfo, bytes: Bytes, size: number): Tensor {
  if (type !== "F32") return dequantize(bytes, type as DequantizeFormat, device);
  const y = empty(device, [size]);
  device.write(y.view, bytes);
  return y;
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
