/**
 * The mean loss of a model over a dataset.
 * @module
 */

import { concat, keep, noGrad, readAndDispose, reshape, type Tensor, tidy } from "../autograd/mod.ts";
import { inEvalMode, Module } from "../nn/mod.ts";
import type { DataLoader } from "./data/data_loader.ts";
import type { PredictionCollector } from "./metrics.ts";
import { MODEL_LOSS, type Objective } from "./objective.ts";
import { logitsOf, type TrainableModel } from "./trainable_model.ts";
import { tokenMeasures, withTokenMeasures } from "./token_measures.ts";
import { evalName } from "./training_arguments.ts";

/** Losses that are read back together. */
const READ_TOGETHER = 32;

/**
 * Result of `Trainer.evaluate()`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, Trainer } from "@peft/webgpu";
 * import type { EvalOutput } from "@peft/webgpu/train";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const trainer = new Trainer({ model, evalDataset: [{ inputIds: [1, 2, 3] }], args: { reportTo: "none" } });
 * const { evalLoss, perplexity, evalTokens }: EvalOutput = await trainer.evaluate();
 * console.log(Math.exp(evalLoss) === perplexity, evalTokens); // true 2
 * ```
 */
export interface EvalOutput {
  /** Mean loss per label, or per item of another objective. */
  readonly evalLoss: number;
  /** exp(evalLoss); NaN for an objective that is no loss of tokens. */
  readonly perplexity: number;
  /** Seconds. */
  readonly evalRuntime: number;
  /** Labels, or other items, that counted. */
  readonly evalTokens: number;
  /** Part of the labels that had the largest logit; null where the model's loss does not tell. */
  readonly meanTokenAccuracy: number | null;
  /** Measures of `computeMetrics`, as `evalAccuracy`, and of the objective, as `evalRewards/margins`. */
  readonly metrics: Readonly<Record<string, number>>;
}

/** Runs a forward in eval mode. The model's modes are as they were before anything else runs. */
export function evaluating<T>(model: TrainableModel, forward: () => T): T {
  if (model instanceof Module) return inEvalMode(forward);
  const { training } = model;
  model.train(false);
  try {
    return forward();
  } finally {
    model.train(training);
  }
}

/** A batch whose loss is not read back yet. */
interface OpenLoss {
  readonly loss: Tensor;
  readonly sums: Tensor | null;
  readonly items: number;
}

/** Values of tensors one after another, outside the tape. */
const inOneRow = (tensors: readonly Tensor[]) =>
  tidy(() => noGrad(() => concat(tensors.map((tensor) => reshape(tensor, [tensor.size])), 0)));

/**
 * Evaluates in eval mode; every item counts once, however batches are cut. What else runs meanwhile keeps its mode.
 * @throws {RangeError} if there is no item at all
 */
export async function evaluateLoss(
  model: TrainableModel,
  loader: DataLoader,
  given: Objective = MODEL_LOSS,
  collector: PredictionCollector | null = null,
): Promise<EvalOutput> {
  const begin = performance.now();
  const objective = given.isTokenLoss && given.sumCount === 0 ? withTokenMeasures(given) : given;
  let sum = 0;
  let evalTokens = 0;
  const sums = new Array<number>(objective.sumCount).fill(0);
  let open: OpenLoss[] = [];
  const close = () => {
    for (const { loss, sums } of open) for (const tensor of [loss, sums]) tensor?.dispose();
    open = [];
  };
  const read = async () => {
    if (open.length === 0) return;
    const values = await readAndDispose(
      inOneRow(open.flatMap(({ loss, sums }) => sums ? [loss, sums] : [loss])),
    );
    let at = 0;
    for (const { items, sums: own } of open) {
      sum += values[at++] * items;
      if (own) { for (let i = 0; i < sums.length; i++) sums[i] += values[at++]; }
    }
    close();
  };
  try {
    for await (const batch of loader.readBatches(0)) {
      const items = objective.countItems(batch);
      if (items === 0) continue;
      const { loss, own, logits } = evaluating(model, () =>
        tidy(() =>
          noGrad(() => {
            const { loss, sums = null, output } = objective.loss(model, batch, items);
            return { loss: loss.detach(), own: sums, logits: collector ? logitsOf(output) : null };
          })
        ));
      open.push({ loss: keep(loss), sums: own && keep(own), items });
      if (logits) await collector!.add(logits, batch).finally(() => logits.dispose());
      evalTokens += items;
      if (open.length === READ_TOGETHER) await read();
    }
    await read();
  } finally {
    close();
  }
  if (evalTokens === 0) throw new RangeError(`Cannot evaluate: at least one ${objective.required}`);
  const evalLoss = sum / evalTokens;
  const measures = Object.entries(given.measures(sums)).filter(([name]) => name !== "meanTokenAccuracy")
    .map(([name, value]) => [evalName(name), value] as const);
  const tokens = objective.measuresTokens ? tokenMeasures(sums) : null;
  return {
    evalLoss,
    perplexity: objective.isTokenLoss ? Math.exp(evalLoss) : NaN,
    evalRuntime: (performance.now() - begin) / 1000,
    evalTokens,
    meanTokenAccuracy: tokens?.tokens === evalTokens ? tokens.meanTokenAccuracy : null,
    metrics: { ...Object.fromEntries(measures), ...collector?.metrics() },
  };
}
