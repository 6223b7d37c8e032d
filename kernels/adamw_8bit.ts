/**
 * AdamW as in `adamw.ts`, its moments kept in 8-bit codes: a workgroup holds one block of 256 elements, decodes their
 * moments, updates them in float32, and encodes them by the largest of the block.
 * @see Dettmers et al. 2022, arXiv:2110.02861
 * @module
 */

import { notFiniteSnippet } from "./adamw.ts";
import { CODE_BLOCK, dynamicCodesSnippet } from "./dynamic_codes.ts";
import { type SlotFamily, type SlotKernel, slotKernels } from "./tensor_slots.ts";

/** Vec4s, and threads, of a block. */
export const BLOCK_VECTORS: number = CODE_BLOCK / 4;

const family: SlotFamily = {
  name: "adamw8bit",
  each: { p: "read_write", g: "read" },
  shared: {
    state: "read_write u32 // codes of m [total] and v [total], then their scales, f32 [blocks] each",
    hyper: "read vec4f // [1 + 2 rows]: see adamw.ts",
  },
  params: { total: "u32", row: "u32", blocks: "u32" },
  functions: `${notFiniteSnippet}
${dynamicCodesSnippet}
var<workgroup> largest: array<vec2f, ${BLOCK_VECTORS}>;`,
  body: (access) => /* wgsl */ `
  let j = first * ${BLOCK_VECTORS}u + lid.x; // vec4 of the tensor
  let has = j < (size + 3u) / 4u;
  let at = base + j;
  // A block of its own for each workgroup, whichever slots have work.
  let block = base / ${BLOCK_VECTORS}u + slot + first;
  let scales = 2u * params.total + block;
  let rates = hyper[1u + 2u * (params.row + slot)]; // 1 - lr wd, lr / (1 - beta1^t), sqrt(1 - beta2^t), eps
  let betas = hyper[2u + 2u * (params.row + slot)]; // 1 - beta1, beta2, 1 - beta2
  var p: vec4f;
  var m: vec4f;
  var v: vec4f;
  if (has) {
    var g: vec4f;
    ${access((i) => `p = p${i}[j]; g = g${i}[j];`)}
    g *= hyper[0].x;
    m = signed4(state[at]) * bitcast<f32>(state[scales]);
    v = unsigned4(state[params.total + at]) * bitcast<f32>(state[scales + params.blocks]);
    m += betas.x * (g - m);
    v = v * betas.y + betas.z * (g * g);
    let inside = vec4u(4u * j, 4u * j + 1u, 4u * j + 2u, 4u * j + 3u) < vec4u(size); // the rest is padding
    m = select(vec4f(0.0), m, inside);
    v = select(vec4f(0.0), v, inside);
  }
  let absolute = abs(m);
  largest[lid.x] = vec2f(
    max(max(absolute.x, absolute.y), max(absolute.z, absolute.w)),
    max(max(v.x, v.y), max(v.z, v.w)),
  );
  workgroupBarrier();
  for (var half = ${BLOCK_VECTORS / 2}u; half > 0u; half /= 2u) {
    if (lid.x < half) { largest[lid.x] = max(largest[lid.x], largest[lid.x + half]); }
    workgroupBarrier();
  }
  if (!has || notFinite(hyper[0].y)) { return; }
  let most = largest[0];
  let unit = 1.0 / select(most, vec2f(1.0), most == vec2f(0.0));
  state[at] = signedWord(m * unit.x);
  state[params.total + at] = unsignedWord(v * unit.y);
  if (lid.x == 0u) {
    state[scales] = bitcast<u32>(most.x);
    state[scales + params.blocks] = bitcast<u32>(most.y);
  }
  p = p * rates.x - rates.y * (m / (sqrt(v) / rates.z + rates.w));
  ${access((i) => `p${i}[j] = p;`)}
`,
};

/** AdamW with 8-bit moments on up to `slots` tensors. */
export const adamw8bitKernel: (slots: number) => SlotKernel = slotKernels(family);
