/**
 * Your own measures in evaluations: what `computeMetrics` is given, and how it is collected.
 * @module
 */

import { cast, type DType, noGrad, readAndDispose, type Tensor, tidy } from "../autograd/mod.ts";
import type { Batch } from "./data/data_loader.ts";
import { evalName } from "./training_arguments.ts";

/**
 * Predictions of one row.
 *
 * @example
 * ```ts
 * import type { RowPrediction } from "@peft/webgpu/train";
 *
 * // the likeliest next token after each token of a row
 * function likeliest({ data, shape: [length, vocabSize] }: RowPrediction): number[] {
 *   const rows = Array.from({ length }, (_, t) => data.subarray(t * vocabSize, (t + 1) * vocabSize));
 *   return rows.map((logits) => logits.reduce((best, logit, id) => logit > logits[best] ? id : best, 0));
 * }
 * console.log(likeliest({ data: new Float32Array([1, 3, 2, 5, 4, 0]), shape: [2, 3] })); // [ 1, 0 ]
 * ```
 */
export interface RowPrediction {
  /** Values in row-major order. Whole numbers are exact up to 2^24. */
  readonly data: Float32Array<ArrayBuffer>;
  /** Shape of `data`: [T, V] for logits. */
  readonly shape: readonly number[];
}

/**
 * Everything that an evaluation predicted, row by row.
 *
 * @example
 * ```ts
 * import type { EvalPrediction } from "@peft/webgpu/train";
 *
 * // how many labels counted in an evaluation: the first of a row is predicted by nothing
 * const labelCount = ({ labelIds }: EvalPrediction) =>
 *   labelIds.reduce((sum, row) => sum + row.slice(1).filter((label) => label !== -100).length, 0);
 * console.log(labelCount({ predictions: [], labelIds: [[1, 2, 3], [-100, -100, 4]] })); // 3
 * ```
 */
export interface EvalPrediction {
  /** Logits of each row [T, V], or what `preprocessLogitsForMetrics` made of them. Position t predicts label t + 1. */
  readonly predictions: readonly RowPrediction[];
  /** Labels of each row [T]; -100 counts for nothing. */
  readonly labelIds: readonly (readonly number[])[];
}

/**
 * Measures by name; they are logged as `evalName`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, Trainer } from "@peft/webgpu";
 * import type { ComputeMetrics } from "@peft/webgpu/train";
 *
 * const computeMetrics: ComputeMetrics = ({ predictions }) => ({
 *   largestLogit: Math.max(...predictions.map(({ data }) => Math.max(...data))),
 * });
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const trainer = new Trainer({ model, evalDataset: [{ inputIds: [1, 2, 3] }], computeMetrics, args: { reportTo: "none" } });
 * console.log((await trainer.evaluate()).metrics.evalLargestLogit);
 * ```
 */
export type ComputeMetrics = (prediction: EvalPrediction) => Record<string, number>;

/**
 * Makes of a batch's logits [B, T, V] what `computeMetrics` needs of them, on the device: whole logits of a long
 * evaluation do not fit into memory.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, Trainer } from "@peft/webgpu";
 * import { max, softmax } from "@peft/webgpu/tensor";
 * import type { PreprocessLogits } from "@peft/webgpu/train";
 *
 * // the probability of the likeliest token, [B, T]: one number in place of a vocabulary's
 * const preprocessLogitsForMetrics: PreprocessLogits = (logits) => max(softmax(logits), { axis: 2 });
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const trainer = new Trainer({
 *   model,
 *   evalDataset: [{ inputIds: [1, 2, 3] }],
 *   args: { reportTo: "none" },
 *   preprocessLogitsForMetrics,
 *   computeMetrics: ({ predictions }) => ({ leastSure: Math.min(...predictions.flatMap(({ data }) => [...data])) }),
 * });
 * console.log((await trainer.evaluate()).metrics.evalLeastSure);
 * ```
 */
export type PreprocessLogits = (logits: Tensor, labels: readonly (readonly number[])[]) => Tensor;

const INTEGERS: readonly DType[] = ["int32", "uint32"];

/** The tensor without its graph, as numbers that the host can read. */
function readable(made: Tensor): Tensor {
  return INTEGERS.includes(made.dtype) ? made.detach() : cast(made, "float32");
}

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
    const made = tidy(() => noGrad(() => readable(this.#preprocess(logits, batch.labels))));
    const [rows, ...shape] = made.shape;
    if (rows !== batch.labels.length) {
      made.dispose();
      throw new TypeError(
        `Cannot compute metrics: predictions of ${batch.labels.length} rows are required, received shape [${made.shape}]`,
      );
    }
    const read = await readAndDispose(made);
    const data = read instanceof Float32Array ? read : new Float32Array(read);
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
