/**
 * Weights that are quantised while they are loaded.
 * @module
 */

import {
  type BitsandbytesFormatName,
  empty,
  quantize,
  type Tensor,
  transpose,
  untracked,
} from "../autograd/mod.ts";
import { Parameter } from "../nn/mod.ts";
import type { WeightSource } from "./weight_source.ts";

/** Fills a parameter in one of bitsandbytes' formats from numbers: one tensor at a time is float32. */
export async function fillQuantized(
  weights: WeightSource,
  [name, path]: readonly [name: string, path: string],
  parameter: Parameter,
  turned: boolean,
): Promise<void> {
  const { device, dtype } = parameter;
  const numbers = new Parameter(untracked(() => empty(device, weights.info(name, path).shape)), false);
  let outByIn: Tensor = numbers;
  try {
    await weights.fill(name, path, numbers);
    if (turned) outByIn = untracked(() => transpose(numbers));
    const packed = await quantize(outByIn, dtype as BitsandbytesFormatName);
    device.copy(packed.view, parameter.view);
    packed.dispose();
  } finally {
    numbers.dispose();
    outByIn.dispose();
  }
}
