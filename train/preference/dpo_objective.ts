/**
 * What DPO minimises: see `dpo_losses.ts` for its losses.
 * @module
 */

import { add, multiply, scale, subtract, type Tensor } from "../../autograd/mod.ts";
import type { TrainableModel } from "../trainable_model.ts";
import type { DPOConfig } from "./dpo_config.ts";
import { DIVERGENCES, DPO_LOSSES, type DPOTerms } from "./dpo_losses.ts";
import { type GivenInputs, type LossInputs, type Numbers, oneRow, uploadInputs } from "./loss_inputs.ts";
import { PairObjective, type PairResult } from "./pair_objective.ts";
import type { PairBatch } from "./pairs.ts";
import type { Reference } from "./reference.ts";
import {
  halves,
  labelCounts,
  logitNumbers,
  meanLogit,
  numberRow,
  policyTokens,
  predictedRows,
  sequenceLogProbs,
  tokenLogProbs,
  tokenWeights,
} from "./sequence_log_probs.ts";

/** 1 for the tokens that both answers of a pair have, alpha for those by which one is longer (LD-DPO). */
function lengthWeights(labels: readonly (readonly number[])[], alpha: number): number[][] {
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
  readonly #reference: Reference;

  constructor(args: DPOConfig, reference: Reference) {
    super(["chosenLogits", "rejectedLogits", "chosenTokens", "rejectedTokens"]);
    this.#args = args;
    this.#reference = reference;
  }

  /** Log-probabilities [2B] of a batch under the reference. */
  referenceLogProbs(batch: PairBatch): Tensor {
    return this.#askReference(uploadInputs(this.lossInputs(batch)));
  }

  #askReference({ rows: { answers }, numbers }: GivenInputs): Tensor {
    const tokens = tokenLogProbs(this.#reference.forward, answers);
    return sequenceLogProbs(tokens, numbers.get("weights", tokens));
  }

  protected override modelsOf(batch: PairBatch, model: TrainableModel): readonly TrainableModel[] {
    const { model: other } = this.#reference;
    return other && !batch.reference ? [model, other] : [model];
  }

  protected override lossInputs(batch: PairBatch): LossInputs {
    const { labels, reference } = batch;
    const { ldAlpha } = this.#args;
    return {
      rows: { answers: predictedRows(batch) },
      numbers: {
        ...reference && { reference: oneRow(reference) },
        ...ldAlpha !== null && { weights: tokenWeights(lengthWeights(labels, ldAlpha)) },
        perToken: oneRow(labelCounts(labels).map((count) => 1 / Math.max(1, count))),
        nllShare: nllShare(labels),
        ...logitNumbers(batch),
      },
    };
  }

  protected override pairLosses(model: TrainableModel, inputs: GivenInputs): PairResult {
    const { lossType, lossWeights, beta, fDivergenceType } = this.#args;
    const { rows: { answers }, numbers } = inputs;
    const asked = numbers.has("reference") ? null : this.#askReference(inputs);
    const { tokens, logits } = policyTokens(model, answers, numbers);
    const reference = asked ?? numberRow(numbers, "reference", tokens);
    const weights = numbers.get("weights", tokens);
    const policy = sequenceLogProbs(tokens, weights);
    const [a, b] = halves(subtract(policy, reference));
    const [chosenLogps, rejectedLogps] = halves(policy);
    const score = (x: Tensor) => DIVERGENCES[fDivergenceType](x, this.#args);
    const [chosenScores, rejectedScores] = [score(a), score(b)];
    const terms: DPOTerms = {
      ...settingsOf(this.#args),
      ...{ a, b, chosenScores, rejectedScores },
      policyRatio: () => subtract(chosenLogps, rejectedLogps),
      referenceRatio: () => subtract(...halves(reference)),
      delta: subtract(chosenScores, rejectedScores),
      meanDelta: () => meanDelta(chosenScores, rejectedScores, numbers),
      nll: () => nllShares(weights ? sequenceLogProbs(tokens) : policy, numbers),
    };
    const losses = lossType
      .map((name, i) => weighted(DPO_LOSSES[name].of(terms), lossWeights?.[i] ?? 1))
      .reduce((sum, part) => add(sum, part));
    const rewards = { chosenRewards: scale(a, beta), rejectedRewards: scale(b, beta) };
    const others = () => {
      const { sums, counts } = logits();
      return [...halves(sums), ...halves(counts)];
    };
    return { losses, ...rewards, chosenLogps, rejectedLogps, others };
  }

  override measures(sums: readonly number[]): Record<string, number> {
    const { chosenLogits, rejectedLogits, chosenTokens, rejectedTokens, ...others } = super.measures(sums);
    return {
      ...others,
      ...meanLogit("logits/chosen", chosenLogits, chosenTokens),
      ...meanLogit("logits/rejected", rejectedLogits, rejectedTokens),
    };
  }
}

const weighted = (x: Tensor, factor: number) => factor === 1 ? x : scale(x, factor);

const settingsOf = ({ beta, labelSmoothing, fAlphaDivergenceCoef, discopopTau }: DPOConfig) => ({
  ...{ beta, labelSmoothing, fAlphaDivergenceCoef, discopopTau },
});

/** Scores divided by the number of tokens of their answers, the better one's less the worse one's. */
function meanDelta(chosen: Tensor, rejected: Tensor, numbers: Numbers): Tensor {
  const [better, worse] = halves(numberRow(numbers, "perToken", chosen));
  return subtract(multiply(chosen, better), multiply(rejected, worse));
}

/** What `nllShares` takes: minus the pairs of each label of all better answers. */
export function nllShare(labels: readonly (readonly number[])[]): Float32Array[] {
  const pairs = labels.length / 2;
  const tokens = labelCounts(labels.slice(0, pairs), 1).reduce((sum, count) => sum + count, 0);
  return oneRow([-pairs / Math.max(1, tokens)]);
}

/**
 * The mean negative log-likelihood of the tokens of all better answers, as shares that add up to it times the pairs.
 * @param logps [2B], the better answers' first   @param numbers with `nllShare`
 */
export function nllShares(logps: Tensor, numbers: Numbers): Tensor {
  return multiply(halves(logps)[0], numberRow(numbers, "nllShare", logps));
}
