/**
 * The Lion update (Chen et al. 2023, arXiv:2302.06675) of many tensors in few launches.
 * @module
 */

import { lionKernel } from "../../kernels/lion.ts";
import { floatLayout } from "./_slot_layout.ts";
import type { UpdateRule } from "./_slot_state.ts";

/** What the coming step of one tensor uses. */
export interface LionValues {
  readonly lr: number;
  readonly betas: readonly [number, number];
  readonly weightDecay: number;
  readonly step: number;
}

/** Keeps m, the average of gradients. */
export const lionRule: UpdateRule<LionValues> = {
  action: "make Lion",
  names: ["exp_avg"],
  layout: floatLayout,
  kernel: lionKernel,
  correction: null,
  row({ lr, betas: [beta1, beta2], weightDecay }) {
    return [1 - lr * weightDecay, lr, 0, 0, beta1, 1 - beta1, beta2, 1 - beta2];
  },
  counts: ({ step }) => [step, 0, 0, 0],
};
