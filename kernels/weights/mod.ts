/**
 * Every format that weights are stored in, by the element type of their tensors.
 * @module
 */
import { bf16Format } from "./bf16.ts";
import { BITSANDBYTES_FORMATS } from "./bitsandbytes.ts";
import { f16Format } from "./f16.ts";
import { f32Format } from "./f32.ts";
import { GGUF_FORMATS } from "./gguf.ts";
import { BITSANDBYTES_NAMES, type BitsandbytesFormatName, GGUF_NAMES, type GgufFormatName } from "./names.ts";
import type { WeightFormat } from "./weight_format.ts";

export { FP4_LEVELS, NF4_LEVELS } from "./bitsandbytes.ts";
export { f32Format } from "./f32.ts";
export type { BitsandbytesFormatName, GgufFormatName } from "./names.ts";
export { TABLE_THREADS } from "./weight_format.ts";
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

/**
 * Element types of weights in blocks of few bits, frozen. They lie [out, in], as in the files they come from.
 *
 * @example
 * ```ts
 * import { type QuantizedType, WEIGHT_TYPES, type WeightType } from "@peft/webgpu/tensor";
 *
 * const whole: WeightType[] = ["float32", "float16", "bfloat16"];
 * const inBlocks = WEIGHT_TYPES.filter((type): type is QuantizedType => !whole.includes(type));
 * console.log(inBlocks.length, inBlocks[0]); // 14 q4_0
 * ```
 */
export type QuantizedType = GgufFormatName | BitsandbytesFormatName;
/**
 * Element types of tensors that hold weights.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import type { WeightType } from "@peft/webgpu/tensor";
 *
 * const half: WeightType = "float16";
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model", { dtype: half });
 * const matrices = [...model.namedParameters()].filter(([, { dtype }]) => dtype === half);
 * console.log(matrices.map(([name]) => name)); // norms and biases stay float32
 * ```
 */
export type WeightType = "float32" | "float16" | "bfloat16" | QuantizedType;
/**
 * Names of the formats.
 *
 * @example
 * ```ts
 * import type { TuningShape, WeightFormatName } from "@peft/webgpu/tuning";
 *
 * const weight: WeightFormatName = "q8_0"; // blocks of a GGUF file
 * const up: TuningShape = { kind: "matmul", name: "mlp.up_proj", layout: "nt", weight, M: 1, N: 1536, K: 576 };
 * console.log(up.weight); // q8_0; tuneKernels() measures such shapes
 * ```
 */
export type WeightFormatName = "f32" | "f16" | "bf16" | QuantizedType;

/** Properties that are looked up when they are read: a bundle loads their file on first use. */
function later<Name extends string, Format>(
  names: readonly Name[],
  formats: () => Readonly<Record<Name, Format>>,
): PropertyDescriptorMap {
  return Object.fromEntries(names.map((name) => [name, { enumerable: true, get: () => formats()[name] }]));
}

const QUANTIZED: PropertyDescriptorMap = {
  ...later(GGUF_NAMES, () => GGUF_FORMATS),
  ...later(BITSANDBYTES_NAMES, () => BITSANDBYTES_FORMATS),
};

/** The formats. */
export const WEIGHT_FORMATS: Readonly<Record<WeightType, WeightFormat<WeightFormatName>>> = Object
  .defineProperties({ float32: f32Format, float16: f16Format, bfloat16: bf16Format }, QUANTIZED) as Record<
    WeightType,
    WeightFormat<WeightFormatName>
  >;

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

/** The formats by name. */
export const FORMATS_BY_NAME: Readonly<Record<WeightFormatName, WeightFormat<WeightFormatName>>> = Object
  .defineProperties({ f32: f32Format, f16: f16Format, bf16: bf16Format }, QUANTIZED) as Record<
    WeightFormatName,
    WeightFormat<WeightFormatName>
  >;

/** Names of all formats. */
export const WEIGHT_FORMAT_NAMES: readonly WeightFormatName[] = Object.keys(
  FORMATS_BY_NAME,
) as WeightFormatName[];

/** The format of that name. */
export function formatNamed(name: WeightFormatName): WeightFormat<WeightFormatName> {
  return FORMATS_BY_NAME[name];
}

/** The element type of tensors in the format of that name. */
export function typeOfFormat(name: WeightFormatName): WeightType {
  return isQuantized(name) ? name : WEIGHT_TYPES.find((type) => WEIGHT_FORMATS[type].name === name)!;
}

/** Whether an element type is one of few bits. */
export function isQuantized(type: string): type is QuantizedType {
  return Object.hasOwn(QUANTIZED, type);
}
