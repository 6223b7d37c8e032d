/**
 * Every format that weights are stored in, by the element type of their tensors.
 * @module
 */
import { bf16Format } from "./bf16.ts";
import { BITSANDBYTES_FORMATS, type BitsandbytesFormatName } from "./bitsandbytes.ts";
import { f16Format } from "./f16.ts";
import { f32Format } from "./f32.ts";
import { GGUF_FORMATS, type GgufFormatName } from "./gguf.ts";
import type { WeightFormat } from "./weight_format.ts";

export { type BitsandbytesFormatName, FP4_LEVELS, NF4_LEVELS } from "./bitsandbytes.ts";
export { f32Format } from "./f32.ts";
export type { GgufFormatName } from "./gguf.ts";
export { TABLE_THREADS } from "./snippets.ts";
export {
  bufferNames,
  bytesIn,
  fitsFormat,
  formatBytes,
  isCompact,
  loadFunction,
  type Pieces,
  rowStep,
  sectionsOf,
  type SharedPart,
  type WeightArray,
  type WeightBuffer,
  type WeightFormat,
  type WeightReading,
} from "./weight_format.ts";

/** Element types of weights in blocks of few bits, frozen. They lie [out, in], as in the files they come from. */
export type QuantizedType = GgufFormatName | BitsandbytesFormatName;
/** Element types of tensors that hold weights. */
export type WeightType = "float32" | "float16" | "bfloat16" | QuantizedType;
/** Names of the formats. */
export type WeightFormatName = "f32" | "f16" | "bf16" | QuantizedType;

const QUANTIZED: Readonly<Record<QuantizedType, WeightFormat<QuantizedType>>> = {
  ...GGUF_FORMATS,
  ...BITSANDBYTES_FORMATS,
};

/** The formats. */
export const WEIGHT_FORMATS: Readonly<Record<WeightType, WeightFormat<WeightFormatName>>> = {
  float32: f32Format,
  float16: f16Format,
  bfloat16: bf16Format,
  ...QUANTIZED,
};

/**
 * All element types of weights.
 *
 * @example
 * ```ts
 * import { WEIGHT_TYPES } from "@peft/webgpu/tensor";
 *
 * console.log(WEIGHT_TYPES.includes("nf4")); // true
 * ```
 */
export const WEIGHT_TYPES: readonly WeightType[] = Object.keys(WEIGHT_FORMATS) as WeightType[];

/**
 * Those that weights can be loaded as, whatever their files have.
 *
 * @example
 * ```ts
 * import { LOADED_TYPES } from "@peft/webgpu/tensor";
 *
 * console.log(LOADED_TYPES); // [ "float32", "float16" ]
 * ```
 */
export const LOADED_TYPES = ["float32", "float16"] as const satisfies readonly WeightType[];

/** Names of all formats. */
export const WEIGHT_FORMAT_NAMES: readonly WeightFormatName[] = Object.values(WEIGHT_FORMATS).map((
  { name },
) => name);

/** The formats by name. */
export const FORMATS_BY_NAME: Readonly<Record<WeightFormatName, WeightFormat<WeightFormatName>>> = Object
  .fromEntries(Object.values(WEIGHT_FORMATS).map((format) => [format.name, format])) as Record<
    WeightFormatName,
    WeightFormat<WeightFormatName>
  >;

/** The format of that name. */
export function formatNamed(name: WeightFormatName): WeightFormat<WeightFormatName> {
  return FORMATS_BY_NAME[name];
}

/** The element type of tensors in the format of that name. */
export function typeOfFormat(name: WeightFormatName): WeightType {
  return WEIGHT_TYPES.find((type) => WEIGHT_FORMATS[type].name === name)!;
}

/** Whether an element type is one of few bits. */
export function isQuantized(type: string): type is QuantizedType {
  return Object.hasOwn(QUANTIZED, type);
}
