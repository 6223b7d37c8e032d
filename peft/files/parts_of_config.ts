/**
 * What a configuration needs beside its method, and most do not: a bundle may leave it out at first.
 * @module
 */

import { Embedding, type Module } from "../../nn/mod.ts";
import type { PeftConfig } from "../config/peft_config.ts";
import { matchesTarget } from "../targets/targets.ts";

/** The fields that decide. */
type Deciding = PeftConfig & {
  readonly excludeModules?: readonly string[] | string | null;
  readonly rankPattern?: object | null;
  readonly alphaPattern?: object | null;
  readonly initLoraWeights?: unknown;
  readonly useDora?: boolean;
};

/** Whether modules are chosen by a pattern. */
function hasPatterns(
  { targetModules, excludeModules, rankPattern = {}, alphaPattern = {} }: Deciding,
): boolean {
  return [targetModules, excludeModules].some((names) => typeof names === "string") ||
    [rankPattern, alphaPattern].some((table) => Object.keys(table ?? {}).length > 0);
}

/** Loads it, for an adapter of a model; `isWhole`: none of its values are drawn. */
export async function loadPartsOf(config: PeftConfig, model: Module, isWhole: boolean): Promise<void> {
  const fields: Deciding = config;
  if (hasPatterns(fields)) await import("../targets/pattern.ts");
  const takesEmbedding = [...model.namedModules()].some(([path, module]) =>
    module instanceof Embedding && matchesTarget(path, fields.targetModules ?? [])
  );
  await Promise.all([
    !isWhole && import("../../autograd/ops/draw.ts"),
    takesEmbedding && import("../lora/lora_embedding.ts"),
    (fields.trainableTokenIndices ?? null) !== null && import("../trainable_tokens/token_adapter.ts"),
    typeof fields.initLoraWeights === "string" && import("../lora/named_starts.ts"),
    fields.useDora && import("../lora/dora.ts"),
    (fields.modulesToSave ?? []).length > 0 && import("../layers/modules_to_save.ts"),
    [...model.parameters()].some(({ dtype }) => dtype !== "float32") && import("../../autograd/ops/cast.ts"),
  ]);
}
