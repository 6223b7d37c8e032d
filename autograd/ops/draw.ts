/**
 * Tensors of random numbers, drawn on the device.
 * @module
 */

import type { Device } from "../../gpu/mod.ts";
import { randomFill } from "../../kernels/random.ts";
import type { Shape } from "../shape.ts";
import { empty, type Tensor } from "../tensor.ts";
import { flatWindows } from "../windows.ts";

function draw(device: Device, shape: Shape, std: number, seed: number, call: number, NORMAL: 0 | 1): Tensor {
  const y = empty(device, shape);
  let first = 0;
  for (const { size, views: [view] } of flatWindows(y)) {
    const seeds = { seedLow: seed >>> 0, seedHigh: Math.floor(seed / 2 ** 32) };
    device.dispatch(randomFill, { y: view }, { size, first, ...seeds, call, scale: std }, { NORMAL });
    first += size;
  }
  return y;
}

/** Normal numbers with mean 0; (seed, call) names the stream. */
export function drawNormal(device: Device, shape: Shape, std: number, seed: number, call: number): Tensor {
  return draw(device, shape, std, seed, call, 1);
}

/** Uniform numbers in [-bound, bound); (seed, call) names the stream. */
export function drawUniform(device: Device, shape: Shape, bound: number, seed: number, call: number): Tensor {
  return draw(device, shape, bound, seed, call, 0);
}
