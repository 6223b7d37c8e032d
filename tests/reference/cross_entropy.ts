/**
 * Cross-entropy of rows of logits in float64.
 * @module
 */

/** How the losses of rows become one number; as `CrossEntropyOptions`. */
export interface LossCase {
  readonly labels: readonly number[];
  /** Labels of one sequence; labels predict from the row before when set. */
  readonly shiftLength?: number;
  readonly ignoreIndex?: number;
  readonly sum?: boolean;
  readonly numItems?: number;
}

/** Target of each row, or null. */
function targetsOf({ labels, shiftLength, ignoreIndex = -100 }: LossCase): (number | null)[] {
  return labels.map((_, i) => {
    if (shiftLength !== undefined && i % shiftLength === shiftLength - 1) return null;
    const label = labels[shiftLength === undefined ? i : i + 1];
    return label === ignoreIndex ? null : label;
  });
}

/** The loss, and its gradient for the logits. */
export function crossEntropyReference(
  logits: ArrayLike<number>,
  test: LossCase,
): { loss: number; dlogits: Float64Array } {
  const targets = targetsOf(test);
  const rows = targets.length;
  const cols = logits.length / rows;
  const counted = targets.filter((target) => target !== null).length;
  const divisor = test.numItems ?? (test.sum ? 1 : counted);
  const dlogits = new Float64Array(logits.length);
  let loss = 0 / divisor; // NaN for the mean of no rows
  targets.forEach((target, r) => {
    if (target === null) return;
    let high = -Infinity;
    for (let c = 0; c < cols; c++) high = Math.max(high, logits[r * cols + c]);
    let total = 0;
    for (let c = 0; c < cols; c++) total += Math.exp(logits[r * cols + c] - high);
    loss += (high + Math.log(total) - logits[r * cols + target]) / divisor;
    for (let c = 0; c < cols; c++) {
      const p = Math.exp(logits[r * cols + c] - high) / total;
      dlogits[r * cols + c] = (p - (c === target ? 1 : 0)) / divisor;
    }
  });
  return { loss, dlogits };
}

/** Log-probabilities of the labels, one for each row (0 without a label), and their gradients for the row's logits. */
export function logProbsReference(
  logits: ArrayLike<number>,
  test: LossCase,
): { y: Float64Array; dlogits: Float64Array } {
  const targets = targetsOf(test);
  const cols = logits.length / targets.length;
  const y = new Float64Array(targets.length);
  const dlogits = new Float64Array(logits.length);
  targets.forEach((target, r) => {
    if (target === null) return;
    const row = Float64Array.from({ length: cols }, (_, c) => logits[r * cols + c]);
    const one = crossEntropyReference(row, { labels: [target] });
    y[r] = -one.loss;
    dlogits.set(one.dlogits.map((d) => -d), r * cols);
  });
  return { y, dlogits };
}
