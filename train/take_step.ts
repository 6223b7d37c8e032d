/**
 * One optimizer step, of this process alone or of several.
 * @module
 */

import type { Batch } from "./data/data_loader.ts";
import type { GradientExchange } from "./gradient_exchange.ts";
import type { TrainingRun } from "./training_run.ts";

/** @returns false where `signal` ended the step before it was done */
export async function takeStep(
  run: TrainingRun,
  window: readonly Batch[],
  exchange: GradientExchange | undefined,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  if (!exchange) {
    run.step(window);
    return true;
  }
  try {
    await run.exchangedStep(window, exchange, signal);
    return true;
  } catch (error) {
    if (signal?.aborted) return false;
    throw error;
  }
}
