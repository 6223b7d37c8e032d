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

/**
 * The 256 numbers of a map, ascending, as `create_dynamic_map` makes them in float32: 0, 1, and the middles of 2^e cells of
 * [0.1, 1] times 10^(e - 6) for e from 0 to 6, of either sign; without signs of twice as many cells.
 */
export function dynamicMap(signed = true): Float32Array<ArrayBuffer> {
  const { fround } = Math;
  const numbers = [0, 1];
  for (let e = 0; e < 7; e++) {
    const parts = 2 ** (signed ? e : e + 1);
    const step = fround(fround(1 - fround(0.1)) / parts);
    const edge = (i: number) =>
      i <= parts / 2 ? fround(fround(0.1) + fround(step * i)) : fround(1 - fround(step * (parts - i)));
    for (let i = 0; i < parts; i++) {
      const middle = fround(fround(edge(i) + edge(i + 1)) / 2);
      const number = fround(fround(10 ** (e - 6)) * middle);
      numbers.push(number);
      if (signed) numbers.push(-number);
    }
  }
  return Float32Array.from(numbers.sort((a, b) => a - b));
}

/** The numbers of the codes of states. */
function codeNumbers(signed: boolean): Float32Array<ArrayBuffer> {
  const numbers = dynamicMap(signed);
  if (signed) numbers[0] = -1;
  return numbers;
}

const NUMBERS = { signed: codeNumbers(true), unsigned: codeNumbers(false) };
/** Between the last two numbers below 0. */
const LAST_NEGATIVE = (1 - NUMBERS.signed[1]) / 2;

/** The nearest code of a number from -1 to 1. */
function nearest(numbers: Float32Array, a: number): number {
  let [low, high] = [0, numbers.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (numbers[middle] <= a) low = middle;
    else high = middle;
  }
  return a - numbers[low] < numbers[high] - a ? low : high;
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
  const numbers = signed ? NUMBERS.signed : NUMBERS.unsigned;
  const codes = Uint8Array.from(values, (x, i) => {
    const scale = scales[Math.floor(i / CODE_BLOCK)];
    return nearest(numbers, scale > 0 ? x / scale : 0);
  });
  return { codes, scales };
}

/** The values of codes: one that is encoded again gets the same code. */
export function decodeDynamic(
  codes: Uint8Array,
  scales: Float32Array,
  signed: boolean,
): Float32Array<ArrayBuffer> {
  const numbers = signed ? NUMBERS.signed : NUMBERS.unsigned;
  return Float32Array.from(codes, (code, i) => numbers[code] * scales[Math.floor(i / CODE_BLOCK)]);
}

/** WGSL for 10^(e - 6), e from 0 to 6. */
const DECADE = (e: string) =>
  `select(select(select(1e-6, 1e-5, ${e} == 1u), 1e-4, ${e} == 2u),
    select(select(select(1e-3, 1e-2, ${e} == 4u), 1e-1, ${e} == 5u), 1.0, ${e} == 6u), ${e} >= 3u)`;

/**
 * WGSL of a function of the magnitude number j of a map, from 0 on: 128 numbers and 1 with signs, 255 and 1 without. Within
 * 2e-7 of the rounded table.
 */
export function dynamicMagnitude(name: string, signed: boolean): string {
  const [skip, last] = signed ? [0, 128] : [1, 255];
  return /* wgsl */ `
fn ${name}(j: u32) -> f32 {
  if (j == 0u) { return 0.0; }
  if (j >= ${last}u) { return 1.0; }
  let q = j + ${skip}u;
  let bit = firstLeadingBit(q);
  let e = bit - ${skip}u;
  let middle = 0.1 + 0.9 * (f32(2u * (q - (1u << bit)) + 1u) / f32(2u << bit));
  return middle * ${DECADE("e")};
}
`;
}

function wgslMap(name: string, signed: boolean): string {
  const skip = signed ? 0 : 1;
  return /* wgsl */ `${dynamicMagnitude(`${name}Value`, signed)}
fn ${name}Code(a: f32) -> u32 {
  let e = u32(a >= 1e-6) + u32(a >= 1e-5) + u32(a >= 1e-4) + u32(a >= 1e-3) + u32(a >= 1e-2) + u32(a >= 0.1);
  let cells = f32(1u << (e + ${skip}u));
  let cell = clamp(floor((a / ${DECADE("e")} - 0.1) / 0.9 * cells), 0.0, cells - 1.0);
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
export const dynamicCodesSnippet: string = /* wgsl */ `${wgslMap("signed", true)}${wgslMap("unsigned", false)}
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
