/**
 * Contrastive preference optimization (Xu et al. 2024, arXiv:2401.08417) and SimPO (Meng et al. 2024, arXiv:2405.14734),
 * which need no reference, as TRL's `CPOTrainer`.
 * @module
 */

import {
  add,
  exp,
  logSigmoid,
  multiply,
  negate,
  relu,
  scale,
  square,
  subtract,
  type Tensor,
} from "../../autograd/mod.ts";
import { checkOptions } from "../../options/names.ts";
import { withAdapter } from "../adapter_option.ts";
import { oneTokenizer } from "../processing_class.ts";
import type { TrainableModel } from "../trainable_model.ts";
import { CPOConfig, type CPOLossType } from "./cpo_config.ts";
import { nllShare, nllShares } from "./dpo_objective.ts";
import { type GivenInputs, type LossInputs, oneRow } from "./loss_inputs.ts";
import { PairObjective, type PairResult } from "./pair_objective.ts";
import { type PairBatch, pairCollator, type PairExample, readPairs } from "./pairs.ts";
import {
  padTokenOf,
  PREFERENCE_OPTIONS,
  PreferenceTrainer,
  type PreferenceTrainerOptions,
} from "./preference_trainer.ts";
import {
  halves,
  labelCounts,
  numberRow,
  predictedRows,
  sequenceLogProbs,
  tokenLogProbs,
} from "./sequence_log_probs.ts";

type LossSettings = Pick<CPOConfig, "beta" | "labelSmoothing" | "simpoGamma">;

/** -log s(x), or with wrong labels of probability e, (1 - e) of it and e of -log s(-x). */
function smoothed(x: Tensor, e: number): Tensor {
  const right = negate(logSigmoid(x));
  if (e === 0) return right;
  return subtract(scale(right, 1 - e), scale(logSigmoid(negate(x)), e));
}

/** The losses of the difference h of both answers' log-probabilities. */
const LOSSES: Readonly<
  Record<Exclude<CPOLossType, "alphapo">, (h: Tensor, settings: LossSettings) => Tensor>
> = {
  /** -log s(beta h) */
  sigmoid: (h, { beta, labelSmoothing }) => smoothed(scale(h, beta), labelSmoothing),
  /** -log s(beta h - gamma) */
  simpo: (h, { beta, labelSmoothing, simpoGamma }) =>
    smoothed(scale(subtract(h, simpoGamma / beta), beta), labelSmoothing),
  /** max(0, 1 - beta h) */
  hinge: (h, { beta }) => relu(subtract(1, scale(h, beta))),
  /** (h - 1 / (2 beta))^2 */
  ipo: (h, { beta }) => square(subtract(h, 1 / (2 * beta))),
};

/** The loss of `CPOTrainer`. */
class CPOObjective extends PairObjective {
  readonly #args: CPOConfig;

  constructor(args: CPOConfig) {
    super(["nllLoss"]);
    this.#args = args;
  }

  protected override lossInputs(batch: PairBatch): LossInputs {
    const { labels } = batch;
    const perToken = oneRow(labelCounts(labels, 1).map((count) => 1 / count));
    return { rows: { answers: predictedRows(batch) }, numbers: { perToken, nllShare: nllShare(labels) } };
  }

  protected override pairLosses(
    model: TrainableModel,
    { rows: { answers }, numbers }: GivenInputs,
  ): PairResult {
    const { lossType, cpoAlpha, beta, alpha } = this.#args;
    const sums = sequenceLogProbs(tokenLogProbs((rows) => model.forward(rows), answers));
    const isMean = lossType === "ipo" || lossType === "simpo";
    const logps = isMean ? multiply(sums, numberRow(numbers, "perToken", sums)) : sums;
    const [chosenLogps, rejectedLogps] = halves(logps);
    const [chosen, rejected] = [chosenLogps, rejectedLogps].map((x) =>
      alpha === 0 ? x : scale(subtract(1, exp(scale(x, -alpha))), 1 / alpha)
    );
    const losses = LOSSES[lossType as keyof typeof LOSSES](subtract(chosen, rejected), this.#args);
    const nll = scale(nllShares(sums, numbers), cpoAlpha === 0 ? 0 : 1); // TRL does not compute it then
    return {
      ...{ chosenLogps, rejectedLogps, others: () => [nll] },
      losses: cpoAlpha === 0 ? losses : add(losses, scale(nll, cpoAlpha)),
      chosenRewards: scale(chosen, beta),
      rejectedRewards: scale(rejected, beta),
    };
  }
}

/**
 * Options of `CPOTrainer`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, CPOTrainer } from "@peft/webgpu";
 * import type { CPOTrainerOptions } from "@peft/webgpu/train";
 *
 * const simpo: CPOTrainerOptions = {
 *   model: await AutoModelForCausalLM.fromPretrained("examples/demo/model"),
 *   processingClass: await AutoTokenizer.fromPretrained("examples/demo/model"),
 *   trainDataset: [{ prompt: "The sea", chosen: " be calm, arr.", rejected: " is calm." }],
 *   args: { lossType: "simpo", cpoAlpha: 0, simpoGamma: 0.5, maxSteps: 1, reportTo: "none" },
 * };
 * await new CPOTrainer(simpo).train();
 * ```
 */
export type CPOTrainerOptions = PreferenceTrainerOptions<Partial<CPOConfig>>;

/**
 * Trains a model on pairs of answers by their log-probabilities alone: no reference, so that a step takes one forward
 * less than DPO's. Rows are those of `DPOTrainer`, and tokenized as there. Logs also have `nllLoss`, that of the better
 * answers.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, CPOTrainer, getPeftModel, LoraConfig } from "@peft/webgpu";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] }));
 * const rows = [
 *   { prompt: "Once upon a time", chosen: " there was a dog.", rejected: " there was a car." },
 *   { prompt: "One day", chosen: " the dog was happy.", rejected: " the car was broken." },
 * ];
 * const args = { maxSteps: 2, maxLength: 64, reportTo: "none" } as const;
 * const { trainingLoss } = await new CPOTrainer({ model, processingClass: tokenizer, trainDataset: rows, args }).train();
 * console.log(trainingLoss);
 * ```
 */
export class CPOTrainer extends PreferenceTrainer<PairExample> {
  /**
   * Does nothing to the model yet.
   * @throws {RangeError} for settings out of range @throws {TypeError} for an option that does not exist
   */
  constructor(given: CPOTrainerOptions) {
    checkOptions("make a CPO trainer", given, PREFERENCE_OPTIONS);
    const args = given.args instanceof CPOConfig ? given.args : new CPOConfig(given.args);
    const options = withAdapter("make a CPO trainer", oneTokenizer("make a CPO trainer", given));
    super(options, {
      ...{ args, objective: new CPOObjective(args), precompute: null },
      read: readPairs(options.tokenizer, args),
      collate: pairCollator(padTokenOf(options.tokenizer)),
    });
  }
}
