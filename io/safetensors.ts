/**
 * safetensors files: open, load, save. `load` and `save` move whole files; {@linkcode openSafetensors} reads tensor by
 * tensor; `checkpoint.ts` reads sharded ones.
 *
 * @module
 */
import { fromFloat32, toFloat32 } from "./safetensors_dtype.ts";
import { parseHeader, SafetensorsError } from "./safetensors_header.ts";
import { load, openSafetensors } from "./safetensors_reader.ts";
import { save, serialize } from "./safetensors_writer.ts";

export type { SafetensorsDtype } from "./safetensors_dtype.ts";
export type { Metadata, PlacedTensor, SafetensorsHeader, TensorInfo } from "./safetensors_header.ts";
export type { SafetensorsEntry, SafetensorsFile, TensorReader } from "./safetensors_reader.ts";
export type { SafetensorsInput, SafetensorsInputs } from "./safetensors_writer.ts";
export { fromFloat32, load, openSafetensors, parseHeader, SafetensorsError, save, serialize, toFloat32 };

/** The functions on safetensors files under one name, as in Python: `safetensors.load(path)`. */
export const safetensors: {
  readonly load: typeof load;
  readonly save: typeof save;
  readonly serialize: typeof serialize;
  readonly open: typeof openSafetensors;
  readonly toFloat32: typeof toFloat32;
  readonly fromFloat32: typeof fromFloat32;
} = { load, save, serialize, open: openSafetensors, toFloat32, fromFloat32 };
