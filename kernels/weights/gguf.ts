/**
 * GGUF's block formats, as they lie in files: the same bytes on the device, decoded where they are read. Blocks of 18, 22,
 * 34 and 210 bytes begin at any even byte, so that words of codes are read across word borders. Products of a scale and a
 * code are exact in f32, which makes the values those of ggml to the bit.
 * Source of the layouts: ggml-common.h and dequantize_row_* in ggml-quants.c.
 * @module
 */
import { selectLevels, signedBytes } from "./snippets.ts";
import { type Pieces, sharedReading, type WeightFormat } from "./weight_format.ts";

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
  /** Along rows: neighbours of a group, what they share, and the quads of piece `p`, by it, of the group from `j` on. */
  readonly pieces?: {
    readonly elements: number;
    readonly type: string;
    readonly quads: 2 | 4;
    /** Default: a piece's quads lie a half or a quarter of the group apart, as runs of a word's nibbles do. */
    readonly place?: Pieces["place"];
    readonly read: string;
    readonly piece: string;
  };
}

/** Bytes of a word, each a number of its own, and those of a word of nibbles after a shift by `by`. */
const BYTES = "vec4u(0u, 8u, 16u, 24u)";
/** The nibbles of quad j where a block of 32 has its low nibbles first, then the high ones, from byte `from` on. */
const NIBBLES = (from: number) =>
  `((vec4u(word(at + ${from}u + 4u * (j & 3u))) >> (${BYTES} + (j & 4u))) & vec4u(15u))`;
/** Bit 4 of four codes, from 32 bits: the bits from `first` on. */
const FIFTH = (bits: string, first: string) =>
  `(((vec4u(${bits}) >> (vec4u(0u, 1u, 2u, 3u) + ${first})) & vec4u(1u)) << vec4u(4u))`;

/** The low nibbles of a word, and the high ones, as they are named in `text`. */
const halves = (word: string, of: (codes: string, t: number) => string) =>
  `let w = vec4u(${word});
  return mat2x4f(${of(`((w >> ${BYTES}) & vec4u(15u))`, 0)}, ${
    of(`((w >> (${BYTES} + 4u)) & vec4u(15u))`, 1)
  });`;

/** Pieces of a block of 32 with its codes from byte `from` on: quads p and p + 4. */
const blockPieces = (type: string, read: string, from: number, of: (codes: string, t: number) => string) =>
  ({
    elements: 32,
    type,
    quads: 2,
    read,
    piece: halves(`word(at + ${from}u + 4u * p)`, of),
  }) as const;

/** Two sub-blocks of 32 of Q4_K and Q5_K: the low nibbles of 32 bytes, and the high ones. */
const subBlocks = (word: string, fifth: (t: number) => string) =>
  ({
    elements: 64,
    type: "vec4f",
    quads: 2,
    read: "return vec4f(scales(at, j >> 3u), scales(at, (j >> 3u) + 1u));",
    piece: halves(
      word,
      (codes, t) => `fma(vec4f(${codes}${fifth(t)}), vec4f(s.${"xz"[t]}), vec4f(-s.${"yw"[t]}))`,
    ),
  }) as const;

const BLOCKS: Readonly<Record<GgufFormatName, Block>> = {
  q4_0: {
    elements: 32,
    bytes: 18,
    shares: [32, "f32"],
    read: "return half(at);",
    four: `return s * (vec4f(${NIBBLES(2)}) - 8.0);`,
    pieces: blockPieces(
      "f32",
      "return half(at);",
      2,
      (codes) => `fma(vec4f(${codes}), vec4f(s), vec4f(-8.0 * s))`,
    ),
  },
  q4_1: {
    elements: 32,
    bytes: 20,
    shares: [32, "vec2f"],
    read: "return unpack2x16float(word(at));",
    four: `return s.x * vec4f(${NIBBLES(4)}) + s.y;`,
    pieces: blockPieces(
      "vec2f",
      "return unpack2x16float(word(at));",
      4,
      (codes) => `fma(vec4f(${codes}), vec4f(s.x), vec4f(s.y))`,
    ),
  },
  q5_0: {
    elements: 32,
    bytes: 22,
    shares: [32, "vec2u"],
    read: "return vec2u(bitcast<u32>(half(at)), word(at + 2u));",
    four: `return bitcast<f32>(s.x) * (vec4f(${NIBBLES(6)} | ${FIFTH("s.y", "4u * j")}) - 16.0);`,
    pieces: blockPieces(
      "vec2u",
      "return vec2u(bitcast<u32>(half(at)), word(at + 2u));",
      6,
      (codes, t) => `bitcast<f32>(s.x) * (vec4f(${codes} | ${FIFTH("s.y", `4u * p + ${16 * t}u`)}) - 16.0)`,
    ),
  },
  q5_1: {
    elements: 32,
    bytes: 24,
    shares: [32, "vec3u"],
    read: "return vec3u(bitcast<vec2u>(unpack2x16float(word(at))), word(at + 4u));",
    four: `return bitcast<f32>(s.x) * vec4f(${NIBBLES(8)} | ${FIFTH("s.z", "4u * j")}) + bitcast<f32>(s.y);`,
    pieces: blockPieces(
      "vec3u",
      "return vec3u(bitcast<vec2u>(unpack2x16float(word(at))), word(at + 4u));",
      8,
      (codes, t) =>
        `bitcast<f32>(s.x) * vec4f(${codes} | ${FIFTH("s.z", `4u * p + ${16 * t}u`)}) + bitcast<f32>(s.y)`,
    ),
  },
  q8_0: {
    elements: 32,
    bytes: 34,
    shares: [32, "f32"],
    read: "return half(at);",
    four: "return s * signedBytes(word(at + 2u + 4u * j));",
    pieces: { // two words that follow each other: three reads where they lie across borders
      elements: 32,
      type: "f32",
      quads: 2,
      place: [2, 1],
      read: "return half(at);",
      piece: `let w = twoWords(at + 2u + 8u * p);
  return mat2x4f(s * signedBytes(w.x), s * signedBytes(w.y));`,
    },
  },
  q4_k: {
    elements: 256,
    bytes: 144,
    shares: [32, "vec2f"],
    read: "return scales(at, j >> 3u);",
    four: `let n = j >> 3u;
  let codes = word(at + 16u + 32u * (n >> 1u) + 4u * (j & 7u));
  return s.x * vec4f((vec4u(codes) >> (${BYTES} + 4u * (n & 1u))) & vec4u(15u)) - s.y;`,
    pieces: subBlocks("word(at + 16u + 2u * j + 4u * p)", () => ""),
  },
  q5_k: {
    elements: 256,
    bytes: 176,
    shares: [32, "vec2f"],
    read: "return scales(at, j >> 3u);",
    four: `let n = j >> 3u;
  let codes = word(at + 48u + 32u * (n >> 1u) + 4u * (j & 7u));
  let lower = (vec4u(codes) >> (${BYTES} + 4u * (n & 1u))) & vec4u(15u);
  let fifth = (vec4u(word(at + 16u + 4u * (j & 7u))) >> (${BYTES} + n)) & vec4u(1u);
  return s.x * vec4f(lower | (fifth << vec4u(4u))) - s.y;`,
    pieces: subBlocks(
      "word(at + 48u + 2u * j + 4u * p)",
      (t) =>
        ` | (((vec4u(word(at + 16u + 4u * p)) >> (${BYTES} + (j >> 3u) + ${t}u)) & vec4u(1u)) << vec4u(4u))`,
    ),
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
    pieces: { // half of a block: a scale for each 16 of its four runs of 32
      elements: 128,
      type: "mat2x4f",
      quads: 4,
      read: `let d = half(at + 208u);
  let a = signedBytes(word(at + 192u + (j >> 2u)));
  let b = signedBytes(word(at + 196u + (j >> 2u)));
  return mat2x4f(d * vec4f(a.x, a.z, b.x, b.z), d * vec4f(a.y, a.w, b.y, b.w));`,
      piece: `let first = vec4u(word(at + 2u * j + 4u * p));
  let second = vec4u(word(at + 2u * j + 32u + 4u * p));
  let upper = vec4u(word(at + 128u + j + 4u * p));
  let f = select(s[1], s[0], p < 4u);
  return mat4x4f(${
        ["first", "second", "first", "second"].map((word, t) =>
          `f[${t}] * (vec4f(((${word} >> (${BYTES} + ${
            t < 2 ? 0 : 4
          }u)) & vec4u(15u)) | (((upper >> (${BYTES} + ${2 * t}u)) & vec4u(3u)) << vec4u(4u))) - 32.0)`
        ).join(",\n    ")
      });`,
    },
  },
  iq4_nl: {
    elements: 32,
    bytes: 18,
    shares: [32, "f32"],
    read: "return half(at);",
    four: `return s * levels(${NIBBLES(2)});`,
    pieces: blockPieces("f32", "return half(at);", 2, (codes) => `s * levels(${codes})`),
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
    twoWords: `fn twoWords_${b}(at: u32) -> vec2u {
  let w = at >> 2u;
  let words = vec2u(${b}[w], ${b}[w + 1u]);
  return select(words, (words >> vec2u(16u)) | (vec2u(words.y, ${b}[w + 2u]) << vec2u(16u)), (at & 2u) != 0u);
}`,
    byte: `fn byte_${b}(at: u32) -> u32 { return (${b}[at >> 2u] >> (8u * (at & 3u))) & 255u; }`,
    half: `fn half_${b}(at: u32) -> f32 { return unpack2x16float(${b}[at >> 2u] >> (8u * (at & 2u))).x; }`,
    signedBytes: signedBytes(`signedBytes_${b}`),
    // Scale and minimum of sub-block n of Q4_K and Q5_K: 6 bits each, packed into 12 bytes.
    scales: `fn scales_${b}(at: u32, n: u32) -> vec2f {
  let factors = unpack2x16float(word_${b}(at));
  var scale = 0u;
  var low = 0u;
  if (n < 4u) {
    scale = byte_${b}(at + 4u + n) & 63u;
    low = byte_${b}(at + 8u + n) & 63u;
  } else {
    scale = (byte_${b}(at + 8u + n) & 15u) | ((byte_${b}(at + n) >> 6u) << 4u);
    low = (byte_${b}(at + 8u + n) >> 4u) | ((byte_${b}(at + 4u + n) >> 6u) << 4u);
  }
  return factors * vec2f(f32(scale), f32(low));
}`,
    levels: selectLevels(`levels_${b}`, IQ4_VALUES),
  };
  const used = Object.keys(functions).filter((name) =>
    text.includes(`${name}(`) || (name === "byte" && text.includes("scales("))
  );
  return used.map((name) => `${functions[name]}\n`).join("");
}

/** WGSL of a block in which calls are those of functions of the buffer. */
function placed(b: string, { elements, bytes }: Block, text: string): string {
  const named = text.replaceAll(/\b(word|twoWords|byte|half|signedBytes|scales|levels)\(/g, `$1_${b}(`);
  return `let at = i / ${elements / 4}u * ${bytes}u;
  let j = i % ${elements / 4}u;
  ${named}`;
}

function ggufFormat(name: GgufFormatName): WeightFormat<GgufFormatName> {
  const block = BLOCKS[name];
  const { elements, bytes, shares, read, four, pieces } = block;
  return {
    name,
    block: elements,
    buffers: [{ suffix: "", elements, bytes, note: `blocks of ${elements} in ${bytes} bytes` }],
    reading: sharedReading({
      name,
      elements: shares[0],
      type: shares[1],
      helpers: ([b]) => helpers(b, block, read + four + (pieces ? pieces.read + pieces.piece : "")),
      read: ([b]) => placed(b, block, read),
      four: ([b]) => placed(b, block, four),
      pieces: pieces && {
        elements: pieces.elements,
        type: pieces.type,
        quads: pieces.quads,
        place: pieces.place ?? [1, pieces.elements / 4 / pieces.quads],
        read: ([b]) => placed(b, block, pieces.read),
        piece: ([b]) => placed(b, block, pieces.piece),
      },
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
