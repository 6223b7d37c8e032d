/**
 * What adapters must know of bases whose weights are in formats of few bits.
 * @module
 */
import { isQuantized } from "../../autograd/mod.ts";
import type { Module } from "../../nn/mod.ts";

/** Formats of few bits that weights of a tree are in. */
export function quantizedTypes(model: Module): string[] {
  return [...new Set([...model.parameters()].map(({ dtype }) => dtype as string).filter(isQuantized))];
}

/** @throws {RangeError} if a module that is to train whole has weights of few bits */
export function checkTrainsWhole(path: string, module: Module): void {
  const [type] = quantizedTypes(module);
  if (type === undefined) return;
  throw new RangeError(
    `Cannot train module "${path}" whole: float32 weights are required, received ${type}; load the model in float32`,
  );
}
