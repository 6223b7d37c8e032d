/**
 * What DPO minimises: see `dpo_losses.ts` for its losses.
 * @module
 */

import { add, multiply, scale, subtract, type Tensor } from "../../autograd/mod.ts";
import type { TrainableModel } from "../trainable_model.ts";
import type { DPOConfig } from "./dpo_config.ts";
import { DIVERGENCES, DPO_LOSSES, type DPOTerms } from "./dpo_losses.ts";
import { PairObjective, type PairResult } from "./pair_objective.ts";
import type { PairBatch } from "./pairs.ts";
import type { ReferenceForward } from "./reference.ts";
import {
  halves,
  labelCounts,
  type LabelWeights,
  likeDevice,
  sequenceLogProbs,
  tokenLogProbs,
} from "./sequence_log_probs.ts";

/** 1 for the tokens that both answers of a pair have, alpha for those by which one is longer (LD-DPO). */
function lengthWeights(labels: readonly (readonly number[])[], alpha: number): LabelWeights {
  const counts = labelCounts(labels, 1);
  const pairs = labels.length / 2;
  return labels.map((row, r) => {
    const shared = Math.min(counts[r % pairs], counts[r % pairs + pairs]);
    let seen = 0;
    return row.map((label, t) => t === 0 || label === -100 ? 0 : ++seen <= shared ? 1 : alpha);
  });
}

/** The loss of `DPOTrainer`. */
export class DPOObjective extends PairObjective {
  readonly #args: DPOConfig;
  readonly #reference: ReferenceForward;

  constructor(args: DPOConfig, reference: ReferenceForward) {
    super();
    this.#args = args;
    this.#reference = reference;
  }

  /** Log-probabilities [2B] of a batch under the reference. */
  referenceLogProbs(batch: PairBatch): Tensor {
    return sequenceLogProbs(tokenLogProbs(this.#reference, batch), this.#weights(batch));
  }

  #weights({ labels }: PairBatch): LabelWeights | undefined {
    const { ldAlpha } = this.#args;
    return ldAlpha === null ? undefined : lengthWeights(labels, ldAlpha);
  }

  protected override pairLosses(model: TrainableModel, batch: PairBatch): PairResult {
    const { lossType, lossWeights, beta, fDivergenceType } = this.#args;
    const given = batch.reference ? null : this.referenceLogProbs(batch);
    const tokens = tokenLogProbs((inputs) => model.forward(inputs), batch);
    const reference = given ?? likeDevice(batch.reference!, tokens);
    const weights = this.#weights(batch);
    const policy = sequenceLogProbs(tokens, weights);
    const [a, b] = halves(subtract(policy, reference));
    const [chosenLogps, rejectedLogps] = halves(policy);
    const score = (x: Tensor) => DIVERGENCES[fDivergenceType](x, this.#args);
    const [chosenScores, rejectedScores] = [score(a), score(b)];
    const terms: DPOTerms = {
      ...settingsOf(this.#args),
      ...{ a, b, chosenScores, rejectedScores },
      delta: subtract(chosenScores, rejectedScores),
      meanDelta: () => meanDelta(chosenScores, rejectedScores, batch),
      nll: () => nllShares(weights ? sequenceLogProbs(tokens) : policy, batch),
    };
    const losses = lossType
      .map((name, i) => weighted(DPO_LOSSES[name].of(terms), lossWeights?.[i] ?? 1))
      .reduce((sum, part) => add(sum, part));
    const rewards = { chosenRewards: scale(a, beta), rejectedRewards: scale(b, beta) };
    return { losses, ...rewards, chosenLogps, rejectedLogps };
  }
}

const weighted = (x: Tensor, factor: number) => factor === 1 ? x : scale(x, factor);

const settingsOf = ({ beta, labelSmoothing, fAlphaDivergenceCoef, discopopTau }: DPOConfig) => ({
  ...{ beta, labelSmoothing, fAlphaDivergenceCoef, discopopTau },
});

/** Scores divided by the number of tokens of their answers, the better one's less the worse one's. */
function meanDelta(chosen: Tensor, rejected: Tensor, { labels }: PairBatch): Tensor {
  const parts = labelCounts(labels).map((count) => 1 / Math.max(1, count));
  const pairs = parts.length / 2;
  return subtract(
    multiply(chosen, likeDevice(parts.slice(0, pairs), chosen)),
    multiply(rejected, likeDevice(parts.slice(pairs), rejected)),
  );
}

/**
 * The mean negative log-likelihood of the tokens of all better answers, as shares that add up to it times the pairs.
 * @param logps [2B], the better answers' first
 */
export function nllShares(logps: Tensor, { labels }: Pick<PairBatch, "labels">): Tensor {
  const pairs = labels.length / 2;
  const tokens = labelCounts(labels.slice(0, pairs), 1).reduce((sum, count) => sum + count, 0);
  return scale(halves(logps)[0], -pairs / Math.max(1, tokens));
}
