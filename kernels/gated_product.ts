/**
 * y = f(gate) up, the middle of a gated MLP (Shazeer 2020, arXiv:2002.05202), forward and backward in one kernel each:
 *   dup = dy f(gate),   dgate = dy up f'(gate)
 * Every thread takes four elements.
 * @module
 */

import { groupsFor, type KernelSpec } from "./kernel_spec.ts";
import { type UnaryName, type UnaryRow, unaryTable } from "./pointwise.ts";

/** Pointwise ops that gate. */
export const GATES = ["silu", "geluNew", "gelu"] as const satisfies readonly UnaryName[];
/** Name of an op that gates. */
export type GateName = typeof GATES[number];

/** y = f(gate) up. */
export type GatedProductKernel = KernelSpec<"gate" | "up" | "y", "size", "WORKGROUP_SIZE">;
/** dgate and dup. */
export type GatedProductBackwardKernel = KernelSpec<
  "gate" | "up" | "dy" | "dgate" | "dup",
  "size",
  "WORKGROUP_SIZE"
>;

const PER_THREAD = 4;
const grid = ({ size }: { readonly size: number }, { WORKGROUP_SIZE }: { readonly WORKGROUP_SIZE: number }) =>
  [groupsFor(size, PER_THREAD * WORKGROUP_SIZE)] as const;
const MAIN = /* wgsl */ `@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
  @builtin(local_invocation_id) lid: vec3u) {
  let first = ((wid.x + wid.y * nwg.x) * WORKGROUP_SIZE + lid.x) * 4u;
  for (var i = first; i < min(first + 4u, params.size); i++) {
    let v = gate[i];`;

function forwardKernel(name: GateName): GatedProductKernel {
  const { value, snippets = "" }: UnaryRow = unaryTable[name];
  return {
    name: `gatedProduct.${name}`,
    buffers: { gate: "read", up: "read", y: "read_write" },
    params: { size: "u32" },
    tuning: { WORKGROUP_SIZE: 64 },
    grid,
    wgsl: `
override WORKGROUP_SIZE: u32 = 64u;
${snippets}
struct Params { size: u32 }
@group(0) @binding(0) var<storage, read> gate: array<f32>; // [size]
@group(0) @binding(1) var<storage, read> up: array<f32>; // [size]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [size]
@group(0) @binding(3) var<uniform> params: Params;

${MAIN}
    y[i] = (${value}) * up[i];
  }
}
`,
  };
}

function backwardKernel(name: GateName): GatedProductBackwardKernel {
  const { value, derivative, snippets = "" }: UnaryRow = unaryTable[name];
  return {
    name: `gatedProduct.${name}.backward`,
    buffers: { gate: "read", up: "read", dy: "read", dgate: "read_write", dup: "read_write" },
    params: { size: "u32" },
    tuning: { WORKGROUP_SIZE: 64 },
    grid,
    wgsl: `
override WORKGROUP_SIZE: u32 = 64u;
${snippets}
struct Params { size: u32 }
@group(0) @binding(0) var<storage, read> gate: array<f32>; // [size]
@group(0) @binding(1) var<storage, read> up: array<f32>; // [size]
@group(0) @binding(2) var<storage, read> dy: array<f32>; // [size]
@group(0) @binding(3) var<storage, read_write> dgate: array<f32>; // [size]
@group(0) @binding(4) var<storage, read_write> dup: array<f32>; // [size]
@group(0) @binding(5) var<uniform> params: Params;

${MAIN}
    dgate[i] = dy[i] * up[i] * (${derivative});
    dup[i] = dy[i] * (${value});
  }
}
`,
  };
}

const each = <K>(make: (name: GateName) => K) =>
  Object.fromEntries(GATES.map((name) => [name, make(name)])) as Record<GateName, K>;
/** Forward kernel of each gate. */
export const gatedProductForward: Readonly<Record<GateName, GatedProductKernel>> = each(forwardKernel);
/** Backward kernel of each gate. */
export const gatedProductBackward: Readonly<Record<GateName, GatedProductBackwardKernel>> = each(
  backwardKernel,
);
