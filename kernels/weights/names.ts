/**
 * Names of the formats of few bits, known before the files that say how they are read.
 * @module
 */

/**
 * Name of one of GGUF's block formats, in small letters: ggml's are in capitals.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { cast, type GgufFormatName, Tensor } from "@peft/webgpu/tensor";
 *
 * const block = Uint8Array.from({ length: 34 }, (_, i) => [0x00, 0x38][i] ?? i); // scale 0.5 in float16, 32 integers
 * const dtype: GgufFormatName = "q8_0", weight = Tensor.from(block, { dtype, shape: [1, 32], device: await initDevice() });
 * console.log((await cast(weight, "float32").data()).slice(0, 3)); // [1, 1.5, 2]
 * ```
 */
export type GgufFormatName =
  | "q4_0"
  | "q4_1"
  | "q5_0"
  | "q5_1"
  | "q8_0"
  | "q4_k"
  | "q5_k"
  | "q6_k"
  | "iq4_nl";

/**
 * Name of one of bitsandbytes' formats.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import type { BitsandbytesFormatName } from "@peft/webgpu/tensor";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model", { quantization: "nf4", doubleQuant: true });
 * const held: BitsandbytesFormatName = "nf4_double"; // NF4 whose scales are quantised, too
 * console.log(model.stateDict().get("transformer.h.0.mlp.c_fc.weight")!.dtype === held); // true
 * ```
 */
export type BitsandbytesFormatName = "nf4" | "nf4_double" | "fp4" | "fp4_double" | "int8";

/** GGUF's block formats. */
export const GGUF_NAMES: readonly GgufFormatName[] = [
  "q4_0",
  "q4_1",
  "q5_0",
  "q5_1",
  "q8_0",
  "q4_k",
  "q5_k",
  "q6_k",
  "iq4_nl",
];

/** bitsandbytes' formats. */
export const BITSANDBYTES_NAMES: readonly BitsandbytesFormatName[] = [
  "nf4",
  "nf4_double",
  "fp4",
  "fp4_double",
  "int8",
];
