/**
 * Stochastic gradient descent with momentum, with the numbers of `torch.optim.SGD`.
 * @module
 */

import type { Tensor } from "../../autograd/mod.ts";
import { slotKind } from "../../autograd/ops/_slot_state.ts";
import { sgdRule, type SGDValues } from "../../autograd/ops/sgd_step.ts";
import { DeviceOptimizer } from "./device_optimizer.ts";
import {
  checkOption,
  type Optimizer,
  type OptimizerStateDict,
  type Params,
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
  /** Its steps may be recorded and replayed. */
  readonly isCapturable = true;
  readonly #own: DeviceOptimizer<SGDGroup, SGDValues>;

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
    const hasMomentum = this.paramGroups.some((group) => group.momentum !== 0);
    const kind = slotKind(sgdRule(hasMomentum));
    this.#own = new DeviceOptimizer(this.paramGroups, () => kind);
  }

  step(options: StepOptions = {}): void {
    this.#own.step(options);
  }

  zeroGrad(): void {
    this.#own.zeroGrad();
  }

  stateDict(): Promise<OptimizerStateDict> {
    return this.#own.stateDict();
  }

  loadStateDict(state: OptimizerStateDict): void {
    this.#own.loadStateDict(state);
  }

  dispose(): void {
    this.#own.dispose();
  }
}
