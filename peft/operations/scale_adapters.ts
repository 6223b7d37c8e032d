/**
 * Scalings of LoRA adapters in all layers of a model.
 * @module
 */

import type { Module } from "../../nn/mod.ts";
import { lowRankLayers } from "../lora/low_rank.ts";

/**
 * Sets an adapter's scaling to `factor` times its initial one, in every layer.
 * @throws {RangeError} if no LoRA layer has it, or the factor is not finite
 */
export function setScale(model: Module, adapterName: string, factor: number): void {
  if (!Number.isFinite(factor)) {
    throw new RangeError(`Cannot scale "${adapterName}": a finite factor is required, received ${factor}`);
  }
  const layers = lowRankLayers(model).filter(([, layer]) => layer.scaling.has(adapterName));
  if (layers.length === 0) {
    throw new RangeError(
      `Cannot scale "${adapterName}": scaling is only supported for models with \`LoraLayer\`s`,
    );
  }
  for (const [, layer] of layers) layer.scaling.setScale(adapterName, factor);
}
