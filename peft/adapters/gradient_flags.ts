/**
 * Which parameters trained before something switched them off.
 * @module
 */

import type { Parameter } from "../../nn/mod.ts";

/** The `requiresGrad` of some parameters at one moment. */
export class GradientFlags {
  readonly #flags: Map<Parameter, boolean>;

  /** Notes what trains now. */
  constructor(parameters: Iterable<Parameter>) {
    this.#flags = new Map([...parameters].map((parameter) => [parameter, parameter.requiresGrad]));
  }

  /** Whether the parameter was there. */
  has(parameter: Parameter): boolean {
    return this.#flags.has(parameter);
  }

  /** Treats a parameter that was made later like another one. */
  inherit(own: Parameter, from: Parameter): void {
    this.#flags.set(own, this.#flags.get(from) ?? false);
  }

  /** Gives every parameter that still lives its flag back. */
  restore(): void {
    for (const [parameter, on] of this.#flags) if (!parameter.isDisposed) parameter.requiresGrad = on;
  }
}
