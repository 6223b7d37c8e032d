/**
 * Your own measures in evaluations: what `computeMetrics` is given, and how it is collected.
 * @module
 */

import { noGrad, readAndDispose, type Tensor, type TensorData, tidy } from "../autograd/mod.ts";
import type { Batch } from "./data/data_loader.ts";
import { evalName } from "./training_arguments.ts";

/** Predictions of one row. */
export interface RowPrediction {
  /** Values in row-major order. */
  readonly data: TensorData;
  /** Shape of `data`: [T, V] for logits. */
  readonly shape: readonly number[];
}

/** Everything that an evaluation predicted, row by row. */
export interface EvalPrediction {
  /** Logits of each row [T, V], or what `preprocessLogitsForMetrics` made of them. Position t predicts label t + 1. */
  readonly predictions: readonly RowPrediction[];
  /** Labels of each row [T]; -100 counts for nothing. */
  readonly labelIds: readonly (readonly number[])[];
}

/** Measures by name; they are logged as `evalName`. */
export type ComputeMetrics = (prediction: EvalPrediction) => Record<string, number>;

/**
 * Makes of a batch's logits [B, T, V] what `computeMetrics` needs of them, on the device: whole logits of a long
 * evaluation do not fit into memory.
 */
export type PreprocessLogits = (logits: Tensor, labels: readonly (readonly number[])[]) => Tensor;

/** Collects the predictions of an evaluation. */
export class PredictionCollector {
  readonly #compute: ComputeMetrics;
  readonly #preprocess: PreprocessLogits;
  readonly #predictions: RowPrediction[] = [];
  readonly #labelIds: number[][] = [];

  /** Collects logits as they are unless `preprocess` is given. */
  constructor(compute: ComputeMetrics, preprocess: PreprocessLogits = (logits) => logits) {
    this.#compute = compute;
    this.#preprocess = preprocess;
  }

  /** Reads the predictions of a batch back. @throws {TypeError} if it is not a row for each row of the batch */
  async add(logits: Tensor, batch: Batch): Promise<void> {
    const made = tidy(() => noGrad(() => this.#preprocess(logits, batch.labels).detach()));
    const [rows, ...shape] = made.shape;
    if (rows !== batch.labels.length) {
      made.dispose();
      throw new TypeError(
        `Cannot compute metrics: predictions of ${batch.labels.length} rows are required, received shape [${made.shape}]`,
      );
    }
    const data = await readAndDispose(made);
    const size = data.length / rows;
    for (let row = 0; row < rows; row++) {
      this.#predictions.push({ data: data.slice(row * size, (row + 1) * size), shape });
      this.#labelIds.push(batch.labels[row]);
    }
  }

  /** The measures, under the names of logs. @throws {TypeError} for a value that is no number */
  metrics(): Record<string, number> {
    const metrics = this.#compute({ predictions: this.#predictions, labelIds: this.#labelIds });
    for (const [name, value] of Object.entries(metrics)) {
      if (typeof value === "number") continue;
      throw new TypeError(`Cannot compute metrics: "${name}" must be a number, received ${typeof value}`);
    }
    return Object.fromEntries(Object.entries(metrics).map(([name, value]) => [evalName(name), value]));
  }
}
