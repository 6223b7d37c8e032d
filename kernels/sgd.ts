/**
 * Stochastic gradient descent over many tensors, with the numbers of `torch.optim.SGD`:
 *   d = g + wd p;  b = momentum b + (1 - dampening) d (b = d the first time)
 *   p -= lr (b, or d + momentum b with Nesterov, or d without momentum)
 * written as b = keep b + take d and p -= lr (own d + past b). `hyper` has AdamW's layout.
 * @module
 */

import { notFiniteSnippet } from "./adamw.ts";
import { type SlotFamily, type SlotKernel, slotKernels } from "./tensor_slots.ts";

const HEAD = /* wgsl */ `
  let j = first * WORKGROUP_SIZE + lid.x; // vec4 of the tensor
  if (j >= (size + 3u) / 4u || notFinite(hyper[0].y)) { return; }
  let rates = hyper[1u + 2u * (params.row + slot)]; // lr, wd, keep, take
`;

const plain: SlotFamily = {
  name: "sgd",
  each: { p: "read_write", g: "read" },
  shared: { hyper: "read vec4f // [1 + 2 rows]: clip, then rows" },
  params: { row: "u32" },
  functions: notFiniteSnippet,
  body: (access) =>
    `${HEAD.trim()}
  var p: vec4f;
  var g: vec4f;
  ${access((i) => `p = p${i}[j]; g = g${i}[j];`)}
  p -= rates.x * (g * hyper[0].x + rates.y * p);
  ${access((i) => `p${i}[j] = p;`)}
`,
};

const momentum: SlotFamily = {
  name: "sgdMomentum",
  each: { p: "read_write", g: "read" },
  shared: {
    state: "read_write vec4f // [total]: b of all slots",
    hyper: "read vec4f // [1 + 2 rows]: clip, then rows",
  },
  params: { row: "u32" },
  functions: notFiniteSnippet,
  body: (access) =>
    `${HEAD.trim()}
  let mix = hyper[2u + 2u * (params.row + slot)]; // own, past
  var p: vec4f;
  var g: vec4f;
  ${access((i) => `p = p${i}[j]; g = g${i}[j];`)}
  let at = base + j;
  let d = g * hyper[0].x + rates.y * p;
  let b = rates.z * state[at] + rates.w * d;
  state[at] = b;
  p -= rates.x * (mix.x * d + mix.y * b);
  ${access((i) => `p${i}[j] = p;`)}
`,
};

/** SGD without momentum on up to `slots` tensors. */
export const sgdKernel: (slots: number) => SlotKernel = slotKernels(plain);
/** SGD with momentum on up to `slots` tensors. */
export const sgdMomentumKernel: (slots: number) => SlotKernel = slotKernels(momentum);
