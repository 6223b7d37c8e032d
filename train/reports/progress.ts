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

/** `step 12/150 | loss 2.3105 | 5,120 tokens/s | 0:23 left`; parts that are not known yet are left out. */
export function formatProgress(state: Readonly<TrainerState>): string {
  const { globalStep, maxSteps, tokensPerSecond, numInputTokensSeen, logHistory } = state;
  const parts = [`step ${globalStep}/${maxSteps}`];
  const loss = logHistory.findLast((entry) => "loss" in entry)?.loss;
  if (loss !== undefined) parts.push(`loss ${loss.toFixed(4)}`);
  if (tokensPerSecond > 0 && globalStep > 0) {
    parts.push(`${Math.round(tokensPerSecond).toLocaleString("en-US")} tokens/s`);
    const tokensLeft = numInputTokensSeen / globalStep * (maxSteps - globalStep);
    parts.push(`${formatDuration(tokensLeft / tokensPerSecond)} left`);
  }
  return parts.join(" | ");
}
