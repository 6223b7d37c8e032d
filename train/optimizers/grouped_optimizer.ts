/**
 * What the optimizers of this folder are beside their rules: groups of parameters whose state lies on the device.
 * @module
 */

import type { Optimizer, OptimizerGroup, OptimizerStateDict, StepOptions } from "./optimizer.ts";

/** What keeps state and does steps: a `DeviceOptimizer`. */
type DeviceSteps = Omit<Optimizer, "paramGroups"> & { readonly launches: number };

/**
 * An optimizer of groups.
 *
 * @example
 * ```ts
 * import { AdamW, AutoModelForCausalLM } from "@peft/webgpu";
 * import { GroupedOptimizer } from "@peft/webgpu/train";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const optimizer = new AdamW([...model.parameters()], { lr: 1e-3 });
 * if (optimizer instanceof GroupedOptimizer) optimizer.paramGroups[0].lr = 1e-4;
 * ```
 */
export abstract class GroupedOptimizer<Group extends OptimizerGroup> implements Optimizer {
  /** The groups; `lr` and the other options may change between steps. */
  readonly paramGroups: readonly Group[];
  /** Its steps may be recorded and replayed. */
  readonly isCapturable = true;
  readonly #name: string;
  readonly #own: DeviceSteps;

  /** @internal Of the classes below it. `name` is what states are known by; `own` does the steps of `groups`. */
  constructor(name: string, groups: readonly Group[], own: DeviceSteps) {
    this.#name = name;
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
  async stateDict(): Promise<OptimizerStateDict> {
    return { ...await this.#own.stateDict(), optimizer: this.#name };
  }

  /** Goes on from it. @throws {TypeError} for the state of another optimizer, or other groups or sizes */
  loadStateDict(state: OptimizerStateDict): void {
    const { optimizer = this.#name } = state;
    if (optimizer !== this.#name) {
      throw new TypeError(
        `Cannot load the optimizer's state: the state of ${this.#name} is required, received that of ${optimizer}`,
      );
    }
    this.#own.loadStateDict(state);
  }

  /** Frees the state. */
  dispose(): void {
    this.#own.dispose();
  }
}
