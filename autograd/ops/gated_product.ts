/**
 * f(gate) up, the middle of a gated MLP: see kernels/gated_product.ts.
 * @see Shazeer 2020, arXiv:2002.05202
 * @module
 */

import { gatedProductBackward, gatedProductForward, type GateName } from "../../kernels/gated_product.ts";
import { record } from "../record.ts";
import { sameShape, showShape } from "../shape.ts";
import { empty, type Tensor } from "../tensor.ts";
import { checkFloat } from "./_checks.ts";

export type { GateName };

/**
 * y = f(gate) up, elementwise.
 * @param name f: "silu", "geluNew" or "gelu"   @param gate any shape   @param up shape of gate
 * @returns shape of gate
 * @throws {TypeError} if a dtype does not fit or the shapes differ
 */
export function gatedProduct(name: GateName, gate: Tensor, up: Tensor): Tensor {
  checkFloat("gate", gate);
  checkFloat("gate", up);
  if (!sameShape(gate.shape, up.shape)) {
    throw new TypeError(
      `Cannot gate up ${showShape(up.shape)} by ${showShape(gate.shape)}: equal shapes are required`,
    );
  }
  const { device, shape, size } = gate;
  const y = empty(device, shape);
  device.dispatch(gatedProductForward[name], { gate: gate.view, up: up.view, y: y.view }, { size });
  return record("gatedProduct", {
    inputs: { gate, up },
    saved: { gate, up },
    outputs: [y],
    backward: ({ dy, saved: { gate, up }, needs }) => {
      const { dgate, dz: dup } = gatedGradients(name, gate, up, dy);
      return { gate: needs.gate ? dgate : null, up: needs.up ? dup : null };
    },
  });
}

/** @internal Gradients of y = f(gate) z for the gradient `dy` of y. */
export function gatedGradients(
  name: GateName,
  gate: Tensor,
  z: Tensor,
  dy: Tensor,
): { dz: Tensor; dgate: Tensor } {
  const { device, shape, size } = dy;
  const [dgate, dz] = [empty(device, shape), empty(device, shape)];
  device.dispatch(gatedProductBackward[name], {
    gate: gate.view,
    up: z.view,
    dy: dy.view,
    dgate: dgate.view,
    dup: dz.view,
  }, { size });
  return { dz, dgate };
}
