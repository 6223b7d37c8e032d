/**
 * The L2 norm of many tensors together, and scaling them by what clips it (`torch.nn.utils.clip_grad_norm_`):
 *   norm = sqrt(sum of all g^2),   coefficient = min(1, maxNorm / (norm + 1e-6))
 * Every thread sums the squares of `perThread` vectors, strided so that neighbours read neighbours; one workgroup adds
 * the partial sums by a tree. The order is fixed, so the result is deterministic. Partial sums travel as bits: an
 * infinity or NaN among the elements is found by its bits, since arithmetic may assume it absent.
 * @module
 */

import { defineKernel } from "./define_kernel.ts";
import type { KernelSpec } from "./kernel_spec.ts";
import { type SlotFamily, type SlotKernel, slotKernels } from "./tensor_slots.ts";

const squares: SlotFamily = {
  name: "gradNormPartials",
  each: { g: "read" },
  shared: {
    partials: "read_write u32 // [all groups * WORKGROUP_SIZE]: bits of a sum, or of what is not finite",
  },
  params: { perThread: "u32", offset: "u32" },
  functions: "",
  body: (access) => /* wgsl */ `
  let vectors = (size + 3u) / 4u;
  let start = first * WORKGROUP_SIZE * params.perThread + lid.x;
  var total = vec4f(0.0);
  var bits = vec4u(0u); // largest exponent-and-mantissa bits met
  for (var k = 0u; k < params.perThread; k++) {
    let j = start + k * WORKGROUP_SIZE;
    if (j >= vectors) { break; }
    var g: vec4f;
    ${access((i) => `g = g${i}[j];`)}
    // Beyond the tensor's last element the buffer's padding begins.
    g = select(vec4f(0.0), g, vec4u(4u * j) + vec4u(0u, 1u, 2u, 3u) < vec4u(size));
    total += g * g;
    bits = max(bits, bitcast<vec4u>(g) & vec4u(0x7fffffffu));
  }
  let most = max(max(bits.x, bits.y), max(bits.z, bits.w));
  let sum = (total.x + total.y) + (total.z + total.w);
  partials[params.offset + group * WORKGROUP_SIZE + lid.x] =
    select(bitcast<u32>(sum), most, most >= 0x7f800000u);
`,
};

/** Sums of squares of up to `slots` tensors. */
export const gradNormPartials: (slots: number) => SlotKernel = slotKernels(squares);

/** Partial sums -> norm [1], and clip [2]: coefficient and norm. */
export const gradNormFinish: KernelSpec<"partials" | "norm" | "clip", "count" | "maxNorm"> = defineKernel({
  name: "gradNormFinish",
  buffers: {
    partials: "read u32 // [count]: bits",
    norm: "read_write u32 // [1]: bits",
    clip: "read_write u32 // [2]: bits of coefficient and norm",
  },
  params: { count: "u32", maxNorm: "f32" },
  tuning: {},
  grid: () => [1],
  program: /* wgsl */ `
var<workgroup> sums: array<f32, 128>;
var<workgroup> flags: array<u32, 128>;

@compute @workgroup_size(128)
fn main(@builtin(local_invocation_id) lid: vec3u) {
  var sum = 0.0;
  var flag = 0u;
  for (var i = lid.x; i < params.count; i += 128u) {
    let bits = partials[i];
    if (bits >= 0x7f800000u) { flag = max(flag, bits); } else { sum += bitcast<f32>(bits); }
  }
  sums[lid.x] = sum;
  flags[lid.x] = flag;
  for (var width = 64u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lid.x < width) {
      sums[lid.x] += sums[lid.x + width];
      flags[lid.x] = max(flags[lid.x], flags[lid.x + width]);
    }
  }
  workgroupBarrier();
  if (lid.x == 0u) {
    let total = max(flags[0], bitcast<u32>(sums[0])); // bits of a sum >= 0 sort as the numbers do
    let length = sqrt(sums[0]);
    var norm_bits = bitcast<u32>(length);
    var clip_bits = bitcast<u32>(min(1.0, params.maxNorm / (length + 1e-6)));
    if (total == 0x7f800000u) { // an infinity, or squares too large for f32
      norm_bits = 0x7f800000u;
      clip_bits = 0u;
    } else if (total > 0x7f800000u) {
      norm_bits = 0x7fc00000u;
      clip_bits = 0x7fc00000u;
    }
    norm[0] = norm_bits;
    clip[0] = clip_bits;
    clip[1] = norm_bits;
  }
}
`,
});

const scaling: SlotFamily = {
  name: "clipGradients",
  each: { g: "read_write" },
  shared: { clip: "read f32 // [2]: coefficient and norm" },
  params: {},
  functions: "",
  body: (access) => /* wgsl */ `
  let j = first * WORKGROUP_SIZE + lid.x; // vec4 of the tensor
  if (j >= (size + 3u) / 4u) { return; }
  ${access((i) => `g${i}[j] *= clip[0];`)}
`,
};

/** g *= coefficient, for up to `slots` tensors. */
export const clipGradients: (slots: number) => SlotKernel = slotKernels(scaling);
