/**
 * Named pieces of WGSL that several kernels need: functions without bindings, pasted before a kernel's own text. They
 * replace builtins that drivers get wrong (`tanh` is NaN for |x| >= 89 on one driver and 1,400 ULP off on two) and
 * keep one formula in one place.
 * @module
 */

/** Start of `main` where a grid of workgroups may be folded: their number is `wid.x + wid.y * nwg.x`. */
export const MAIN = /* wgsl */ `@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
  @builtin(local_invocation_id) lid: vec3u) {`;
/** The number of a thread in such a grid. */
export const THREAD = /* wgsl */ `(wid.x + wid.y * nwg.x) * WORKGROUP_SIZE + lid.x`;

/**
 * `tanhOwn(x: f32) -> f32` within 8 ULP, defined for every finite x, NaN for NaN.
 * Below 0.25 an odd polynomial (Taylor, degree 9); above it sign(x) * (1 - 2 / (exp(2 |x|) + 1)), |x| capped at 15
 * where the f32 result is 1 already. NaN is recognised by its bits: float comparisons may assume that it does not
 * occur.
 */
export const tanhSnippet: string = /* wgsl */ `
fn tanhOwn(x: f32) -> f32 {
  let s = x * x;
  let small = x * (1.0 + s * (-0.33333333 + s * (0.13333333 + s * (-0.053968254 + s * 0.021869488))));
  let large = sign(x) * (1.0 - 2.0 / (exp(2.0 * min(abs(x), 15.0)) + 1.0));
  let y = select(large, small, abs(x) < 0.25);
  return select(y, x, (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u);
}
`;

/**
 * `geluNew(x)` for f32 and `geluNew4` for vec4f: GPT-2's tanh approximation 0.5 x (1 + tanh(u)),
 * u = sqrt(2/pi) (x + 0.044715 x^3), written as x * s with s = 1 / (1 + exp(-2u)). That is the same function without
 * tanh, and without its cancellation for negative x. |u| is capped at 43 so that exp stays finite; x multiplies the
 * result, so NaN stays NaN.
 */
export const geluNewSnippet: string = /* wgsl */ `
fn geluNewSigmoid4(x: vec4f) -> vec4f {
  let u = clamp(0.7978845608 * x * (1.0 + 0.044715 * x * x), vec4f(-43.0), vec4f(43.0));
  return 1.0 / (1.0 + exp(-2.0 * u));
}
fn geluNew4(x: vec4f) -> vec4f { return x * geluNewSigmoid4(x); }
fn geluNew(x: f32) -> f32 { return geluNew4(vec4f(x)).x; }
`;

/** `geluNewDerivative(x)`, beside the functions of {@linkcode geluNewSnippet}: s + 2 x s (1 - s) du/dx. */
export const geluNewDerivativeSnippet: string = /* wgsl */ `
fn geluNewDerivative4(x: vec4f) -> vec4f {
  let s = geluNewSigmoid4(x);
  // Beyond |x| = 15 the second term is 0 in f32; without the select it would be 0 * infinity, or a residue times x.
  let c = clamp(x, vec4f(-15.0), vec4f(15.0));
  let du = 0.7978845608 * (1.0 + 0.134145 * c * c);
  return s + x * select(2.0 * s * (1.0 - s) * du, vec4f(0.0), abs(x) > vec4f(15.0));
}
fn geluNewDerivative(x: f32) -> f32 { return geluNewDerivative4(vec4f(x)).x; }
`;

/** Turns of the loop in `philox4x32`. */
export const PHILOX_LOOP = 5;

/**
 * `philox4x32(counter: vec4u, key: vec2u) -> vec4u`: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as
 * easy as 1, 2, 3"), and `uniform01(bits: u32) -> f32` in [0, 1) from the upper 24 bits.
 */
export const philoxSnippet: string = /* wgsl */ `
fn mulHigh(a: u32, b: u32) -> u32 {
  let a0 = a & 0xffffu;
  let a1 = a >> 16u;
  let b0 = b & 0xffffu;
  let b1 = b >> 16u;
  let low = a1 * b0 + ((a0 * b0) >> 16u);
  let middle = a0 * b1 + (low & 0xffffu);
  return a1 * b1 + (low >> 16u) + (middle >> 16u);
}
fn philoxRound(c: vec4u, k: vec2u) -> vec4u {
  return vec4u(
    mulHigh(0xCD9E8D57u, c.z) ^ c.y ^ k.x,
    0xCD9E8D57u * c.z,
    mulHigh(0xD2511F53u, c.x) ^ c.w ^ k.y,
    0xD2511F53u * c.x,
  );
}
fn philox4x32(counter: vec4u, key: vec2u) -> vec4u {
  let step = vec2u(0x9E3779B9u, 0xBB67AE85u);
  var c = counter;
  var k = key;
  for (var pair = 0u; pair < ${PHILOX_LOOP}u; pair++) { // ten rounds
    c = philoxRound(philoxRound(c, k), k + step);
    k += 2u * step;
  }
  return c;
}
fn uniform01(bits: u32) -> f32 { return f32(bits >> 8u) * 5.9604644775390625e-8; }
`;

/**
 * `expKeep(v)` and `logKeep(v)` for f32, `expKeep4(v)` for vec4f: exp and log that give NaN for NaN, log also NaN below
 * 0 and -infinity at 0. Drivers' builtins make numbers of these (exp(NaN) infinity, log(-1000) 6.9), and a loss that
 * should be NaN would look right. All cases are recognised by bits: comparisons may assume that NaN does not occur.
 */
export const keepNanSnippet: string = /* wgsl */ `
fn expKeep(v: f32) -> f32 { return select(exp(v), v, (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u); }
fn expKeep4(v: vec4f) -> vec4f {
  return select(exp(v), v, (bitcast<vec4u>(v) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u));
}
fn logKeep(v: f32) -> f32 {
  let bits = bitcast<u32>(v);
  let low = bitcast<f32>(bits | select(0x7fc00000u, 0xff800000u, (bits << 1u) == 0u)); // NaN, or -infinity for 0
  return select(log(v), low, bits > 0x7f800000u || bits == 0u);
}
`;

/**
 * A function of `(lane, v)` that combines the `WORKGROUP_SIZE` values of a workgroup (a power of two) in `cells`, as a
 * tree in a fixed order. Every invocation must call it; the result reaches all.
 */
export function groupReduction(
  name: string,
  type: string,
  cells: string,
  combine: (a: string, b: string) => string,
): string {
  return /* wgsl */ `
fn ${name}(lane: u32, v: ${type}) -> ${type} {
  ${cells}[lane] = v;
  workgroupBarrier(); // every cell is written
  for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
    if (lane < half) { ${cells}[lane] = ${combine(`${cells}[lane]`, `${cells}[lane + half]`)}; }
    workgroupBarrier(); // this level is done
  }
  let result = ${cells}[0];
  workgroupBarrier(); // everyone has read before the cells are used again
  return result;
}
`;
}

/** `groupSum(lane, v)` and `groupMax(lane, v)` over a workgroup: see {@linkcode groupReduction}. */
export const workgroupReduceSnippet: string = /* wgsl */ `
var<workgroup> groupCells: array<f32, WORKGROUP_SIZE>;${
  groupReduction("groupSum", "f32", "groupCells", (a, b) => `${a} + ${b}`)
}${groupReduction("groupMax", "f32", "groupCells", (a, b) => `max(${a}, ${b})`)}`;
