/**
 * The number formats of GGUF tensors: blocks of elements with their scales.
 * Source: `GGML_QUANT_SIZES` of gguf-py 0.19 and ggml.h.
 *
 * @module
 */

/** A number format. */
export interface GgmlType {
  /** Its number in files. */
  readonly id: number;
  /** Elements per block; rows are whole blocks. */
  readonly elements: number;
  /** Bytes per block. */
  readonly bytes: number;
}

/** Every format that files may have, also those that cannot be computed with here. */
export const GGML_TYPES = {
  F32: { id: 0, elements: 1, bytes: 4 },
  F16: { id: 1, elements: 1, bytes: 2 },
  Q4_0: { id: 2, elements: 32, bytes: 18 },
  Q4_1: { id: 3, elements: 32, bytes: 20 },
  Q5_0: { id: 6, elements: 32, bytes: 22 },
  Q5_1: { id: 7, elements: 32, bytes: 24 },
  Q8_0: { id: 8, elements: 32, bytes: 34 },
  Q8_1: { id: 9, elements: 32, bytes: 40 },
  Q2_K: { id: 10, elements: 256, bytes: 84 },
  Q3_K: { id: 11, elements: 256, bytes: 110 },
  Q4_K: { id: 12, elements: 256, bytes: 144 },
  Q5_K: { id: 13, elements: 256, bytes: 176 },
  Q6_K: { id: 14, elements: 256, bytes: 210 },
  Q8_K: { id: 15, elements: 256, bytes: 292 },
  IQ2_XXS: { id: 16, elements: 256, bytes: 66 },
  IQ2_XS: { id: 17, elements: 256, bytes: 74 },
  IQ3_XXS: { id: 18, elements: 256, bytes: 98 },
  IQ1_S: { id: 19, elements: 256, bytes: 50 },
  IQ4_NL: { id: 20, elements: 32, bytes: 18 },
  IQ3_S: { id: 21, elements: 256, bytes: 110 },
  IQ2_S: { id: 22, elements: 256, bytes: 82 },
  IQ4_XS: { id: 23, elements: 256, bytes: 136 },
  I8: { id: 24, elements: 1, bytes: 1 },
  I16: { id: 25, elements: 1, bytes: 2 },
  I32: { id: 26, elements: 1, bytes: 4 },
  I64: { id: 27, elements: 1, bytes: 8 },
  F64: { id: 28, elements: 1, bytes: 8 },
  IQ1_M: { id: 29, elements: 256, bytes: 56 },
  BF16: { id: 30, elements: 1, bytes: 2 },
  TQ1_0: { id: 34, elements: 256, bytes: 54 },
  TQ2_0: { id: 35, elements: 256, bytes: 66 },
  MXFP4: { id: 39, elements: 32, bytes: 17 },
  NVFP4: { id: 40, elements: 64, bytes: 36 },
  Q1_0: { id: 41, elements: 128, bytes: 18 },
  Q2_0: { id: 42, elements: 64, bytes: 18 },
} as const satisfies Readonly<Record<string, GgmlType>>;

/** Name of a number format, such as "Q4_K". */
export type GgmlTypeName = keyof typeof GGML_TYPES;

const BY_ID: ReadonlyMap<number, GgmlTypeName> = new Map(
  (Object.keys(GGML_TYPES) as GgmlTypeName[]).map((name) => [GGML_TYPES[name].id, name]),
);

/** The format of a number in a file; undefined for one that is not known. */
export function ggmlTypeOf(id: number): GgmlTypeName | undefined {
  return BY_ID.get(id);
}

/** The element types that tensors of files become, for the formats that can be computed with. */
export const READABLE_TYPES = {
  F32: "float32",
  F16: "float16",
  BF16: "bfloat16",
  Q4_0: "q4_0",
  Q4_1: "q4_1",
  Q5_0: "q5_0",
  Q5_1: "q5_1",
  Q8_0: "q8_0",
  Q4_K: "q4_k",
  Q5_K: "q5_k",
  Q6_K: "q6_k",
  IQ4_NL: "iq4_nl",
} as const satisfies Partial<Record<GgmlTypeName, string>>;
