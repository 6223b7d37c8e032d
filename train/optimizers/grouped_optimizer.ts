/**
 * What the optimizers of this folder are beside their rules: groups of parameters whose state lies on the device.
 * @module
 */

import type { Optimizer, OptimizerGroup, OptimizerStateDict, StepOptions } from "./optimizer.ts";

/** What keeps state and does steps: a `DeviceOptimizer`. */
type DeviceSteps = Omit<Optimizer, "paramGroups"> & { readonly launches: number };

/** An optimizer of groups. */
export abstract class GroupedOptimizer<Group extends OptimizerGroup> implements Optimizer {
  /** The groups; `lr` and the other options may change between steps. */
  readonly paramGroups: readonly Group[];
  /** Its steps may be recorded and replayed. */
  readonly isCapturable = true;
  readonly #own: DeviceSteps;

  /** @internal Of the classes below it. `own` does the steps of `groups`. */
  constructor(groups: readonly Group[], own: DeviceSteps) {
    this.paramGroups = groups;
    this.#own = own;
  }

  /** Launches that a step takes when every parameter that ever had a gradient has one. */
  get launches(): number {
    return this.#own.launches;
  }

  /** Updates every parameter that has a gradient. */
  step(options: StepOptions = {}): void {
    this.#own.step(options);
  }

  /** Frees the gradients. */
  zeroGrad(): void {
    this.#own.zeroGrad();
  }

  /** What a later run needs to go on. */
  stateDict(): Promise<OptimizerStateDict> {
    return this.#own.stateDict();
  }

  /** Goes on from it. @throws {TypeError} for the state of other groups or sizes */
  loadStateDict(state: OptimizerStateDict): void {
    this.#own.loadStateDict(state);
  }

  /** Frees the state. */
  dispose(): void {
    this.#own.dispose();
  }
}
