/**
 * y = f(gate) up, the middle of a gated MLP (Shazeer 2020, arXiv:2002.05202), forward and backward in one kernel each:
 *   dup = dy f(gate),   dgate = dy up f'(gate)
 * @module
 */

import { elementKernel } from "./elements.ts";
import type { KernelSpec } from "./kernel_spec.ts";
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

function forwardKernel(name: GateName): GatedProductKernel {
  const { value, snippets }: UnaryRow = unaryTable[name];
  return elementKernel({
    name: `gatedProduct.${name}`,
    buffers: {
      gate: "read f32 // [size]",
      up: "read f32 // [size]",
      y: "read_write f32 // [size]",
    },
    params: { size: "u32" },
    functions: snippets,
    each: /* wgsl */ `let v = gate[i];
    y[i] = (${value}) * up[i];`,
  });
}

function backwardKernel(name: GateName): GatedProductBackwardKernel {
  const { value, derivative, snippets }: UnaryRow = unaryTable[name];
  return elementKernel({
    name: `gatedProduct.${name}.backward`,
    buffers: {
      gate: "read f32 // [size]",
      up: "read f32 // [size]",
      dy: "read f32 // [size]",
      dgate: "read_write f32 // [size]",
      dup: "read_write f32 // [size]",
    },
    params: { size: "u32" },
    functions: snippets,
    each: /* wgsl */ `let v = gate[i];
    dgate[i] = dy[i] * up[i] * (${derivative});
    dup[i] = dy[i] * (${value});`,
  });
}

const each = <K>(make: (name: GateName) => K) =>
  Object.fromEntries(GATES.map((name) => [name, make(name)])) as Record<GateName, K>;
/** Forward kernel of each gate. */
export const gatedProductForward: Readonly<Record<GateName, GatedProductKernel>> = each(forwardKernel);
/** Backward kernel of each gate. */
export const gatedProductBackward: Readonly<Record<GateName, GatedProductBackwardKernel>> = each(
  backwardKernel,
);
