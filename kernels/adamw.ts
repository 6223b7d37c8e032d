/**
 * AdamW over many tensors (Loshchilov and Hutter 2019, "Decoupled weight decay regularization"), with the numbers of
 * `torch.optim.AdamW`:
 *   p *= 1 - lr wd;  m += (1 - beta1) (g - m);  v = beta2 v + (1 - beta2) g^2
 *   p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
 * What changes from step to step comes from `hyper`, computed on the host in float64, so that recorded launches can be
 * replayed: `hyper[0]` is the clip coefficient and the gradient norm (a norm that is not finite leaves everything as
 * it is), then two vectors per slot.
 * @module
 */

import { type SlotFamily, type SlotKernel, slotKernels } from "./tensor_slots.ts";

/** Whether the bits of v are those of an infinity or NaN, which comparisons may assume absent. */
export const notFiniteSnippet: string = /* wgsl */ `
fn notFinite(v: f32) -> bool { return (bitcast<u32>(v) & 0x7f800000u) == 0x7f800000u; }
`;

const family: SlotFamily = {
  name: "adamw",
  each: { p: "read_write", g: "read" },
  shared: {
    state: "read_write vec4f // [2, total]: m of all slots, then v",
    hyper: "read vec4f // [1 + 2 rows]: see the head of this file",
  },
  params: { total: "u32", row: "u32" },
  functions: notFiniteSnippet,
  body: (access) => /* wgsl */ `
  let j = first * WORKGROUP_SIZE + lid.x; // vec4 of the tensor
  if (j >= (size + 3u) / 4u || notFinite(hyper[0].y)) { return; }
  let rates = hyper[1u + 2u * (params.row + slot)]; // 1 - lr wd, lr / (1 - beta1^t), sqrt(1 - beta2^t), eps
  let betas = hyper[2u + 2u * (params.row + slot)]; // 1 - beta1, beta2, 1 - beta2
  var p: vec4f;
  var g: vec4f;
  ${access((i) => `p = p${i}[j]; g = g${i}[j];`)}
  g *= hyper[0].x;
  let at = base + j;
  let m = state[at] + betas.x * (g - state[at]);
  let v = state[params.total + at] * betas.y + betas.z * (g * g);
  state[at] = m;
  state[params.total + at] = v;
  p = p * rates.x - rates.y * (m / (sqrt(v) / rates.z + rates.w));
  ${access((i) => `p${i}[j] = p;`)}
`,
};

/** AdamW on up to `slots` tensors. */
export const adamwKernel: (slots: number) => SlotKernel = slotKernels(family);
