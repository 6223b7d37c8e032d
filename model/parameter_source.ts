/**
 * Where the parameters of a model under construction come from: drawn at random, or left without memory until a
 * checkpoint fills them.
 * @module
 */

import type { Shape } from "../autograd/mod.ts";
import type { Initializer, Parameter } from "../nn/mod.ts";

/**
 * Gives a module tree each of its parameters, in the order in which it asks.
 * @param init how the parameter is drawn; "residual" for the projections that add to the residual stream
 * @param matrix whether it may be stored as float16 when frozen
 */
export type ParameterSource = (
  shape: Shape,
  init: "normal" | "residual" | "zeros" | "ones",
  matrix: boolean,
) => Parameter;

/** Draws from N(0, std), "residual" from N(0, residualStd). */
export function randomSource(init: Initializer, std: number, residualStd: number = std): ParameterSource {
  return (shape, kind) => {
    if (kind === "zeros" || kind === "ones") return init.constant(shape, kind === "ones" ? 1 : 0);
    return init.normal(shape, kind === "residual" ? residualStd : std);
  };
}

/**
 * Runs `build` with a source. If it fails, which happens where memory runs out, the parameters made so far are disposed
 * before the error is thrown on.
 */
export function buildWith<T>(source: ParameterSource, build: (source: ParameterSource) => T): T {
  const made: Parameter[] = [];
  try {
    return build((...what) => {
      const parameter = source(...what);
      made.push(parameter);
      return parameter;
    });
  } catch (error) {
    for (const parameter of made) parameter.dispose();
    throw error;
  }
}
