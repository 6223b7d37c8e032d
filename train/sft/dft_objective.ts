/**
 * Dynamic fine-tuning: each token's loss weighs as much as the model believes in the token (Wu et al. 2025,
 * https://arxiv.org/abs/2508.05629; TRL's `loss_type` "dft").
 * @module
 */

import { divide, exp, full, multiply, negate, reshape, sum, tidy } from "../../autograd/mod.ts";
import { MODEL_LOSS, type Objective } from "../objective.ts";

/** The sum of -p log p over labels, with no gradient through p, divided by the number of labels. */
export const DFT_LOSS: Objective = {
  ...MODEL_LOSS,
  loss: (model, batch, items, divisor) => {
    const output = model.forward({ ...batch, numItemsInBatch: items, logProbs: true });
    const { logProbs } = output;
    if (!logProbs) {
      throw new TypeError(
        'Cannot train: a model that gives log-probabilities is required with lossType "dft", received none',
      );
    }
    // 0 where there is no label
    const loss = tidy(() => {
      const total = sum(multiply(logProbs, exp(logProbs.detach())));
      const count = divisor ? reshape(divisor, []) : full(total.device, [], items);
      return negate(divide(total, count));
    });
    return { loss, output };
  },
  isTokenLoss: false,
};
