/**
 * GGUF's block formats, as they lie in files: the same bytes on the device, decoded where they are read. Blocks of 18, 22,
 * 34 and 210 bytes begin at any even byte, so that words of codes are read across word borders. Products of a scale and a
 * code are exact in f32, which makes the values those of ggml to the bit.
 * Source of the layouts: ggml-common.h and dequantize_row_* in ggml-quants.c.
 * @module
 */
import type { GgufFormatName } from "./names.ts";
import { signedBytes } from "./snippets.ts";
import { sharedReading } from "./shared_reading.ts";
import type { Pieces, WeightFormat } from "./weight_format.ts";

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
  /** The numbers of codes of 4 bits, where they come from a table. */
  readonly levels?: readonly number[];
  /** Along rows: a group and its pieces: the words of piece `p + n`, and quad `t` of piece `p` by its words `w`. */
  readonly pieces: Omit<Pieces, "place"> & {
    /** Default: a piece's quads lie a half or a quarter of the group apart, as runs of a word's nibbles do. */
    readonly place?: Pieces["place"];
    /** What the group from `j` on shares. */
    readonly read: string;
    readonly piece: string;
    readonly quad: string;
  };
}

/** Bytes of a word, each a number of its own, and those of a word of nibbles after a shift by `by`. */
const BYTES = "vec4u(0u, 8u, 16u, 24u)";
/**
 * Word `m + n` of those from byte `from` on, n a constant; a block of an odd number of half words may begin inside a word.
 */
const WORD = (from: number, m: string, n = "0u") =>
  from % 4 === 0 ? `word(at, ${m}, ${from / 4}u + ${n})` : `wordBetween(at, ${m}, ${(from - 2) / 4}u + ${n})`;
/** The nibbles of quad j where a block of 32 has its low nibbles first, then the high ones, from byte `from` on. */
const NIBBLES = (from: number) => `((vec4u(${WORD(from, "j & 3u")}) >> (${BYTES} + (j & 4u))) & vec4u(15u))`;
/** Bit 4 of four codes, from 32 bits: the bits from `first` on. */
const FIFTH = (bits: string, first: string) =>
  `((vec4u(${bits} >> (${first})) << vec4u(4u, 3u, 2u, 1u)) & vec4u(16u))`;

/** The low nibbles of a word, or the high ones. */
const HALF = (word: string, high: string) => `((vec4u(${word}) >> (${BYTES} + 4u * (${high}))) & vec4u(15u))`;

/** Pieces of a block of 32 with its codes from byte `from` on: quads p and p + 4. */
const blockPieces = (type: string, read: string, from: number, of: (codes: string) => string) =>
  ({
    elements: 32,
    type,
    words: "u32",
    quads: 2,
    read,
    piece: `return ${WORD(from, "p", "n")};`,
    quad: `return ${of(HALF("w", "t"))};`,
  }) as const;

/** Half of a block of Q4_K and Q5_K, four sub-blocks of 32: the low nibbles of 32 bytes, the high ones, and the next. */
const subBlocks = (words: string, piece: string, more = "") =>
  ({
    elements: 128,
    type: "mat2x4f",
    words,
    quads: 4,
    read: "return fourScales(at, j > 0u);",
    piece: `return ${words}(${piece});`,
    quad: `let codes = ${HALF("select(w.x, w.y, t > 1u)", "t & 1u")}${more};
  return fma(vec4f(codes), vec4f(s[0][t]), vec4f(-s[1][t]));`,
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
    read: "return unpack2x16float(word(at, 0u, 0u));",
    four: `return s.x * vec4f(${NIBBLES(4)}) + s.y;`,
    pieces: blockPieces(
      "vec2f",
      "return unpack2x16float(word(at, 0u, 0u));",
      4,
      (codes) => `fma(vec4f(${codes}), vec4f(s.x), vec4f(s.y))`,
    ),
  },
  q5_0: {
    elements: 32,
    bytes: 22,
    shares: [32, "vec2u"],
    read: `return vec2u(bitcast<u32>(half(at)), ${WORD(2, "0u")});`,
    four: `return bitcast<f32>(s.x) * (vec4f(${NIBBLES(6)} | ${FIFTH("s.y", "4u * j")}) - 16.0);`,
    pieces: blockPieces(
      "vec2u",
      `return vec2u(bitcast<u32>(half(at)), ${WORD(2, "0u")});`,
      6,
      (codes) => `bitcast<f32>(s.x) * (vec4f(${codes} | ${FIFTH("s.y", "4u * p + 16u * t")}) - 16.0)`,
    ),
  },
  q5_1: {
    elements: 32,
    bytes: 24,
    shares: [32, "vec3u"],
    read: "return vec3u(bitcast<vec2u>(unpack2x16float(word(at, 0u, 0u))), word(at, 0u, 1u));",
    four: `return bitcast<f32>(s.x) * vec4f(${NIBBLES(8)} | ${FIFTH("s.z", "4u * j")}) + bitcast<f32>(s.y);`,
    pieces: blockPieces(
      "vec3u",
      "return vec3u(bitcast<vec2u>(unpack2x16float(word(at, 0u, 0u))), word(at, 0u, 1u));",
      8,
      (codes) =>
        `bitcast<f32>(s.x) * vec4f(${codes} | ${FIFTH("s.z", "4u * p + 16u * t")}) + bitcast<f32>(s.y)`,
    ),
  },
  q8_0: {
    elements: 32,
    bytes: 34,
    shares: [32, "f32"],
    read: "return half(at);",
    four: `return s * signedBytes(${WORD(2, "j")});`,
    pieces: {
      elements: 32,
      type: "f32",
      words: "vec2u",
      quads: 2,
      place: [2, 1],
      read: "return half(at);",
      piece: `return vec2u(${WORD(2, "2u * p", "2u * n")}, ${WORD(2, "2u * p", "2u * n + 1u")});`,
      quad: "return s * signedBytes(select(w.x, w.y, t == 1u));",
    },
  },
  q4_k: {
    elements: 256,
    bytes: 144,
    shares: [32, "vec2f"],
    read: "return scales(at, j >> 3u);",
    four: `let n = j >> 3u;
  let codes = word(at, 8u * (n >> 1u) + (j & 7u), 4u);
  return s.x * vec4f((vec4u(codes) >> (${BYTES} + 4u * (n & 1u))) & vec4u(15u)) - s.y;`,
    pieces: subBlocks("vec2u", "word(at, (j >> 1u) + p, 4u + n), word(at, (j >> 1u) + p, 12u + n)"),
  },
  q5_k: {
    elements: 256,
    bytes: 176,
    shares: [32, "vec2f"],
    read: "return scales(at, j >> 3u);",
    four: `let n = j >> 3u;
  let codes = word(at, 8u * (n >> 1u) + (j & 7u), 12u);
  let lower = (vec4u(codes) >> (${BYTES} + 4u * (n & 1u))) & vec4u(15u);
  let fifth = (vec4u((word(at, j & 7u, 4u) >> n) << 4u) >> ${BYTES}) & vec4u(16u);
  return s.x * vec4f(lower | fifth) - s.y;`,
    pieces: subBlocks(
      "vec3u",
      "word(at, (j >> 1u) + p, 12u + n), word(at, (j >> 1u) + p, 20u + n), (word(at, p, 4u + n) >> (j >> 3u)) << 4u",
      ` | ((vec4u(w.z >> t) >> ${BYTES}) & vec4u(16u))`,
    ),
  },
  q6_k: {
    elements: 256,
    bytes: 210,
    shares: [16, "f32"],
    read: "return half(at + 208u) * f32(i32(byte(at + 192u + (j >> 2u)) << 24u) >> 24u);",
    four: `let h = j >> 5u;
  let part = (j >> 3u) & 3u;
  let lower = (vec4u(word(at, 16u * h + 8u * (part & 1u) + (j & 7u), 0u)) >> (${BYTES} + 4u * (part >> 1u))) & vec4u(15u);
  let upper = (vec4u((word(at, 8u * h + (j & 7u), 32u) >> (2u * part)) << 4u) >> ${BYTES}) & vec4u(48u);
  return s * (vec4f(lower | upper) - 32.0);`,
    pieces: { // half of a block: a scale for each 16 of its four runs of 32
      elements: 128,
      type: "mat2x4f",
      words: "vec3u",
      quads: 4,
      read: `let d = half(at + 208u);
  let a = signedBytes(word(at, j >> 4u, 48u));
  let b = signedBytes(word(at, j >> 4u, 49u));
  return mat2x4f(d * vec4f(a.x, a.z, b.x, b.z), d * vec4f(a.y, a.w, b.y, b.w));`,
      piece:
        "return vec3u(word(at, (j >> 1u) + p, n), word(at, (j >> 1u) + p, 8u + n), word(at, (j >> 2u) + p, 32u + n));",
      quad: `let f = select(s[1], s[0], p < 4u);
  let lower = ${HALF("select(w.x, w.y, (t & 1u) == 1u)", "t >> 1u")};
  let upper = (vec4u((w.z >> (2u * t)) << 4u) >> ${BYTES}) & vec4u(48u);
  return f[t] * (vec4f(lower | upper) - 32.0);`,
    },
  },
  iq4_nl: {
    elements: 32,
    bytes: 18,
    shares: [32, "f32"],
    read: "return half(at);",
    four: `return s * levels(${NIBBLES(2)});`,
    levels: [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113],
    pieces: blockPieces("f32", "return half(at);", 2, (codes) => `s * levels(${codes})`),
  },
};

/** What blocks are read with, each function named after the buffer. */
function helpers(b: string, { bytes }: Block, text: string): string {
  const aligned = bytes % 4 === 0;
  const functions: Record<string, string> = {
    // Word m + n of a block that begins at any even byte. Indices are those of whole words, the constant part n last, so
    // that compilers see which words two reads have in common.
    word: aligned
      ? `fn word_${b}(at: u32, m: u32, n: u32) -> u32 { return ${b}[((at >> 2u) + m) + n]; }`
      : `fn word_${b}(at: u32, m: u32, n: u32) -> u32 {
  let i = ((at >> 2u) + m) + n;
  return select(${b}[i], (${b}[i] >> 16u) | (${b}[i + 1u] << 16u), (at & 2u) != 0u);
}`,
    // The word that begins with the second half of that one.
    wordBetween: `fn wordBetween_${b}(at: u32, m: u32, n: u32) -> u32 {
  let i = ((at >> 2u) + m) + n;
  return select((${b}[i] >> 16u) | (${b}[i + 1u] << 16u), ${b}[i + 1u], (at & 2u) != 0u);
}`,
    byte: `fn byte_${b}(at: u32) -> u32 { return (${b}[at >> 2u] >> (8u * (at & 3u))) & 255u; }`,
    half: `fn half_${b}(at: u32) -> f32 { return unpack2x16float(${b}[at >> 2u] >> (8u * (at & 2u))).x; }`,
    signedBytes: signedBytes(`signedBytes_${b}`),
    // Scale and minimum of sub-block n of Q4_K and Q5_K: 6 bits each, packed into 12 bytes.
    scales: `fn scales_${b}(at: u32, n: u32) -> vec2f {
  let bits = vec3u(word_${b}(at, 0u, 1u), word_${b}(at, 0u, 2u), word_${b}(at, 0u, 3u)) >> vec3u(8u * (n & 3u));
  let upper = ((vec2u(bits.z) >> vec2u(0u, 4u)) & vec2u(15u)) | ((bits.xy >> vec2u(2u)) & vec2u(48u));
  return unpack2x16float(word_${b}(at, 0u, 0u)) * vec2f(select(bits.xy & vec2u(63u), upper, n > 3u));
}`,
    // The scales of sub-blocks 0 to 3, or 4 to 7, and their minima.
    fourScales: `fn fourScales_${b}(at: u32, last: bool) -> mat2x4f {
  let bits = vec3u(word_${b}(at, 0u, 1u), word_${b}(at, 0u, 2u), word_${b}(at, 0u, 3u));
  let scale = select((vec4u(bits.x) >> ${BYTES}) & vec4u(63u),
    ((vec4u(bits.z) >> ${BYTES}) & vec4u(15u)) | ((vec4u(bits.x >> 2u) >> ${BYTES}) & vec4u(48u)), last);
  let low = select((vec4u(bits.y) >> ${BYTES}) & vec4u(63u),
    ((vec4u(bits.z >> 4u) >> ${BYTES}) & vec4u(15u)) | ((vec4u(bits.y >> 2u) >> ${BYTES}) & vec4u(48u)), last);
  let factors = unpack2x16float(word_${b}(at, 0u, 0u));
  return mat2x4f(factors.x * vec4f(scale), factors.y * vec4f(low));
}`,
  };
  const used = Object.keys(functions).filter((name) => text.includes(`${name}(`));
  return used.map((name) => `${functions[name]}\n`).join("");
}

/** WGSL in which calls are those of functions of the buffer. */
const named = (b: string, text: string) =>
  text.replaceAll(/\b(word|wordBetween|byte|half|signedBytes|scales|fourScales|levels)\(/g, `$1_${b}(`);

/** WGSL of a block in which calls are those of functions of the buffer. */
function placed(b: string, { elements, bytes }: Block, text: string): string {
  return `let at = i / ${elements / 4}u * ${bytes}u;
  let j = i % ${elements / 4}u;
  ${named(b, text)}`;
}

function ggufFormat(name: GgufFormatName): WeightFormat<GgufFormatName> {
  const block = BLOCKS[name];
  const { elements, bytes, shares, read, four, levels, pieces } = block;
  return {
    name,
    block: elements,
    buffers: [{ suffix: "", elements, bytes, note: `blocks of ${elements} in ${bytes} bytes` }],
    reading: sharedReading({
      name,
      elements: shares[0],
      type: shares[1],
      levels,
      helpers: ([b]) => helpers(b, block, read + four + pieces.read + pieces.piece + pieces.quad),
      read: ([b]) => placed(b, block, read),
      four: ([b]) => placed(b, block, four),
      pieces: {
        ...pieces,
        place: pieces.place ?? [1, pieces.elements / 4 / pieces.quads],
        read: ([b]) => placed(b, block, pieces.read),
        piece: ([b]) => placed(b, block, pieces.piece),
        quad: ([b]) => named(b, pieces.quad),
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
