/**
 * The update of stochastic gradient descent of many tensors in few launches, with the numbers of `torch.optim.SGD`.
 * @module
 */

import { sgdKernel, sgdMomentumKernel } from "../../kernels/sgd.ts";
import { sgdFirstStep } from "../../kernels/step_counts.ts";
import { floatLayout } from "./_slot_layout.ts";
import type { UpdateRule } from "./_slot_state.ts";

/** What the coming step of one tensor uses. */
export interface SGDValues {
  readonly lr: number;
  readonly momentum: number;
  readonly dampening: number;
  readonly weightDecay: number;
  readonly nesterov: boolean;
  /** Its number from 1: in the first one, the momentum buffer becomes the gradient itself. */
  readonly step: number;
}

const plainRule: UpdateRule<SGDValues> = {
  action: "make SGD",
  names: [],
  layout: floatLayout,
  kernel: sgdKernel,
  correction: null,
  row({ lr, momentum, dampening, weightDecay, nesterov, step }) {
    const [keep, take] = step <= 1 ? [0, 1] : [momentum, 1 - dampening];
    const own = nesterov || momentum === 0 ? 1 : 0;
    const past = nesterov ? momentum : momentum === 0 ? 0 : 1;
    return [lr, weightDecay, keep, take, own, past, 0, 0];
  },
  counts: ({ momentum, dampening, step }) => [step, momentum, 1 - dampening, 0],
};
const momentumRule: UpdateRule<SGDValues> = {
  ...plainRule,
  names: ["momentum_buffer"],
  kernel: sgdMomentumKernel,
  correction: sgdFirstStep,
};

/** Keeps the momentum buffer of each tensor, or nothing. */
export function sgdRule(hasMomentum: boolean): UpdateRule<SGDValues> {
  return hasMomentum ? momentumRule : plainRule;
}
