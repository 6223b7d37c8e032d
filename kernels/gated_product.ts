/**
 * y = f(gate) up, the middle of a gated MLP (Shazeer 2020, arXiv:2002.05202), forward and backward in one kernel each:
 *   dup = dy f(gate),   dgate = dy up f'(gate)
 * @module
 */

import { elementKernel } from "./elements.ts";
import type { KernelSpec } from "./kernel_spec.ts";
import { derivativeOf, GELU, GELU_NEW, SILU } from "./pointwise.ts";

/** Pointwise ops that gate. */
export const GATES = { silu: SILU, geluNew: GELU_NEW, gelu: GELU } as const;
/** Name of an op that gates. */
export type GateName = keyof typeof GATES;

/** y = f(gate) up. */
export type GatedProductKernel = KernelSpec<"gate" | "up" | "y", "size", "WORKGROUP_SIZE">;
/** dgate and dup. */
export type GatedProductBackwardKernel = KernelSpec<
  "gate" | "up" | "dy" | "dgate" | "dup",
  "size",
  "WORKGROUP_SIZE"
>;

function forwardKernel(name: GateName): GatedProductKernel {
  const { value, snippets } = GATES[name];
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
  const { value } = GATES[name];
  const { derivative, functions } = derivativeOf(GATES[name]);
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
    functions,
    each: /* wgsl */ `let v = gate[i];
    dgate[i] = dy[i] * up[i] * (${derivative});
    dup[i] = dy[i] * (${value});`,
  });
}

const names = Object.keys(GATES) as GateName[];
const each = <K>(make: (name: GateName) => K) =>
  Object.fromEntries(names.map((name) => [name, make(name)])) as Record<GateName, K>;
/** Forward kernel of each gate. */
export const gatedProductForward: Readonly<Record<GateName, GatedProductKernel>> = each(forwardKernel);
/** Backward kernel of each gate. */
export const gatedProductBackward: Readonly<Record<GateName, GatedProductBackwardKernel>> = each(
  backwardKernel,
);
