/**
 * bitsandbytes' formats: NF4 and FP4 (Dettmers et al. 2023, "QLoRA", arXiv:2305.14314), codes of 4 bits in blocks of 64 with
 * a scale each, which is itself quantised in the `_double` formats; and LLM.int8's int8 (Dettmers et al. 2022,
 * arXiv:2208.07339) with a scale per row. Files have codes and scales in tensors of their own; here they lie side by side.
 * Source of the numbers: bitsandbytes 0.50, functional.py and backends/default/ops.py.
 * @module
 */
import { dynamicMagnitude } from "../dynamic_codes.ts";
import type { BitsandbytesFormatName } from "./names.ts";
import { literal, signedBytes } from "./snippets.ts";
import { sharedReading } from "./shared_reading.ts";
import type { WeightFormat } from "./weight_format.ts";

/** The numbers of NF4's codes. */
export const NF4_LEVELS: readonly number[] = [
  -1.0,
  -0.6961928009986877,
  -0.5250730514526367,
  -0.39491748809814453,
  -0.28444138169288635,
  -0.18477343022823334,
  -0.09105003625154495,
  0.0,
  0.07958029955625534,
  0.16093020141124725,
  0.24611230194568634,
  0.33791524171829224,
  0.44070982933044434,
  0.5626170039176941,
  0.7229568362236023,
  1.0,
];

/** The numbers of FP4's codes: a sign, two bits of exponent and one of fraction. */
export const FP4_LEVELS: readonly number[] = [
  0.0,
  0.0052083334885537624,
  0.6666666865348816,
  1.0,
  0.3333333432674408,
  0.5,
  0.1666666716337204,
  0.25,
  0.0,
  -0.0052083334885537624,
  -0.6666666865348816,
  -1.0,
  -0.3333333432674408,
  -0.5,
  -0.1666666716337204,
  -0.25,
];

/** Codes of FP4 by their numbers, the least first. */
const FP4_ORDER = [11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3];

/** Codes of quad i from a word that holds eight: the first of two lies in the high half of a byte. */
const CODES = (word: string) =>
  `(vec4u(${word}) >> (vec4u(4u, 0u, 12u, 8u) + vec4u((i & 1u) << 4u))) & vec4u(15u)`;

/** A block of 64 in eight words, both quads of each. `word` reads word p. */
const wordPieces = (word: (b: string) => string) => ({
  elements: 64,
  type: "f32",
  words: "u32",
  quads: 2 as const,
  place: [2, 1] as const,
  read: ([b]: readonly string[]) => `return shared_${b}(i);`,
  piece: ([b]: readonly string[]) => `return ${word(b)};`,
  quad: ([b]: readonly string[]) =>
    `return levels_${b}((vec4u(w >> (16u * t)) >> vec4u(4u, 0u, 12u, 8u)) & vec4u(15u)) * s;`,
});

/** WGSL that writes block `block` of 64 numbers from `i` on: a scale, then eight words of codes. */
function packText(levels: readonly number[], order: readonly number[] | null): string {
  const sorted = order ? order.map((code) => levels[code]) : levels;
  const bounds = sorted.slice(1).map((level, i) => Math.fround(Math.fround(level + sorted[i]) / 2));
  const steps = bounds.map((bound) => `select(0u, 1u, v > ${literal(bound)})`);
  const packed = (codes: readonly number[]) =>
    codes.reduce((word, code, i) => (word | code << 4 * i) >>> 0, 0);
  const code = order
    ? `return (select(${packed(order.slice(0, 8))}u, ${
      packed(order.slice(8))
    }u, rank >= 8u) >> (4u * (rank & 7u))) & 15u;`
    : "return rank;";
  return `var most = 0.0;
  for (var k = 0u; k < 64u; k++) { most = max(most, abs(x[i + k])); }
  y[9u * block] = bitcast<u32>(most);
  let inverse = 1.0 / max(most, 1.2e-38);
  for (var w = 0u; w < 8u; w++) {
    var word = 0u;
    for (var k = 0u; k < 8u; k++) {
      word |= codeOf(clamp(x[i + 8u * w + k] * inverse, -1.0, 1.0)) << (4u * (k ^ 1u));
    }
    y[9u * block + 1u + w] = word;
  }
}
fn codeOf(v: f32) -> u32 {
  let rank = ${steps.join(" +\n    ")};
  ${code}`;
}

const RULE = "rows of whole blocks of 64 are required";

function single<Name extends "nf4" | "fp4">(
  name: Name,
  levels: readonly number[],
  order: readonly number[] | null,
): WeightFormat<Name> {
  return {
    name,
    block: 64,
    buffers: [{ suffix: "", elements: 64, bytes: 36, note: "blocks of 64: a scale, eight words of codes" }],
    reading: sharedReading({
      name,
      elements: 64,
      type: "f32",
      levels,
      read: ([b]) => `return bitcast<f32>(${b}[9u * (i >> 4u)]);`,
      four: ([b]) =>
        `let codes = ${CODES(`${b}[9u * (i >> 4u) + 1u + ((i & 15u) >> 1u)]`)};
  return levels_${b}(codes) * s;`,
      pieces: wordPieces((b) => `${b}[9u * (i >> 4u) + p + (1u + n)]`),
    }),
    array: "Uint8Array",
    unpack: `${name}ToFloat`,
    pack: { kernel: `floatTo${name === "nf4" ? "Nf4" : "Fp4"}`, text: packText(levels, order) },
    rule: RULE,
  };
}

/** The number of a code of the signed dynamic map (Dettmers 2015, arXiv:1511.04561): 127 is 0. */
const dynamicNumber = (name: string) =>
  `${dynamicMagnitude(`${name}_magnitude`, true)}
fn ${name}(code: u32) -> f32 {
  let k = i32(code) - 127;
  return sign(f32(k)) * ${name}_magnitude(u32(abs(k)));
}
`;

function double<Name extends "nf4_double" | "fp4_double">(
  name: Name,
  levels: readonly number[],
): WeightFormat<Name> {
  return {
    name,
    block: 64,
    total: 256,
    buffers: [
      { suffix: "", elements: 256, bytes: 132, note: "four blocks of 64: a word of scales, 32 of codes" },
      { suffix: "Scale", elements: 16384, bytes: 8, note: "factor and offset of 256 scales", whole: true },
    ],
    reading: sharedReading({
      name,
      types: ["u32", "vec2f"],
      elements: 64,
      type: "f32",
      levels,
      helpers: ([b]) => dynamicNumber(`dynamic_${b}`),
      read: ([b, scale]) =>
        `let n = i >> 4u;
  let factor = ${scale}[i >> 12u];
  return dynamic_${b}((${b}[33u * (n >> 2u)] >> (8u * (n & 3u))) & 255u) * factor.x + factor.y;`,
      four: ([b]) =>
        `let n = i >> 4u;
  let codes = ${CODES(`${b}[33u * (n >> 2u) + 1u + 8u * (n & 3u) + ((i & 15u) >> 1u)]`)};
  return levels_${b}(codes) * s;`,
      pieces: wordPieces(
        (b) => `${b}[33u * (i >> 6u) + 8u * ((i >> 4u) & 3u) + p + (1u + n)]`,
      ),
    }),
    array: "Uint8Array",
    unpack: `${name}ToFloat`,
    rule: `${RULE}, and 256 numbers or a multiple of it in all`,
  };
}

const int8: WeightFormat<"int8"> = {
  name: "int8",
  block: 64,
  buffers: [{
    suffix: "",
    elements: 64,
    bytes: 68,
    note: "blocks of 64: their row's scale, sixteen words of int8",
  }],
  reading: sharedReading({
    name: "int8",
    elements: 64,
    type: "f32",
    helpers: ([b]) => `${signedBytes(`signedBytes_${b}`)}\n`,
    read: ([b]) => `return bitcast<f32>(${b}[17u * (i >> 4u)]);`,
    four: ([b]) => `return signedBytes_${b}(${b}[17u * (i >> 4u) + 1u + (i & 15u)]) * s;`,
    pieces: {
      elements: 64,
      type: "f32",
      words: "vec2u",
      quads: 2,
      place: [2, 1],
      read: ([b]) => `return shared_${b}(i);`,
      piece: ([b]) =>
        `let first = 17u * (i >> 4u) + 2u * p + (1u + 2u * n);
  return vec2u(${b}[first], ${b}[first + 1u]);`,
      quad: ([b]) => `return signedBytes_${b}(select(w.x, w.y, t == 1u)) * s;`,
    },
  }),
  array: "Uint8Array",
  unpack: "int8ToFloat",
  rule: RULE,
};

/** bitsandbytes' formats by their names. */
export const BITSANDBYTES_FORMATS: Readonly<
  Record<BitsandbytesFormatName, WeightFormat<BitsandbytesFormatName>>
> = {
  nf4: single("nf4", NF4_LEVELS, null),
  nf4_double: double("nf4_double", NF4_LEVELS),
  fp4: single("fp4", FP4_LEVELS, FP4_ORDER),
  fp4_double: double("fp4_double", FP4_LEVELS),
  int8,
};
