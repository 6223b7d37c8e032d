/**
 * The losses of DPO, one entry each (TRL 1.16, `DPOTrainer._compute_loss`), and the divergences that they may use.
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
  sigmoid,
  square,
  subtract,
  type Tensor,
} from "../../autograd/mod.ts";
import { sorted } from "./sorted.ts";

/** The settings that losses look at, as in `DPOConfig`. */
export interface DPOLossSettings {
  readonly beta: number;
  readonly labelSmoothing: number;
  readonly fAlphaDivergenceCoef: number;
  readonly discopopTau: number;
}

/** What losses are made of; each float32 [B]. */
export interface DPOTerms extends DPOLossSettings {
  /** Log-probabilities of the answers, the policy's less the reference's. */
  readonly a: Tensor;
  readonly b: Tensor;
  /** Log-probabilities of the better answer less those of the worse one: under the policy, and under the reference. */
  readonly policyRatio: () => Tensor;
  readonly referenceRatio: () => Tensor;
  /** The same through the divergence. */
  readonly chosenScores: Tensor;
  readonly rejectedScores: Tensor;
  /** chosenScores - rejectedScores */
  readonly delta: Tensor;
  /** The same of scores divided by the number of tokens. */
  readonly meanDelta: () => Tensor;
  /** The mean negative log-likelihood of the better answers' tokens, as its share in each pair. */
  readonly nll: () => Tensor;
}

/** A loss. */
export interface DPOLoss {
  /** The loss of each pair, [B]. */
  readonly of: (terms: DPOTerms) => Tensor;
  /** Whether it depends on the difference of both scores alone, so that every divergence fits. */
  readonly takesDivergences?: boolean;
  /** What it does with beta, if it does not scale its terms by it, so that it has no gradient where beta is 0. */
  readonly beta?: "divides" | "unused";
}

/** -log sigmoid(x) */
const softplus = (x: Tensor) => negate(logSigmoid(x));
/** -log s(x), where labels are wrong with probability e: (1 - e) of it and e of -log s(-x) */
function smoothed(x: Tensor, e: number): Tensor {
  return e === 0 ? softplus(x) : add(scale(softplus(x), 1 - e), scale(softplus(negate(x)), e));
}
/** 1 - x */
const oneMinus = (x: Tensor) => subtract(1, x);

/**
 * Name of a loss.
 *
 * @example
 * ```ts
 * import { DPOConfig } from "@peft/webgpu";
 * import type { DPOLossType } from "@peft/webgpu/train";
 *
 * const losses: DPOLossType[] = ["sigmoid", "ipo", "apo_zero"];
 * const runs = losses.map((lossType) => new DPOConfig({ lossType, outputDir: `out/${lossType}` })); // to compare
 * console.log(runs.map(({ outputDir }) => outputDir));
 * ```
 */
export type DPOLossType =
  | "sigmoid"
  | "hinge"
  | "ipo"
  | "sigmoid_norm"
  | "robust"
  | "exo_pair"
  | "nca_pair"
  | "bco_pair"
  | "sppo_hard"
  | "apo_zero"
  | "apo_down"
  | "discopop"
  | "aot"
  | "aot_unpaired"
  | "sft";

/** Every loss. s: sigmoid, a and b: log-ratios of the better and the worse answer, h = a - b. */
export const DPO_LOSSES: Readonly<Record<DPOLossType, DPOLoss>> = {
  /** -log s(beta h) (Rafailov et al. 2023, arXiv:2305.18290) */
  sigmoid: { of: ({ beta, delta }) => softplus(scale(delta, beta)), takesDivergences: true },
  /** max(0, 1 - beta h) (Zhao et al. 2023, arXiv:2305.10425) */
  hinge: { of: ({ beta, delta }) => relu(oneMinus(scale(delta, beta))), takesDivergences: true },
  /** (a / |yw| - b / |yl| - 1 / (2 beta))^2 (Azar et al. 2023, arXiv:2310.12036, eq. 17) */
  ipo: {
    of: ({ beta, meanDelta }) => square(subtract(meanDelta(), 1 / (2 * beta))),
    takesDivergences: true,
    beta: "divides",
  },
  /** -log s(beta (a / |yw| - b / |yl|)) */
  sigmoid_norm: {
    of: ({ beta, meanDelta }) => softplus(scale(meanDelta(), beta)),
    takesDivergences: true,
  },
  /** Labels that are wrong with probability e: (-(1 - e) log s(beta h) + e log s(-beta h)) / (1 - 2e) (arXiv:2403.00409) */
  robust: {
    of: ({ beta, delta, labelSmoothing: e }) => {
      const x = scale(delta, beta);
      const clean = scale(softplus(x), 1 - e);
      return scale(subtract(clean, scale(softplus(negate(x)), e)), 1 / (1 - 2 * e));
    },
    takesDivergences: true,
  },
  /** KL of the pair's probabilities and (1 - e, e) (Ji et al. 2024, arXiv:2402.00856, eq. 16) */
  exo_pair: {
    of: ({ beta, delta, labelSmoothing: e }) => {
      const x = scale(delta, beta);
      const term = (x: Tensor, p: number) => multiply(sigmoid(x), subtract(logSigmoid(x), Math.log(p)));
      return add(term(x, 1 - e), term(negate(x), e));
    },
    takesDivergences: true,
  },
  /** -log s(beta a) - (log s(-beta a) + log s(-beta b)) / 2 (Chen et al. 2024, arXiv:2402.05369) */
  nca_pair: {
    of: ({ beta, a, b }) => {
      const [x, y] = [scale(a, beta), scale(b, beta)];
      return add(softplus(x), scale(add(softplus(negate(x)), softplus(negate(y))), 0.5));
    },
  },
  /** -log s(beta a) - log s(-beta b) (Jung et al. 2024, arXiv:2404.04656) */
  bco_pair: { of: ({ beta, a, b }) => add(softplus(scale(a, beta)), softplus(scale(b, -beta))) },
  /** (a - 1 / (2 beta))^2 + (b + 1 / (2 beta))^2 (Wu et al. 2024, arXiv:2405.00675) */
  sppo_hard: {
    of: ({ beta, a, b }) => add(square(subtract(a, 0.5 / beta)), square(add(b, 0.5 / beta))),
    beta: "divides",
  },
  /** 1 - s(beta a) + s(beta b): for answers better than the model's own (D'Oosterlinck et al. 2024, arXiv:2408.06266) */
  apo_zero: { of: ({ beta, a, b }) => add(sigmoid(scale(a, -beta)), sigmoid(scale(b, beta))) },
  /** s(beta a) + 1 - s(beta h): for answers worse than the model's own */
  apo_down: {
    of: ({ beta, a, b }) => add(sigmoid(scale(a, beta)), sigmoid(scale(subtract(a, b), -beta))),
  },
  /** (1 - m) (-log s(x)) + m e^-x with x = beta h, m = s(x / tau) (Lu et al. 2024, arXiv:2406.08414, eq. 5) */
  discopop: {
    of: ({ beta, delta, discopopTau }) => {
      const x = scale(delta, beta);
      const m = sigmoid(scale(x, 1 / discopopTau));
      return add(multiply(softplus(x), oneMinus(m)), multiply(exp(negate(x)), m));
    },
    takesDivergences: true,
  },
  /**
   * -log s(beta d), d: ratios of both answers under the policy less those under the reference, each sorted within its batch
   * (Melnyk et al. 2024, arXiv:2406.05882)
   */
  aot: {
    of: ({ beta, labelSmoothing, policyRatio, referenceRatio }) =>
      smoothed(scale(subtract(sorted(policyRatio()), sorted(referenceRatio())), beta), labelSmoothing),
  },
  /** The same with d: a less b, each sorted */
  aot_unpaired: {
    of: ({ beta, labelSmoothing, a, b }) =>
      smoothed(scale(subtract(sorted(a), sorted(b)), beta), labelSmoothing),
  },
  /** The mean negative log-likelihood of the better answers' tokens, for mixtures (RPO, MPO) */
  sft: { of: ({ nll }) => nll(), takesDivergences: true, beta: "unused" },
};

/** Names of the losses. */
export const DPO_LOSS_TYPES: readonly DPOLossType[] = Object.keys(DPO_LOSSES) as DPOLossType[];

/**
 * Name of a divergence.
 *
 * @example
 * ```ts
 * import { DPOConfig } from "@peft/webgpu";
 * import type { FDivergenceType } from "@peft/webgpu/train";
 *
 * // another divergence fits losses of the difference of both scores, such as "ipo", and no other
 * const make = (fDivergenceType: FDivergenceType, lossType: "ipo" | "nca_pair") => new DPOConfig({ fDivergenceType, lossType });
 * make("js_divergence", "ipo");
 * make("reverse_kl", "nca_pair"); // the default fits all
 * try {
 *   make("js_divergence", "nca_pair");
 * } catch (error) {
 *   console.log((error as Error).message); // which losses fit
 * }
 * ```
 */
export type FDivergenceType = "reverse_kl" | "forward_kl" | "js_divergence" | "alpha_divergence";

/** Scores of log-ratios x by the derivative of a divergence f at e^x (Wang et al. 2023, arXiv:2309.16240). */
export const DIVERGENCES: Readonly<
  Record<FDivergenceType, (x: Tensor, settings: DPOLossSettings) => Tensor>
> = {
  reverse_kl: (x) => x,
  /** 1 - e^-x */
  forward_kl: (x) => oneMinus(exp(negate(x))),
  /** log 2 + log s(x) */
  js_divergence: (x) => add(logSigmoid(x), Math.log(2)),
  /** (e^((c - 1) x) - 1) / (c - 1), the exponent at most 80 */
  alpha_divergence: (x, { fAlphaDivergenceCoef }) => {
    const c = fAlphaDivergenceCoef - 1;
    if (Math.abs(c) < 1e-6) return x;
    const capped = subtract(80, relu(subtract(80, scale(x, c))));
    return scale(subtract(exp(capped), 1), 1 / c);
  },
};
