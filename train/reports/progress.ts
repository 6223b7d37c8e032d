/**
 * One line about a run, for progress bars and logs.
 * @module
 */

import type { TrainerState } from "../trainer_state.ts";

/** `1:05` or `2:03:07`. */
function formatDuration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  const pad = (n: number) => String(n).padStart(2, "0");
  const [hours, minutes] = [Math.floor(s / 3600), Math.floor(s / 60) % 60];
  return hours > 0 ? `${hours}:${pad(minutes)}:${pad(s % 60)}` : `${minutes}:${pad(s % 60)}`;
}

/**
 * What a line tells beside.
 *
 * @example
 * ```ts
 * import { formatProgress, type Trainer } from "@peft/webgpu";
 * import type { ProgressDetails } from "@peft/webgpu/train";
 *
 * // a line for the title of a window
 * function titleOf({ state }: Trainer, deviceBytes?: number): string {
 *   const more: ProgressDetails = { details: state.globalStep > 10, deviceBytes };
 *   return formatProgress(state, more);
 * }
 * ```
 */
export interface ProgressDetails {
  /** Learning rate and gradient norm of the last log; default false. */
  details?: boolean;
  /** Bytes on the device. */
  deviceBytes?: number;
}

/**
 * `step 12/150 | loss 2.3105 | 5,120 tokens/s | 0:23 left`; parts that are not known yet are left out. With details
 * `step 12/150 | loss 2.3105 | lr 2.0e-4 | norm 0.83 | 5,120 tokens/s | 214 MB | 0:23 left`. The loss is that of the last
 * log; between logs the line says of which step, as in `loss 2.3105 (step 10)`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, formatProgress, TextDataset, Trainer, type TrainerCallback } from "@peft/webgpu";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const trainDataset = TextDataset.fromTexts(["Once upon a time there was a dog."], tokenizer, { blockSize: 8 });
 * const args = { maxSteps: 2, reportTo: "none" } as const;
 * const onStepEnd: TrainerCallback["onStepEnd"] = (_args, state) => console.log(formatProgress(state));
 * await new Trainer({ model, trainDataset, args, callbacks: [{ onStepEnd }] }).train();
 * ```
 */
export function formatProgress(
  state: Readonly<TrainerState>,
  { details = false, deviceBytes }: ProgressDetails = {},
): string {
  const { globalStep, maxSteps, tokensPerSecond, numInputTokensSeen, logHistory } = state;
  const parts = [`step ${globalStep}/${maxSteps}`];
  const last = logHistory.findLast((entry) => "loss" in entry);
  if (last) parts.push(`loss ${last.loss.toFixed(4)}${last.step < globalStep ? ` (step ${last.step})` : ""}`);
  if (details && last?.learningRate !== undefined) parts.push(`lr ${last.learningRate.toExponential(1)}`);
  if (details && last?.gradNorm !== undefined) parts.push(`norm ${last.gradNorm.toPrecision(2)}`);
  if (tokensPerSecond > 0 && globalStep > 0) {
    parts.push(`${Math.round(tokensPerSecond).toLocaleString("en-US")} tokens/s`);
  }
  if (deviceBytes !== undefined) parts.push(`${Math.round(deviceBytes / 1e6).toLocaleString("en-US")} MB`);
  if (tokensPerSecond > 0 && globalStep > 0) {
    const tokensLeft = numInputTokensSeen / globalStep * (maxSteps - globalStep);
    parts.push(`${formatDuration(tokensLeft / tokensPerSecond)} left`);
  }
  return parts.join(" | ");
}
