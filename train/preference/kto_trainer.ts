/**
 * Kahneman-Tversky optimization (Ethayarajh et al. 2024, arXiv:2402.01306), as TRL's `KTOTrainer`: single answers, each
 * wanted or not.
 *   wanted: w (1 - s(beta (a - z))),   unwanted: w (1 - s(beta (z - a))),   a: log-ratio of policy and reference
 *   z = max(0, mean log-ratio of prompts with the answers of other rows), without a gradient
 * @module
 */

import {
  concat,
  full,
  mean,
  multiply,
  noGrad,
  relu,
  reshape,
  scale,
  sigmoid,
  slice,
  subtract,
  sum,
  Tensor,
  tidy,
} from "../../autograd/mod.ts";
import { checkOptions } from "../../options/names.ts";
import { oneTokenizer } from "../processing_class.ts";
import type { Batch } from "../data/data_loader.ts";
import type { BatchLoss, Objective } from "../objective.ts";
import { checkModel, type TrainableModel } from "../trainable_model.ts";
import { KTOConfig } from "./kto_config.ts";
import {
  padTokenOf,
  PREFERENCE_OPTIONS,
  PreferenceTrainer,
  type PreferenceTrainerOptions,
} from "./preference_trainer.ts";
import { type ReferenceForward, referenceOf } from "./reference.ts";
import { likeDevice, sequenceLogProbs, tokenLogProbs } from "./sequence_log_probs.ts";
import { readUnpaired, type UnpairedBatch, unpairedCollator, type UnpairedExample } from "./unpaired.ts";

/** The loss of `KTOTrainer`. */
class KTOObjective implements Objective {
  readonly required = "row with an answer is required";
  readonly isTokenLoss = false;
  /** Rewards and log-probabilities of wanted and of unwanted answers, their numbers, and the KL term of each. */
  readonly sumCount = 7;
  readonly #args: KTOConfig;
  readonly #reference: ReferenceForward;

  constructor(args: KTOConfig, reference: ReferenceForward) {
    this.#args = args;
    this.#reference = reference;
  }

  countItems({ inputIds }: Batch): number {
    return inputIds.length;
  }

  captureInputs(): null {
    return null;
  }

  /** Log-probabilities of the answers, then of the mismatched ones (or again of the answers), [2N]. */
  referenceLogProbs(batch: UnpairedBatch): Tensor {
    const logps = (rows: Batch) => sequenceLogProbs(tokenLogProbs(this.#reference, rows));
    const own = logps(batch);
    return concat([own, batch.mismatched ? logps(batch.mismatched) : own], 0);
  }

  loss(model: TrainableModel, given: Batch, items: number): BatchLoss {
    const batch = given as UnpairedBatch;
    const { wanted, mismatched } = batch;
    const { beta, desirableWeight, undesirableWeight } = this.#args;
    const forward: ReferenceForward = (inputs) => model.forward(inputs);
    const asked = batch.reference ? null : this.referenceLogProbs(batch);
    const others = mismatched && noGrad(() => sequenceLogProbs(tokenLogProbs(forward, mismatched)));
    const logps = sequenceLogProbs(tokenLogProbs(forward, batch));
    const reference = asked ?? likeDevice(batch.reference!, logps);
    const rows = wanted.length;
    const z = others
      ? noGrad(() => relu(mean(subtract(others, slice(reference, 0, rows)))))
      : full(logps.device, [], 0);
    const ratios = subtract(logps, slice(reference, 0, 0, rows));
    const signs = likeDevice(wanted.map((one) => one ? -beta : beta), logps);
    const weights = likeDevice(wanted.map((one) => one ? desirableWeight : undesirableWeight), logps);
    const losses = multiply(sigmoid(multiply(subtract(ratios, z), signs)), weights); // 1 - s(x) = s(-x)
    return {
      loss: scale(sum(losses), 1 / items),
      sums: tidy(() => noGrad(() => sumsOf(wanted, scale(ratios, beta), logps, z))),
    };
  }

  measures(
    [chosenRewards, chosenLogps, rejectedRewards, rejectedLogps, chosen, rejected, kl]: readonly number[],
  ): Record<string, number> {
    const rewards = [chosenRewards / chosen, rejectedRewards / rejected];
    return {
      ...chosen > 0 && { "rewards/chosen": rewards[0], "logps/chosen": chosenLogps / chosen },
      ...rejected > 0 && { "rewards/rejected": rewards[1], "logps/rejected": rejectedLogps / rejected },
      ...chosen > 0 && rejected > 0 && { "rewards/margins": rewards[0] - rewards[1] },
      kl: kl / (chosen + rejected),
    };
  }
}

/** Sums over wanted and over unwanted rows; float32 [7], in the order of `measures`. */
function sumsOf(wanted: readonly boolean[], rewards: Tensor, logps: Tensor, z: Tensor): Tensor {
  const { device } = logps;
  const rows = wanted.length;
  const masks = [true, false].map((kind) => wanted.map((one) => one === kind ? 1 : 0));
  const mask = Tensor.from(Float32Array.from(masks.flat()), { device, shape: [2, 1, rows] });
  const values = concat([rewards, logps].map((x) => reshape(x, [1, rows])), 0);
  const sums = sum(multiply(mask, values), { axis: 2 }); // [2, 2]
  const count = wanted.filter((one) => one).length;
  const counts = [count, rows - count];
  return concat([reshape(sums, [4]), likeDevice(counts, logps), reshape(scale(z, rows), [1])], 0);
}

/** Options of `KTOTrainer`. */
export interface KTOTrainerOptions extends PreferenceTrainerOptions<Partial<KTOConfig>> {
  /** As of `DPOTrainer`: default the adapter "ref", or the model without its adapters. */
  refModel?: TrainableModel;
}

/**
 * Trains a model on single answers that are wanted or not. Rows are `{ prompt, completion, label }`, texts or messages,
 * with `label` true for an answer that is wanted; pairs count as two rows. Rows may be token ids: `promptIds`,
 * `completionIds`. Logs and evaluations have `rewards/chosen` and `rewards/rejected` (where there are such rows),
 * `rewards/margins`, `logps/chosen`, `logps/rejected` and `kl`.
 */
export class KTOTrainer extends PreferenceTrainer<UnpairedExample> {
  /**
   * Does nothing to the model yet.
   * @throws {RangeError} for settings out of range, and batches of one row with lossType "kto"
   * @throws {TypeError} for an option that does not exist, and where there is nothing to be the reference
   */
  constructor(given: KTOTrainerOptions) {
    checkOptions("make a KTO trainer", given, [...PREFERENCE_OPTIONS, "refModel"]);
    checkModel("make a KTO trainer", given.model);
    const options = oneTokenizer("make a KTO trainer", given);
    const { model, refModel, tokenizer } = options;
    const args = options.args instanceof KTOConfig ? options.args : new KTOConfig(options.args);
    const { precomputeRefLogProbs, maxLength, lossType } = args;
    const { forward, isFixed } = referenceOf("make a KTO trainer", model, refModel, precomputeRefLogProbs);
    const objective = new KTOObjective(args, forward);
    super(options, {
      ...{ args, objective, read: readUnpaired(tokenizer, maxLength) },
      collate: unpairedCollator(padTokenOf(tokenizer), maxLength, lossType === "kto"),
      precompute: precomputeRefLogProbs
        ? { of: (batch) => objective.referenceLogProbs(batch as UnpairedBatch), batchSize: null, isFixed }
        : null,
    });
  }
}
