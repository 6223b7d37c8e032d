/**
 * The AdamW update (Loshchilov and Hutter 2019) of many tensors in few launches, with the numbers of
 * `torch.optim.AdamW`: decoupled weight decay, bias correction, `sqrt(v) / sqrt(1 - beta2^t) + eps`.
 * @module
 */

import { adamwKernel } from "../../kernels/adamw.ts";
import { adamwCorrections } from "../../kernels/step_counts.ts";
import { floatLayout } from "./_slot_layout.ts";
import type { UpdateRule } from "./_slot_state.ts";

/** What the coming step of one tensor uses; `step` counts from 1. */
export interface AdamWValues {
  readonly lr: number;
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly weightDecay: number;
  readonly step: number;
}

/** Stands for ln(0), as kernels may assume that no infinity occurs: its exponential is 0. */
const LOG_OF_ZERO = -1e4;

/** Keeps m and v, the first and second moments of each gradient. */
export const adamwRule: UpdateRule<AdamWValues> = {
  action: "make AdamW",
  names: ["exp_avg", "exp_avg_sq"],
  layout: floatLayout,
  kernel: adamwKernel,
  correction: adamwCorrections,
  row({ lr, betas: [beta1, beta2], eps, weightDecay, step }) {
    const sqrtCorrection2 = Math.sqrt(1 - beta2 ** step);
    const stepSize = lr / (1 - beta1 ** step);
    return [1 - lr * weightDecay, stepSize, sqrtCorrection2, eps, 1 - beta1, beta2, 1 - beta2, 0];
  },
  counts({ lr, betas: [beta1, beta2], step }) {
    return [step, lr, Math.max(LOG_OF_ZERO, Math.log(beta1)), Math.max(LOG_OF_ZERO, Math.log(beta2))];
  },
};
