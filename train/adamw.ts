/**
 * AdamW (Loshchilov and Hutter 2019, "Decoupled weight decay regularization"), with the numbers of `torch.optim.AdamW`.
 * @module
 */

import type { Tensor } from "../autograd/mod.ts";
import { AdamWState } from "../autograd/ops/adamw_step.ts";
import {
  checkOption,
  groupStates,
  loadGroups,
  type Optimizer,
  type OptimizerStateDict,
  type Params,
  StateParts,
  type StepOptions,
  toGroups,
} from "./optimizer.ts";

/** Options of `AdamW`; defaults are `torch.optim.AdamW`'s. */
export interface AdamWOptions {
  /** Learning rate; default 1e-3. */
  lr?: number;
  /** Decay of the averages of gradients and of their squares; default [0.9, 0.999]. */
  betas?: readonly [number, number];
  /** Added to the denominator; default 1e-8. */
  eps?: number;
  /** Weight decay, decoupled from the gradient; default 0.01. */
  weightDecay?: number;
}

/** A group of `AdamW`. */
export interface AdamWGroup extends Required<AdamWOptions> {
  /** Its parameters. */
  readonly params: readonly Tensor[];
}

const BUFFERS = ["exp_avg", "exp_avg_sq"] as const;

/**
 * p *= 1 - lr wd;  m += (1 - beta1) (g - m);  v = beta2 v + (1 - beta2) g^2;
 * p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
 *
 * Parameters without a gradient are left alone and their t does not advance, nor does it in a step whose gradient norm
 * is not finite. All parameters are updated in few launches.
 *
 * @example
 * ```ts
 * import { AdamW, Tensor } from "@peft/webgpu";
 *
 * declare const weight: Tensor, loss: Tensor;
 * const optimizer = new AdamW([weight], { lr: 1e-3 });
 * loss.backward();
 * optimizer.step();
 * optimizer.zeroGrad();
 * ```
 */
export class AdamW implements Optimizer {
  /** The groups; `lr` and the other options may change between steps. */
  readonly paramGroups: readonly AdamWGroup[];
  readonly #params: readonly Tensor[];
  readonly #groupOf: readonly AdamWGroup[];
  readonly #steps: number[];
  readonly #states: StateParts<AdamWState>;

  /**
   * State is made on the device when a parameter takes its first step.
   * @param params float32 tensors, or groups `{ params, lr?, betas?, eps?, weightDecay? }`
   * @throws {RangeError} for no parameter, or an option out of range
   */
  constructor(params: Params<AdamWOptions>, options: AdamWOptions = {}) {
    const { lr = 1e-3, betas = [0.9, 0.999] as const, eps = 1e-8, weightDecay = 0.01 } = options;
    const action = "make AdamW";
    this.paramGroups = toGroups(action, params, { lr, betas, eps, weightDecay }) as AdamWGroup[];
    for (const group of this.paramGroups) {
      checkOption(action, "lr", group.lr, 0, Infinity);
      checkOption(action, "betas[0]", group.betas[0], 0, 1);
      checkOption(action, "betas[1]", group.betas[1], 0, 1);
      checkOption(action, "eps", group.eps, 0, Infinity);
      checkOption(action, "weightDecay", group.weightDecay, 0, Infinity);
    }
    this.#params = this.paramGroups.flatMap((group) => group.params);
    this.#groupOf = this.paramGroups.flatMap((group) => group.params.map(() => group));
    this.#steps = this.#params.map(() => 0);
    this.#states = new StateParts(this.#params, (fresh) => new AdamWState(fresh));
  }

  /** Launches that a step takes when every parameter that ever had a gradient has one. */
  get launches(): number {
    return this.#states.parts.reduce((sum, { state }) => sum + state.launches, 0);
  }

  step({ clip }: StepOptions = {}): void {
    for (const { state, indices, grads, active } of this.#states.prepareStep(clip !== undefined)) {
      const values = (slot: number) => {
        const { lr, betas, eps, weightDecay } = this.#groupOf[indices[slot]];
        return { lr, betas, eps, weightDecay, step: Math.max(1, this.#steps[indices[slot]]) };
      };
      const advance = () => active.forEach((index) => this.#steps[index]++);
      state.prepare(advance, values, grads.map((grad) => grad !== null));
      state.launch(grads, clip);
    }
  }

  zeroGrad(): void {
    for (const param of this.#params) {
      param.grad?.dispose();
      param.grad = null;
    }
  }

  async stateDict(): Promise<OptimizerStateDict> {
    const steps = [...this.#steps];
    const [skipped, ...read] = await Promise.all([
      this.#states.readSkipped(),
      ...steps.map((step, index) => {
        const place = this.#states.place(index);
        return place && step > 0 ? place.state.read(place.slot) : null;
      }),
    ]);
    const state: OptimizerStateDict["state"] = new Map();
    read.forEach((moments, index) => {
      const step = steps[index] - skipped[index];
      if (!moments || step === 0) return;
      state.set(index, { step, buffers: { exp_avg: moments.m, exp_avg_sq: moments.v } });
    });
    return { state, paramGroups: groupStates(this.paramGroups) };
  }

  loadStateDict(loaded: OptimizerStateDict): void {
    loadGroups(this.paramGroups, loaded, BUFFERS);
    this.#states.dispose();
    this.#states.add([...loaded.state.keys()].sort((a, b) => a - b));
    this.#steps.fill(0);
    for (const [index, { step, buffers }] of loaded.state) {
      const { state, slot } = this.#states.place(index)!;
      state.write(slot, buffers.exp_avg, buffers.exp_avg_sq);
      this.#steps[index] = step;
    }
  }

  dispose(): void {
    this.#states.dispose();
  }
}
