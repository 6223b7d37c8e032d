/**
 * Lion over many tensors (Chen et al. 2023, "Symbolic discovery of optimization algorithms", arXiv:2302.06675):
 *   p *= 1 - lr wd;   p -= lr sign(beta1 m + (1 - beta1) g);   m = beta2 m + (1 - beta2) g
 * `hyper` has AdamW's layout.
 * @module
 */

import { notFiniteSnippet } from "./adamw.ts";
import { type SlotFamily, type SlotKernel, slotKernels } from "./tensor_slots.ts";

const family: SlotFamily = {
  name: "lion",
  each: { p: "read_write", g: "read" },
  shared: {
    state: "read_write vec4f // [total]: m of all slots",
    hyper: "read vec4f // [1 + 2 rows]: clip, then rows",
  },
  params: { row: "u32" },
  functions: notFiniteSnippet,
  body: (access) => /* wgsl */ `
  let j = first * WORKGROUP_SIZE + lid.x; // vec4 of the tensor
  if (j >= (size + 3u) / 4u || notFinite(hyper[0].y)) { return; }
  let rates = hyper[1u + 2u * (params.row + slot)]; // 1 - lr wd, lr
  let betas = hyper[2u + 2u * (params.row + slot)]; // beta1, 1 - beta1, beta2, 1 - beta2
  var p: vec4f;
  var g: vec4f;
  ${access((i) => `p = p${i}[j]; g = g${i}[j];`)}
  g *= hyper[0].x;
  let at = base + j;
  let m = state[at];
  state[at] = betas.z * m + betas.w * g;
  p = p * rates.x - rates.y * sign(betas.x * m + betas.y * g);
  ${access((i) => `p${i}[j] = p;`)}
`,
};

/** Lion on up to `slots` tensors. */
export const lionKernel: (slots: number) => SlotKernel = slotKernels(family);
