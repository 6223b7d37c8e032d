/**
 * What trainers of pairs share: both answers of all pairs run as one batch, and the logs are about both.
 * @module
 */

import {
  concat,
  full,
  isPositive,
  noGrad,
  reshape,
  scale,
  subtract,
  sum,
  type Tensor,
  tidy,
} from "../../autograd/mod.ts";
import type { Batch } from "../data/data_loader.ts";
import type { BatchLoss, CaptureInputs, Objective } from "../objective.ts";
import type { TrainableModel } from "../trainable_model.ts";
import {
  captureInputsOf,
  type GivenInputs,
  type LossInputs,
  recordedInputs,
  uploadInputs,
} from "./loss_inputs.ts";
import type { PairBatch } from "./pairs.ts";

/** What a loss of pairs gives; each float32 [B]. */
export interface PairResult {
  /** The loss of each pair, part of the gradient graph. */
  readonly losses: Tensor;
  /** What the policy gains over the reference, times beta. */
  readonly chosenRewards: Tensor;
  readonly rejectedRewards: Tensor;
  /** Log-probabilities of the answers. */
  readonly chosenLogps: Tensor;
  readonly rejectedLogps: Tensor;
  /** More numbers for the logs, in the order of their names. */
  readonly others?: () => readonly Tensor[];
}

/** The measures of every log, in the order of their sums. */
const MEASURES = [
  "rewards/chosen",
  "rewards/rejected",
  "rewards/accuracies",
  "logps/chosen",
  "logps/rejected",
];

/** A loss of pairs for the Trainer; classes below it compute it. */
export abstract class PairObjective implements Objective {
  readonly required = "pair of answers is required";
  readonly isTokenLoss = false;
  readonly sumCount: number;
  readonly #others: readonly string[];

  /** @param others names of the further measures */
  constructor(others: readonly string[] = []) {
    this.#others = others;
    this.sumCount = MEASURES.length + others.length + 1;
  }

  /** What the losses of a batch are made of. */
  protected abstract lossInputs(batch: PairBatch): LossInputs;

  /** The losses of a batch of pairs. */
  protected abstract pairLosses(model: TrainableModel, inputs: GivenInputs): PairResult;

  /** Models that a step asks about a batch. */
  protected modelsOf(_batch: PairBatch, model: TrainableModel): readonly TrainableModel[] {
    return [model];
  }

  countItems({ inputIds }: Batch): number {
    return inputIds.length / 2;
  }

  captureInputs(batch: Batch, model: TrainableModel): CaptureInputs | null {
    const pairs = batch as PairBatch;
    return captureInputsOf(this.lossInputs(pairs), this.modelsOf(pairs, model));
  }

  // The number of pairs follows from the shapes of a step, so that a recorded one needs no divisor.
  loss(model: TrainableModel, batch: Batch, items: number, divisor?: Tensor): BatchLoss {
    const inputs = divisor
      ? recordedInputs(batch as unknown as Record<string, Tensor>)
      : uploadInputs(this.lossInputs(batch as PairBatch));
    const result = this.pairLosses(model, inputs);
    return { loss: scale(sum(result.losses), 1 / items), sums: tidy(() => noGrad(() => this.#sums(result))) };
  }

  #sums({ chosenRewards, rejectedRewards, chosenLogps, rejectedLogps, others }: PairResult): Tensor {
    const [pairs] = chosenRewards.shape;
    const accuracies = isPositive(subtract(chosenRewards, rejectedRewards));
    const rows = [
      chosenRewards,
      rejectedRewards,
      accuracies,
      chosenLogps,
      rejectedLogps,
      ...others?.() ?? [],
    ];
    const sums = sum(concat(rows.map((row) => reshape(row, [1, pairs])), 0), { axis: 1 });
    return concat([sums, full(sums.device, [1], pairs)], 0);
  }

  measures(sums: readonly number[]): Record<string, number> {
    const pairs = sums.at(-1)!;
    const names = [...MEASURES, ...this.#others];
    const { "logps/chosen": chosen, "logps/rejected": rejected, ...measures } = Object.fromEntries(
      names.map((name, i) => [name, sums[i] / pairs]),
    );
    const margin = measures["rewards/chosen"] - measures["rewards/rejected"];
    return { ...measures, "rewards/margins": margin, "logps/chosen": chosen, "logps/rejected": rejected };
  }
}
