/**
 * LoRA+ (Hayou et al. 2024, arXiv:2402.12354): AdamW whose learning rate for B is a multiple of that for A, with the
 * groups of `peft.optimizers.create_loraplus_optimizer`.
 * @module
 */

import { LayerNorm, type Module, type Parameter, RMSNorm } from "../../nn/mod.ts";
import { AdamW, type AdamWOptions } from "./adamw.ts";

/**
 * Options of `createLoraplusOptimizer`.
 *
 * @example
 * ```ts
 * import { createLoraplusOptimizer, type PeftModel } from "@peft/webgpu";
 * import type { LoraplusOptions } from "@peft/webgpu/train";
 *
 * declare const model: PeftModel;
 * const options: LoraplusOptions = { lr: 1e-4, loraplusLrRatio: 8, loraplusWeightDecay: 0.01 };
 * const rates = createLoraplusOptimizer(model, options).paramGroups.map(({ lr }) => lr);
 * console.log(new Set(rates)); // 1e-4 for A, eight times as much for B, 1e-6 for embeddings
 * ```
 */
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

/** What LoRA+ needs of a model. */
export interface NamedModel {
  /** Its parameters by name. */
  namedParameters(): Iterable<[string, Parameter]>;
  /** Its modules by path. */
  namedModules(): Iterable<[string, Module]>;
}

/** Names of parameters that are not decayed: those of norms. */
function normNames(model: NamedModel): Set<string> {
  const names = new Set<string>();
  for (const [path, module] of model.namedModules()) {
    if (!(module instanceof LayerNorm || module instanceof RMSNorm)) continue;
    for (const [name] of module.ownParameters()) names.add(`${path}.${name}`);
  }
  return names;
}

/** Numbers that the groups of LoRA+ differ by. */
export interface LoraplusRates {
  /** Learning rate of A and of everything that is no vector. */
  readonly lr: number;
  /** That of B, and of vectors, over it. */
  readonly ratio: number;
  /** That of LoRA on embeddings. */
  readonly embedding: number;
  readonly weightDecay: number;
}

/** A group of LoRA+. */
export interface LoraplusGroup {
  readonly params: Parameter[];
  readonly lr: number;
  readonly weightDecay: number;
}

/**
 * What trains of a model in the four groups of LoRA+, for any optimizer: A and other matrices, LoRA on embeddings, B and
 * vectors, and those of B's group that are not decayed.
 * @throws {RangeError} for a ratio below 1
 */
export function loraplusGroups(
  model: NamedModel,
  { lr, ratio, embedding, weightDecay }: LoraplusRates,
): LoraplusGroup[] {
  if (!(ratio >= 1)) {
    throw new RangeError(
      `Cannot make a LoRA+ optimizer: loraplusLrRatio must be at least 1, received ${ratio}`,
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
  return [
    { params: groups.A, lr, weightDecay },
    { params: groups.embedding, lr: embedding, weightDecay },
    { params: groups.B, lr: lr * ratio, weightDecay },
    { params: groups.plainB, lr: lr * ratio, weightDecay: 0 },
  ];
}

/**
 * AdamW over what trains of a model, in the groups of LoRA+. (The Trainer makes them for any optimizer by
 * `loraplusLrRatio`.)
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
  const groups = loraplusGroups(model, {
    ...{ lr, ratio: loraplusLrRatio, embedding: loraplusLrEmbedding, weightDecay: loraplusWeightDecay },
  });
  return new AdamW(groups, { lr, ...rest });
}
