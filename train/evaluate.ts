/**
 * The mean loss of a model over a dataset.
 * @module
 */

import { concat, keep, noGrad, readAndDispose, reshape, type Tensor, tidy } from "../autograd/mod.ts";
import { inEvalMode, Module } from "../nn/mod.ts";
import { countItems, type DataLoader } from "./data/data_loader.ts";
import type { PredictionCollector } from "./metrics.ts";
import { forwardWithLoss, logitsOf, type TrainableModel } from "./trainable_model.ts";

/** Losses that are read back together. */
const READ_TOGETHER = 32;

/** Result of `Trainer.evaluate()`. */
export interface EvalOutput {
  /** Mean loss per label. */
  readonly evalLoss: number;
  /** exp(evalLoss) */
  readonly perplexity: number;
  /** Seconds. */
  readonly evalRuntime: number;
  /** Labels that counted. */
  readonly evalTokens: number;
  /** Measures of `computeMetrics`, as `evalAccuracy`. */
  readonly metrics: Readonly<Record<string, number>>;
}

/** Runs a forward in eval mode. The model's modes are as they were before anything else runs. */
function evaluating<T>(model: TrainableModel, forward: () => T): T {
  if (model instanceof Module) return inEvalMode(forward);
  const { training } = model;
  model.train(false);
  try {
    return forward();
  } finally {
    model.train(training);
  }
}

/**
 * Evaluates in eval mode; every label counts once, however batches are cut. What else runs meanwhile keeps its mode.
 * @throws {RangeError} if there is no label at all
 */
export async function evaluateLoss(
  model: TrainableModel,
  loader: DataLoader,
  collector: PredictionCollector | null = null,
): Promise<EvalOutput> {
  const begin = performance.now();
  let sum = 0;
  let evalTokens = 0;
  let open: { loss: Tensor; items: number }[] = [];
  const read = async () => {
    if (open.length === 0) return;
    const losses = tidy(() => noGrad(() => concat(open.map(({ loss }) => reshape(loss, [1])), 0)));
    const values = await readAndDispose(losses);
    open.forEach(({ items }, i) => sum += values[i] * items);
    for (const { loss } of open) loss.dispose();
    open = [];
  };
  try {
    for await (const batch of loader.readBatches(0)) {
      const items = countItems(batch);
      if (items === 0) continue;
      const { loss, logits } = evaluating(model, () =>
        tidy(() =>
          noGrad(() => {
            const output = forwardWithLoss(model, batch, items);
            return { loss: output.loss.detach(), logits: collector ? logitsOf(output) : null };
          })
        ));
      open.push({ loss: keep(loss), items });
      if (logits) await collector!.add(logits, batch).finally(() => logits.dispose());
      evalTokens += items;
      if (open.length === READ_TOGETHER) await read();
    }
    await read();
  } finally {
    for (const { loss } of open) loss.dispose();
  }
  if (evalTokens === 0) {
    throw new RangeError(
      "Cannot evaluate: at least one label after the first of its row is required, all others being -100",
    );
  }
  const evalLoss = sum / evalTokens;
  return {
    evalLoss,
    perplexity: Math.exp(evalLoss),
    evalRuntime: (performance.now() - begin) / 1000,
    evalTokens,
    metrics: collector?.metrics() ?? {},
  };
}
