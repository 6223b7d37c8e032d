/**
 * Every format that weights are stored in, by the element type of their tensors.
 * @module
 */
import { f16Format } from "./f16.ts";
import { f32Format } from "./f32.ts";
import type { WeightFormat } from "./weight_format.ts";

export { f32Format } from "./f32.ts";
export {
  bufferNames,
  bytesIn,
  fitsFormat,
  formatBytes,
  isCompact,
  loadFunction,
  sectionsOf,
  type WeightArray,
  type WeightBuffer,
  type WeightFormat,
  type WeightReading,
} from "./weight_format.ts";

/** Element types of tensors that hold weights. */
export type WeightType = "float32" | "float16";
/** Names of the formats. */
export type WeightFormatName = "f32" | "f16";

/** The formats. */
export const WEIGHT_FORMATS: Readonly<Record<WeightType, WeightFormat<WeightFormatName>>> = {
  float32: f32Format,
  float16: f16Format,
};

/** All element types of weights. */
export const WEIGHT_TYPES: readonly WeightType[] = Object.keys(WEIGHT_FORMATS) as WeightType[];

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
