/**
 * The 8-bit "dynamic" codes of optimizer states: numbers from 0 to 1 in seven decades, the higher the finer, each cut
 * into equal cells whose middles are the values; and 0 and 1 themselves. Numbers are divided by the largest of their
 * block before. The maps are those of bitsandbytes' `create_dynamic_map`, signed and unsigned, but for one code: the
 * lowest signed one is -1 in place of -0.993, so that the largest of a block is kept exactly whatever its sign, and values
 * that are decoded and encoded again get the same codes.
 * @see Dettmers et al. 2022, "8-bit optimizers via block-wise quantization", arXiv:2110.02861
 * @module
 */

/** Elements that share a scale. */
export const CODE_BLOCK = 256;
const DECADES = 7;

/** One map: code j from 1 on is cell `j + skip - 2^e` of decade `e - skip`, e = floor(log2(j + skip)); `last` is 1. */
interface DynamicMap {
  readonly skip: 0 | 1;
  readonly last: number;
}

/** Magnitudes: a code is 127 + magnitude, or 127 - magnitude for a number below 0, whose last magnitude, 127, is 1. */
const SIGNED: DynamicMap = { skip: 0, last: 128 };
/** Between the last two magnitudes of numbers below 0. */
const LAST_NEGATIVE = (value(SIGNED, 126) + 1) / 2;
const UNSIGNED: DynamicMap = { skip: 1, last: 255 };

function value({ skip, last }: DynamicMap, j: number): number {
  if (j === 0 || j === last) return j === 0 ? 0 : 1;
  const e = 31 - Math.clz32(j + skip);
  const cells = 2 ** e;
  return 10 ** (e - skip - DECADES + 1) * (0.1 + 0.9 * (j + skip - cells + 0.5) / cells);
}

/** The nearest code of a number from 0 to 1. */
function nearest(map: DynamicMap, a: number): number {
  let [low, high] = [0, map.last];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (value(map, middle) <= a) low = middle;
    else high = middle;
  }
  return a - value(map, low) < value(map, high) - a ? low : high;
}

/** Codes of values as the device keeps them, and the scale of each block of 256. */
export function encodeDynamic(
  values: Float32Array,
  signed: boolean,
): { codes: Uint8Array<ArrayBuffer>; scales: Float32Array<ArrayBuffer> } {
  const scales = new Float32Array(Math.ceil(values.length / CODE_BLOCK));
  values.forEach((x, i) => {
    const block = Math.floor(i / CODE_BLOCK);
    scales[block] = Math.max(scales[block], Math.abs(x));
  });
  const map = signed ? SIGNED : UNSIGNED;
  const codes = Uint8Array.from(values, (x, i) => {
    const scale = scales[Math.floor(i / CODE_BLOCK)];
    const magnitude = scale > 0 ? nearest(map, Math.abs(x) / scale) : 0;
    if (!signed) return magnitude;
    if (x >= 0 || magnitude < 127) return 127 + (x < 0 ? -magnitude : magnitude);
    return -x / scale < LAST_NEGATIVE ? 1 : 0;
  });
  return { codes, scales };
}

/** The values of codes: one that is encoded again gets the same code. */
export function decodeDynamic(
  codes: Uint8Array,
  scales: Float32Array,
  signed: boolean,
): Float32Array<ArrayBuffer> {
  return Float32Array.from(codes, (code, i) => {
    const scale = scales[Math.floor(i / CODE_BLOCK)];
    if (!signed) return value(UNSIGNED, code) * scale;
    return (code === 0 ? -1 : Math.sign(code - 127) * value(SIGNED, Math.abs(code - 127))) * scale;
  });
}

function wgslMap(name: string, { skip, last }: DynamicMap): string {
  return /* wgsl */ `
fn ${name}Value(j: u32) -> f32 {
  if (j == 0u) { return 0.0; }
  if (j >= ${last}u) { return 1.0; }
  let e = firstLeadingBit(j + ${skip}u);
  let cells = f32(1u << e);
  return decade(e - ${skip}u) * (0.1 + 0.9 * (f32(j + ${skip}u) - cells + 0.5) / cells);
}
fn ${name}Code(a: f32) -> u32 {
  let i = u32(a >= 1e-6) + u32(a >= 1e-5) + u32(a >= 1e-4) + u32(a >= 1e-3) + u32(a >= 1e-2) + u32(a >= 0.1);
  let cells = f32(1u << (i + ${skip}u));
  let cell = clamp(floor((a / decade(i) - 0.1) / 0.9 * cells), 0.0, cells - 1.0);
  let j = u32(cells + cell) - ${skip}u;
  let own = abs(a - ${name}Value(j)); // the neighbours are nearer at the ends of a decade alone
  if (abs(a - ${name}Value(j - 1u)) < own) { return j - 1u; }
  if (abs(a - ${name}Value(j + 1u)) < own) { return j + 1u; }
  return j;
}
`;
}

/**
 * WGSL: `signed4(word)` and `unsigned4(word)` give the four values of a word, `signedWord(v)` and `unsignedWord(v)` the
 * word of four values from -1 or 0 to 1.
 */
export const dynamicCodesSnippet: string = /* wgsl */ `
fn decade(i: u32) -> f32 {
  switch i {
    case 0u: { return 1e-6; }
    case 1u: { return 1e-5; }
    case 2u: { return 1e-4; }
    case 3u: { return 1e-3; }
    case 4u: { return 1e-2; }
    case 5u: { return 0.1; }
    default: { return 1.0; }
  }
}
${wgslMap("signed", SIGNED)}${wgslMap("unsigned", UNSIGNED)}
fn signedOf(code: u32) -> f32 {
  if (code == 0u) { return -1.0; }
  let j = i32(code) - 127;
  return sign(f32(j)) * signedValue(u32(abs(j)));
}
fn signedCodeOf(x: f32) -> u32 {
  let j = signedCode(abs(x));
  if (x >= 0.0) { return 127u + j; }
  return select(127u - j, select(0u, 1u, -x < ${LAST_NEGATIVE}), j >= 127u);
}
fn signed4(word: u32) -> vec4f {
  return vec4f(signedOf(word & 255u), signedOf((word >> 8u) & 255u), signedOf((word >> 16u) & 255u), signedOf(word >> 24u));
}
fn unsigned4(word: u32) -> vec4f {
  return vec4f(unsignedValue(word & 255u), unsignedValue((word >> 8u) & 255u),
    unsignedValue((word >> 16u) & 255u), unsignedValue(word >> 24u));
}
fn signedWord(v: vec4f) -> u32 {
  return signedCodeOf(v.x) | (signedCodeOf(v.y) << 8u) | (signedCodeOf(v.z) << 16u) | (signedCodeOf(v.w) << 24u);
}
fn unsignedWord(v: vec4f) -> u32 {
  return unsignedCode(v.x) | (unsignedCode(v.y) << 8u) | (unsignedCode(v.z) << 16u) | (unsignedCode(v.w) << 24u);
}
`;
