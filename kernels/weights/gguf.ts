/**
 * GGUF's block formats, as they lie in files: the same bytes on the device, decoded where they are read. Blocks of 18, 22,
 * 34 and 210 bytes begin at any even byte, so that words of codes are read across word borders. Products of a scale and a
 * code are exact in f32, which makes the values those of ggml to the bit.
 * Source of the layouts: ggml-common.h and dequantize_row_* in ggml-quants.c.
 * @module
 */
import { selectLevels, signedBytes } from "./snippets.ts";
import { sharedReading, type WeightFormat } from "./weight_format.ts";

/** Names of the formats, in small letters: ggml's are in capitals. */
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
 * A block, in WGSL. In `read` and `four`, `i` numbers quads of neighbours in the tensor, `at` is the byte at which the
 * block begins, and `j` the quad in the block.
 */
interface Block {
  readonly elements: number;
  readonly bytes: number;
  /** Neighbours with the same scale, and the type of what they share. */
  readonly shares: readonly [elements: number, type: string];
  /** The shared part. */
  readonly read: string;
  /** Four neighbours, by the shared part `s`. */
  readonly four: string;
}

/** Bytes of a word, each a number of its own, and those of a word of nibbles after a shift by `by`. */
const BYTES = "vec4u(0u, 8u, 16u, 24u)";
/** The nibbles of quad j where a block of 32 has its low nibbles first, then the high ones, from byte `from` on. */
const NIBBLES = (from: number) =>
  `((vec4u(word(at + ${from}u + 4u * (j & 3u))) >> (${BYTES} + (j & 4u))) & vec4u(15u))`;
/** Bit 4 of the codes of quad j, from 32 bits. */
const FIFTH = (bits: string) =>
  `(((vec4u(${bits}) >> (vec4u(0u, 1u, 2u, 3u) + 4u * j)) & vec4u(1u)) << vec4u(4u))`;

/** Scale and minimum of sub-block j / 8 of Q4_K and Q5_K: 6 bits each, packed into 12 bytes. */
const K_SCALES = `let n = j >> 3u;
  let factors = unpack2x16float(word(at));
  var scale = 0u;
  var low = 0u;
  if (n < 4u) {
    scale = byte(at + 4u + n) & 63u;
    low = byte(at + 8u + n) & 63u;
  } else {
    scale = (byte(at + 8u + n) & 15u) | ((byte(at + n) >> 6u) << 4u);
    low = (byte(at + 8u + n) >> 4u) | ((byte(at + 4u + n) >> 6u) << 4u);
  }
  return factors * vec2f(f32(scale), f32(low));`;

const BLOCKS: Readonly<Record<GgufFormatName, Block>> = {
  q4_0: {
    elements: 32,
    bytes: 18,
    shares: [32, "f32"],
    read: "return half(at);",
    four: `return s * (vec4f(${NIBBLES(2)}) - 8.0);`,
  },
  q4_1: {
    elements: 32,
    bytes: 20,
    shares: [32, "vec2f"],
    read: "return unpack2x16float(word(at));",
    four: `return s.x * vec4f(${NIBBLES(4)}) + s.y;`,
  },
  q5_0: {
    elements: 32,
    bytes: 22,
    shares: [32, "vec2u"],
    read: "return vec2u(bitcast<u32>(half(at)), word(at + 2u));",
    four: `return bitcast<f32>(s.x) * (vec4f(${NIBBLES(6)} | ${FIFTH("s.y")}) - 16.0);`,
  },
  q5_1: {
    elements: 32,
    bytes: 24,
    shares: [32, "vec3u"],
    read: "return vec3u(bitcast<vec2u>(unpack2x16float(word(at))), word(at + 4u));",
    four: `return bitcast<f32>(s.x) * vec4f(${NIBBLES(8)} | ${FIFTH("s.z")}) + bitcast<f32>(s.y);`,
  },
  q8_0: {
    elements: 32,
    bytes: 34,
    shares: [32, "f32"],
    read: "return half(at);",
    four: "return s * signedBytes(word(at + 2u + 4u * j));",
  },
  q4_k: {
    elements: 256,
    bytes: 144,
    shares: [32, "vec2f"],
    read: K_SCALES,
    four: `let n = j >> 3u;
  let codes = word(at + 16u + 32u * (n >> 1u) + 4u * (j & 7u));
  return s.x * vec4f((vec4u(codes) >> (${BYTES} + 4u * (n & 1u))) & vec4u(15u)) - s.y;`,
  },
  q5_k: {
    elements: 256,
    bytes: 176,
    shares: [32, "vec2f"],
    read: K_SCALES,
    four: `let n = j >> 3u;
  let codes = word(at + 48u + 32u * (n >> 1u) + 4u * (j & 7u));
  let lower = (vec4u(codes) >> (${BYTES} + 4u * (n & 1u))) & vec4u(15u);
  let fifth = (vec4u(word(at + 16u + 4u * (j & 7u))) >> (${BYTES} + n)) & vec4u(1u);
  return s.x * vec4f(lower | (fifth << vec4u(4u))) - s.y;`,
  },
  q6_k: {
    elements: 256,
    bytes: 210,
    shares: [16, "f32"],
    read: "return half(at + 208u) * f32(i32(byte(at + 192u + (j >> 2u)) << 24u) >> 24u);",
    four: `let h = j >> 5u;
  let part = (j >> 3u) & 3u;
  let lower = (vec4u(word(at + 64u * h + 32u * (part & 1u) + 4u * (j & 7u))) >> (${BYTES} + 4u * (part >> 1u))) & vec4u(15u);
  let upper = (vec4u(word(at + 128u + 32u * h + 4u * (j & 7u))) >> (${BYTES} + 2u * part)) & vec4u(3u);
  return s * (vec4f(lower | (upper << vec4u(4u))) - 32.0);`,
  },
  iq4_nl: {
    elements: 32,
    bytes: 18,
    shares: [32, "f32"],
    read: "return half(at);",
    four: `return s * levels(${NIBBLES(2)});`,
  },
};

/** Values of IQ4_NL's codes. */
const IQ4_VALUES = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/** What blocks are read with, each function named after the buffer. */
function helpers(b: string, { bytes }: Block, text: string): string {
  const aligned = bytes % 4 === 0;
  const functions: Record<string, string> = {
    // A word that begins at any even byte.
    word: aligned
      ? `fn word_${b}(at: u32) -> u32 { return ${b}[at >> 2u]; }`
      : `fn word_${b}(at: u32) -> u32 {
  let w = ${b}[at >> 2u];
  return select(w, (w >> 16u) | (${b}[(at >> 2u) + 1u] << 16u), (at & 2u) != 0u);
}`,
    byte: `fn byte_${b}(at: u32) -> u32 { return (${b}[at >> 2u] >> (8u * (at & 3u))) & 255u; }`,
    half: `fn half_${b}(at: u32) -> f32 { return unpack2x16float(${b}[at >> 2u] >> (8u * (at & 2u))).x; }`,
    signedBytes: signedBytes(`signedBytes_${b}`),
    levels: selectLevels(`levels_${b}`, IQ4_VALUES),
  };
  const used = Object.keys(functions).filter((name) => text.includes(`${name}(`));
  return used.map((name) => `${functions[name]}\n`).join("");
}

/** WGSL of a block in which calls are those of functions of the buffer. */
function placed(b: string, { elements, bytes }: Block, text: string): string {
  const named = text.replaceAll(/\b(word|byte|half|signedBytes|levels)\(/g, `$1_${b}(`);
  return `let at = i / ${elements / 4}u * ${bytes}u;
  let j = i % ${elements / 4}u;
  ${named}`;
}

function ggufFormat(name: GgufFormatName): WeightFormat<GgufFormatName> {
  const block = BLOCKS[name];
  const { elements, bytes, shares, read, four } = block;
  return {
    name,
    block: elements,
    buffers: [{ suffix: "", elements, bytes, note: `blocks of ${elements} in ${bytes} bytes` }],
    reading: sharedReading({
      name,
      elements: shares[0],
      type: shares[1],
      helpers: ([b]) => helpers(b, block, read + four),
      read: ([b]) => placed(b, block, read),
      four: ([b]) => placed(b, block, four),
    }),
    array: "Uint8Array",
    unpack: `${name}ToFloat`,
    rule: `rows of whole blocks of ${elements} are required`,
  };
}

/** GGUF's block formats by their names. */
export const GGUF_FORMATS: Readonly<Record<GgufFormatName, WeightFormat<GgufFormatName>>> = Object
  .fromEntries(
    (Object.keys(BLOCKS) as GgufFormatName[]).map((name) => [name, ggufFormat(name)]),
  ) as Record<GgufFormatName, WeightFormat<GgufFormatName>>;
