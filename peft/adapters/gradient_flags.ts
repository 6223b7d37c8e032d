/**
 * Which parameters trained before something switched them off.
 * @module
 */

import type { Parameter } from "../../nn/mod.ts";

/** The `requiresGrad` of some parameters at one moment. */
export class GradientFlags {
  readonly #flags: Map<Parameter, boolean>;

  /** Records what trains now. */
  constructor(parameters: Iterable<Parameter>) {
    this.#flags = new Map([...parameters].map((parameter) => [parameter, parameter.requiresGrad]));
  }

  /** Whether the parameter existed then. */
  has(parameter: Parameter): boolean {
    return this.#flags.has(parameter);
  }

  /** Gives a parameter that was made later the flag of another one. */
  inherit(own: Parameter, from: Parameter): void {
    this.#flags.set(own, this.#flags.get(from) ?? false);
  }

  /** Restores the flag of every parameter that is not disposed. */
  restore(): void {
    for (const [parameter, on] of this.#flags) if (!parameter.isDisposed) parameter.requiresGrad = on;
  }
}
