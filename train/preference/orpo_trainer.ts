/**
 * Odds ratio preference optimization (Hong et al. 2024, arXiv:2403.07691), as TRL's `ORPOTrainer`.
 *   loss = NLL(prompt and better answer) - beta mean(log s(log odds)),
 *   log odds = (pw - pl) - (log(1 - e^pw) - log(1 - e^pl)),   p: mean log-probability of an answer's tokens
 * @module
 */

import { log1mExp, logSigmoid, scale, subtract } from "../../autograd/mod.ts";
import { checkOptions } from "../../options/names.ts";
import { withAdapter } from "../adapter_option.ts";
import { oneTokenizer } from "../processing_class.ts";
import type { TrainableModel } from "../trainable_model.ts";
import { nllShare, nllShares } from "./dpo_objective.ts";
import type { GivenInputs, LossInputs } from "./loss_inputs.ts";
import { ORPOConfig } from "./orpo_config.ts";
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
  predictedRows,
  sequenceLogProbs,
  tokenLogProbs,
  tokenWeights,
} from "./sequence_log_probs.ts";

/** The loss of `ORPOTrainer`. */
class ORPOObjective extends PairObjective {
  readonly #beta: number;

  constructor(beta: number) {
    super(["nllLoss", "logOddsRatio", "logOddsChosen"]);
    this.#beta = beta;
  }

  protected override lossInputs({ inputIds, labels: answers, attentionMask }: PairBatch): LossInputs {
    const pairs = inputIds.length / 2;
    // The better answers are learned with their prompts.
    const whole = inputIds.map((ids, r) => ids.map((id, t) => attentionMask?.[r][t] === 0 ? -100 : id));
    const labels = [...whole.slice(0, pairs), ...answers.slice(pairs)];
    const counts = labelCounts(answers, 1);
    const weights = answers.map((row, r) => row.map((label) => label === -100 ? 0 : 1 / counts[r]));
    return {
      rows: { answers: predictedRows({ inputIds, labels, attentionMask }) },
      numbers: { weights: tokenWeights(weights), nllShare: nllShare(labels) },
    };
  }

  protected override pairLosses(
    model: TrainableModel,
    { rows: { answers }, numbers }: GivenInputs,
  ): PairResult {
    const tokens = tokenLogProbs((rows) => model.forward(rows), answers);
    const [chosenLogps, rejectedLogps] = halves(sequenceLogProbs(tokens, numbers.get("weights", tokens)));
    const nll = nllShares(sequenceLogProbs(tokens), numbers);
    const odds = subtract(
      subtract(chosenLogps, rejectedLogps),
      subtract(log1mExp(chosenLogps), log1mExp(rejectedLogps)),
    );
    const ratio = logSigmoid(odds);
    return {
      losses: subtract(nll, scale(ratio, this.#beta)),
      chosenRewards: scale(chosenLogps, this.#beta),
      rejectedRewards: scale(rejectedLogps, this.#beta),
      ...{ chosenLogps, rejectedLogps, others: () => [nll, ratio, odds] },
    };
  }
}

/**
 * Options of `ORPOTrainer`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, ORPOTrainer } from "@peft/webgpu";
 * import type { ORPOTrainerOptions } from "@peft/webgpu/train";
 *
 * const rows = Array.from({ length: 4 }, (_, i) => ({ prompt: `${i} ships`, chosen: " be sailing.", rejected: " sail." }));
 * const options: ORPOTrainerOptions = {
 *   model: await AutoModelForCausalLM.fromPretrained("examples/demo/model"),
 *   processingClass: await AutoTokenizer.fromPretrained("examples/demo/model"),
 *   trainDataset: rows.slice(1),
 *   evalDataset: rows.slice(0, 1),
 *   args: { maxSteps: 1, reportTo: "none" },
 * };
 * console.log((await new ORPOTrainer(options).evaluate()).metrics); // such as how often the better answer is the likelier
 * ```
 */
export type ORPOTrainerOptions = PreferenceTrainerOptions<Partial<ORPOConfig>>;

/**
 * Teaches a model the better of two answers and steers it away from the worse, in one training and without a reference.
 * Rows are those of `DPOTrainer`, and tokenized as there. `logps` are means over an answer's tokens; logs also have
 * `nllLoss`, `logOddsRatio` and `logOddsChosen`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, getPeftModel, LoraConfig, ORPOTrainer } from "@peft/webgpu";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] }));
 * const rows = [
 *   { prompt: "Once upon a time", chosen: " there was a dog.", rejected: " there was a car." },
 *   { prompt: "One day", chosen: " the dog was happy.", rejected: " the car was broken." },
 * ];
 * const args = { maxSteps: 2, maxLength: 64, reportTo: "none" } as const;
 * const { trainingLoss } = await new ORPOTrainer({ model, processingClass: tokenizer, trainDataset: rows, args }).train();
 * console.log(trainingLoss);
 * ```
 */
export class ORPOTrainer extends PreferenceTrainer<PairExample> {
  /**
   * Does nothing to the model yet.
   * @throws {RangeError} for settings out of range @throws {TypeError} for an option that does not exist
   */
  constructor(given: ORPOTrainerOptions) {
    checkOptions("make an ORPO trainer", given, PREFERENCE_OPTIONS);
    const args = given.args instanceof ORPOConfig ? given.args : new ORPOConfig(given.args);
    const options = withAdapter("make an ORPO trainer", oneTokenizer("make an ORPO trainer", given));
    super(options, {
      ...{ args, objective: new ORPOObjective(args.beta), precompute: null },
      read: readPairs(options.tokenizer, args),
      collate: pairCollator(padTokenOf(options.tokenizer)),
    });
  }
}
