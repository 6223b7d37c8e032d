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
  type Tensor,
  tidy,
} from "../../autograd/mod.ts";
import { checkOptions } from "../../options/names.ts";
import { withAdapter } from "../adapter_option.ts";
import { oneTokenizer } from "../processing_class.ts";
import type { Batch } from "../data/data_loader.ts";
import type { BatchLoss, CaptureInputs, Objective } from "../objective.ts";
import { checkModel, type TrainableModel } from "../trainable_model.ts";
import { KTOConfig } from "./kto_config.ts";
import {
  captureInputsOf,
  type ForwardRows,
  type GivenInputs,
  type LossInputs,
  type Numbers,
  oneRow,
  recordedInputs,
  uploadInputs,
} from "./loss_inputs.ts";
import {
  padTokenOf,
  PREFERENCE_OPTIONS,
  PreferenceTrainer,
  type PreferenceTrainerOptions,
} from "./preference_trainer.ts";
import { type Reference, type ReferenceForward, referenceOf } from "./reference.ts";
import {
  logitNumbers,
  meanLogit,
  numberRow,
  policyTokens,
  predictedRows,
  type RowLogits,
  sequenceLogProbs,
  tokenLogProbs,
} from "./sequence_log_probs.ts";
import { readUnpaired, type UnpairedBatch, unpairedCollator, type UnpairedExample } from "./unpaired.ts";

/** The loss of `KTOTrainer`. */
class KTOObjective implements Objective {
  readonly required = "row with an answer is required";
  readonly isTokenLoss = false;
  /**
   * Rewards, log-probabilities, mean logits and tokens of wanted and of unwanted answers, their numbers, and the KL term of
   * each.
   */
  readonly sumCount = 11;
  readonly #args: KTOConfig;
  readonly #reference: Reference;

  constructor(args: KTOConfig, reference: Reference) {
    this.#args = args;
    this.#reference = reference;
  }

  countItems({ inputIds }: Batch): number {
    return inputIds.length;
  }

  countForwards(batch: Batch): number {
    return (batch as UnpairedBatch).mismatched ? 2 : 1;
  }

  captureInputs(given: Batch, model: TrainableModel): CaptureInputs | null {
    const batch = given as UnpairedBatch;
    const { model: other } = this.#reference;
    return captureInputsOf(this.#inputs(batch), other && !batch.reference ? [model, other] : [model]);
  }

  #inputs(batch: UnpairedBatch): LossInputs {
    const { wanted, mismatched, reference } = batch;
    const { beta, desirableWeight, undesirableWeight } = this.#args;
    const of = (whenWanted: number, otherwise: number) =>
      Float32Array.from(wanted, (one) => one ? whenWanted : otherwise);
    const count = wanted.filter((one) => one).length;
    return {
      rows: { answers: predictedRows(batch), ...mismatched && { mismatched: predictedRows(mismatched) } },
      numbers: {
        ...reference && { reference: oneRow(reference) },
        signs: [of(-beta, beta)],
        weights: [of(desirableWeight, undesirableWeight)],
        kinds: [of(1, 0), of(0, 1)],
        counts: oneRow([count, wanted.length - count]),
        ...logitNumbers(batch),
      },
    };
  }

  /** Log-probabilities of the answers, then of the mismatched ones (or again of the answers), [2N]. */
  referenceLogProbs(batch: UnpairedBatch): Tensor {
    return this.#askReference(uploadInputs(this.#inputs(batch)));
  }

  #askReference({ rows: { answers, mismatched } }: GivenInputs): Tensor {
    const logps = (rows: ForwardRows) => sequenceLogProbs(tokenLogProbs(this.#reference.forward, rows));
    const own = logps(answers);
    return concat([own, mismatched ? logps(mismatched) : own], 0);
  }

  // The number of rows follows from the shapes of a step, so that a recorded one needs no divisor.
  loss(model: TrainableModel, batch: Batch, items: number, divisor?: Tensor): BatchLoss {
    const inputs = divisor
      ? recordedInputs(batch as unknown as Record<string, Tensor>)
      : uploadInputs(this.#inputs(batch as UnpairedBatch));
    const { rows: { answers, mismatched }, numbers } = inputs;
    const forward: ReferenceForward = (rows) => model.forward(rows);
    const asked = numbers.has("reference") ? null : this.#askReference(inputs);
    const others = mismatched && noGrad(() => sequenceLogProbs(tokenLogProbs(forward, mismatched)));
    const { tokens, logits } = policyTokens(model, answers, numbers);
    const logps = sequenceLogProbs(tokens);
    const reference = asked ?? numberRow(numbers, "reference", logps);
    const [rows] = logps.shape;
    const z = others
      ? noGrad(() => relu(mean(subtract(others, slice(reference, 0, rows)))))
      : full(logps.device, [], 0);
    const ratios = subtract(logps, slice(reference, 0, 0, rows));
    const [signs, weights] = ["signs", "weights"].map((name) => numberRow(numbers, name, logps));
    const losses = multiply(sigmoid(multiply(subtract(ratios, z), signs)), weights); // 1 - s(x) = s(-x)
    const rewards = () => scale(ratios, this.#args.beta);
    return {
      loss: scale(sum(losses), 1 / items),
      sums: tidy(() => noGrad(() => sumsOf(numbers, [rewards(), logps], logits(), z))),
    };
  }

  measures(sums: readonly number[]): Record<string, number> {
    const [chosenRewards, chosenLogps, chosenLogits, chosenTokens] = sums;
    const [rejectedRewards, rejectedLogps, rejectedLogits, rejectedTokens, chosen, rejected, kl] = sums.slice(
      4,
    );
    const rewards = [chosenRewards / chosen, rejectedRewards / rejected];
    return {
      ...chosen > 0 && { "rewards/chosen": rewards[0], "logps/chosen": chosenLogps / chosen },
      ...rejected > 0 && { "rewards/rejected": rewards[1], "logps/rejected": rejectedLogps / rejected },
      ...chosen > 0 && rejected > 0 && { "rewards/margins": rewards[0] - rewards[1] },
      ...meanLogit("logits/chosen", chosenLogits, chosenTokens),
      ...meanLogit("logits/rejected", rejectedLogits, rejectedTokens),
      kl: kl / (chosen + rejected),
    };
  }
}

/** Sums over wanted and over unwanted rows; float32 [11], in the order of `measures`. */
function sumsOf(
  numbers: Numbers,
  values: readonly Tensor[],
  { sums: logits, counts: tokens }: RowLogits,
  z: Tensor,
): Tensor {
  const [rows] = logits.shape;
  const kinds = numbers.get("kinds", logits)!.alias([2, 1, rows]);
  const all = concat([...values, logits, tokens].map((x) => reshape(x, [1, rows])), 0);
  const sums = sum(multiply(kinds, all), { axis: 2 }); // [2, 4]
  const counts = numberRow(numbers, "counts", logits);
  return concat([reshape(sums, [8]), counts, reshape(scale(z, rows), [1])], 0);
}

/**
 * Options of `KTOTrainer`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, KTOTrainer, LoraConfig } from "@peft/webgpu";
 * import type { KTOTrainerOptions } from "@peft/webgpu/train";
 *
 * const options: KTOTrainerOptions = {
 *   model: await AutoModelForCausalLM.fromPretrained("examples/demo/model"),
 *   processingClass: await AutoTokenizer.fromPretrained("examples/demo/model"),
 *   peftConfig: new LoraConfig({ targetModules: ["c_attn"] }),
 *   trainDataset: [
 *     { prompt: "The sea", completion: " be calm, arr.", label: true },
 *     { prompt: "The sea", completion: " is calm.", label: false },
 *   ],
 *   args: { maxSteps: 1, undesirableWeight: 0.5, reportTo: "none" }, // bad answers count half
 * };
 * await new KTOTrainer(options).train();
 * ```
 */
export interface KTOTrainerOptions extends PreferenceTrainerOptions<Partial<KTOConfig>> {
  /** As of `DPOTrainer`: default the adapter "ref", or the model without its adapters. */
  refModel?: TrainableModel;
}

/**
 * Trains a model on single answers that are wanted or not. Rows are `{ prompt, completion, label }`, texts or messages,
 * with `label` true for an answer that is wanted; pairs count as two rows. Rows may be token ids: `promptIds`,
 * `completionIds`. Logs and evaluations have `rewards/chosen` and `rewards/rejected` (where there are such rows),
 * `rewards/margins`, `logps/chosen`, `logps/rejected` and `kl`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, getPeftModel, KTOTrainer, LoraConfig } from "@peft/webgpu";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] }));
 * const rows = [
 *   { prompt: "Once upon a time", completion: " there was a dog.", label: true },
 *   { prompt: "One day", completion: " the car was broken.", label: false },
 * ];
 * const args = { maxSteps: 2, maxLength: 64, reportTo: "none" } as const;
 * const { trainingLoss } = await new KTOTrainer({ model, processingClass: tokenizer, trainDataset: rows, args }).train();
 * console.log(trainingLoss);
 * ```
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
    const args = given.args instanceof KTOConfig ? given.args : new KTOConfig(given.args);
    const options = withAdapter("make a KTO trainer", oneTokenizer("make a KTO trainer", given));
    const { model, refModel, tokenizer } = options;
    const { precomputeRefLogProbs, maxLength, lossType } = args;
    const reference = referenceOf("make a KTO trainer", model, refModel, precomputeRefLogProbs);
    const objective = new KTOObjective(args, reference);
    super(options, {
      ...{ args, objective, read: readUnpaired(tokenizer, maxLength) },
      collate: unpairedCollator(padTokenOf(tokenizer), maxLength, lossType === "kto"),
      precompute: precomputeRefLogProbs
        ? {
          of: (batch) => objective.referenceLogProbs(batch as UnpairedBatch),
          batchSize: null,
          isFixed: reference.isFixed,
        }
        : null,
    });
  }
}
