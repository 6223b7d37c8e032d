/**
 * Stochastic gradient descent with momentum, with the numbers of `torch.optim.SGD`.
 * @module
 */

import type { Tensor } from "../autograd/mod.ts";
import { SGDState } from "../autograd/ops/sgd_step.ts";
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

/** Options of `SGD`; defaults are `torch.optim.SGD`'s. */
export interface SGDOptions {
  /** Learning rate; default 1e-3. */
  lr?: number;
  /** Default 0. */
  momentum?: number;
  /** Part of the gradient that is kept out of the momentum buffer; default 0. */
  dampening?: number;
  /** Added to the gradient as weightDecay * p; default 0. */
  weightDecay?: number;
  /** Looks one step ahead; needs momentum without dampening; default false. */
  nesterov?: boolean;
}

/** A group of `SGD`. */
export interface SGDGroup extends Required<SGDOptions> {
  /** Its parameters. */
  readonly params: readonly Tensor[];
}

/**
 * d = g + wd p;  b = momentum b + (1 - dampening) d (b = d the first time);
 * p -= lr (b, or d + momentum b with Nesterov, or d without momentum)
 */
export class SGD implements Optimizer {
  /** The groups; `lr` and the other options may change between steps. */
  readonly paramGroups: readonly SGDGroup[];
  readonly #params: readonly Tensor[];
  readonly #groupOf: readonly SGDGroup[];
  readonly #steps: number[];
  readonly #states: StateParts<SGDState>;
  readonly #names: readonly string[];

  /**
   * State is made on the device when a parameter takes its first step.
   * @param params float32 tensors, or groups `{ params, lr?, momentum?, … }`
   * @throws {RangeError} for no parameter, or an option out of range
   */
  constructor(params: Params<SGDOptions>, options: SGDOptions = {}) {
    const { lr = 1e-3, momentum = 0, dampening = 0, weightDecay = 0, nesterov = false } = options;
    const action = "make SGD";
    const defaults = { lr, momentum, dampening, weightDecay, nesterov };
    this.paramGroups = toGroups(action, params, defaults) as SGDGroup[];
    for (const group of this.paramGroups) {
      checkOption(action, "lr", group.lr, 0, Infinity);
      checkOption(action, "momentum", group.momentum, 0, Infinity);
      checkOption(action, "weightDecay", group.weightDecay, 0, Infinity);
      if (group.nesterov && (group.momentum === 0 || group.dampening !== 0)) {
        throw new RangeError(
          `Cannot make SGD: nesterov needs momentum and no dampening, received momentum ${group.momentum} and dampening ${group.dampening}`,
        );
      }
    }
    this.#params = this.paramGroups.flatMap((group) => group.params);
    this.#groupOf = this.paramGroups.flatMap((group) => group.params.map(() => group));
    this.#steps = this.#params.map(() => 0);
    const hasMomentum = this.paramGroups.some((group) => group.momentum !== 0);
    this.#names = hasMomentum ? ["momentum_buffer"] : [];
    this.#states = new StateParts(this.#params, (fresh) => new SGDState(fresh, hasMomentum));
  }

  step({ clip }: StepOptions = {}): void {
    for (const { state, indices, grads, active } of this.#states.prepareStep(clip !== undefined)) {
      const values = (slot: number) => {
        const { lr, momentum, dampening, weightDecay, nesterov } = this.#groupOf[indices[slot]];
        return {
          lr,
          momentum,
          dampening,
          weightDecay,
          nesterov,
          step: Math.max(1, this.#steps[indices[slot]]),
        };
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
      ...steps.map((_, index) => {
        const place = this.#states.place(index);
        return this.#names.length > 0 && place ? place.state.read(place.slot) : null;
      }),
    ]);
    const state: OptimizerStateDict["state"] = new Map();
    read.forEach((buffer, index) => {
      const step = steps[index] - skipped[index];
      if (step > 0) state.set(index, { step, buffers: buffer ? { momentum_buffer: buffer } : {} });
    });
    return { state, paramGroups: groupStates(this.paramGroups) };
  }

  loadStateDict(loaded: OptimizerStateDict): void {
    loadGroups(this.paramGroups, loaded, this.#names);
    this.#states.dispose();
    this.#states.add([...loaded.state.keys()].sort((a, b) => a - b));
    this.#steps.fill(0);
    for (const [index, { step, buffers }] of loaded.state) {
      const { state, slot } = this.#states.place(index)!;
      if (this.#names.length > 0) state.write(slot, buffers.momentum_buffer);
      this.#steps[index] = step;
    }
  }

  dispose(): void {
    this.#states.dispose();
  }
}
