/**
 * What holds adapters of other kinds than wrapped layers of one method: a bundle may leave it out at first.
 * @module
 */

import type { PeftConfig } from "../config/peft_config.ts";
import { loadMethods } from "../registry.ts";
import { isPromptLearning } from "../virtual_tokens/virtual_token_types.ts";

/** Loads it, for a model whose first adapter has this configuration. */
export async function loadHostOf(config: PeftConfig, mixed = false): Promise<void> {
  if (isPromptLearning(config)) await import("./prompt_tuner.ts");
  if (mixed) await Promise.all([loadMethods(), import("./mixed_methods.ts")]);
}
