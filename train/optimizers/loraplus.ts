/**
 * LoRA+ (Hayou et al. 2024, arXiv:2402.12354): AdamW whose learning rate for B is a multiple of that for A, with the
 * groups of `peft.optimizers.create_loraplus_optimizer`.
 * @module
 */

import { LayerNorm, type Module, type Parameter } from "../../nn/mod.ts";
import { AdamW, type AdamWOptions } from "./adamw.ts";

/** Options of `createLoraplusOptimizer`. */
export interface LoraplusOptions extends Omit<AdamWOptions, "lr" | "weightDecay"> {
  /** Learning rate of A and of everything that is no vector. */
  lr: number;
  /** Learning rate of B, and of vectors, over that of A; at least 1. */
  loraplusLrRatio: number;
  /** Weight decay of everything but biases and layer norms; default 0. */
  loraplusWeightDecay?: number;
  /** Learning rate of LoRA on embeddings; default 1e-6. */
  loraplusLrEmbedding?: number;
}

/** Names of parameters that are not decayed: those of layer norms. */
function normNames(model: Module): Set<string> {
  const names = new Set<string>();
  for (const [path, module] of model.namedModules()) {
    if (!(module instanceof LayerNorm)) continue;
    for (const [name] of module.ownParameters()) names.add(`${path}.${name}`);
  }
  return names;
}

/**
 * AdamW over what trains of a model, in four groups: A and other matrices, LoRA on embeddings, B and vectors, and those of
 * B's group that are not decayed.
 *
 * @example
 * ```ts
 * import { createLoraplusOptimizer, type PeftModel } from "@peft/webgpu";
 *
 * declare const model: PeftModel;
 * const optimizer = createLoraplusOptimizer(model, { lr: 2e-4, loraplusLrRatio: 16 });
 * ```
 * @throws {RangeError} for a ratio below 1, or a model of which nothing trains
 */
export function createLoraplusOptimizer(model: Module, options: LoraplusOptions): AdamW {
  const { lr, loraplusLrRatio, loraplusWeightDecay = 0, loraplusLrEmbedding = 1e-6, ...rest } = options;
  if (!(loraplusLrRatio >= 1)) {
    throw new RangeError(
      `Cannot make a LoRA+ optimizer: loraplusLrRatio must be at least 1, received ${loraplusLrRatio}`,
    );
  }
  const norms = normNames(model);
  const groups: Record<"A" | "embedding" | "B" | "plainB", Parameter[]> = {
    A: [],
    embedding: [],
    B: [],
    plainB: [],
  };
  for (const [name, parameter] of model.namedParameters()) {
    if (!parameter.requiresGrad) continue;
    const decays = !name.includes("bias") && !norms.has(name);
    if (/\.lora_embedding_[AB]\.[^.]*$/.test(name)) groups.embedding.push(parameter);
    else if (!name.includes("lora_B") && parameter.shape.length !== 1) groups.A.push(parameter);
    else if (decays) groups.B.push(parameter);
    else groups.plainB.push(parameter);
  }
  const weightDecay = loraplusWeightDecay;
  return new AdamW([
    { params: groups.A, lr, weightDecay },
    { params: groups.embedding, lr: loraplusLrEmbedding, weightDecay },
    { params: groups.B, lr: lr * loraplusLrRatio, weightDecay },
    { params: groups.plainB, lr: lr * loraplusLrRatio, weightDecay: 0 },
  ], { lr, ...rest });
}
