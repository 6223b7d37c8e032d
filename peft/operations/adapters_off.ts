/**
 * The base model under its adapters, for as long as a function runs.
 * @module
 */

import type { Parameter } from "../../nn/mod.ts";
import { GradientFlags } from "../gradient_flags.ts";
import type { AdapterState } from "../adapter_state.ts";

/**
 * Runs `body` with every adapter off and nothing of `parameters` trainable; afterwards, also after an exception or a
 * rejection, all is as it was, and `restored` is called.
 */
export function withAdaptersOff<T>(
  state: AdapterState,
  parameters: Iterable<Parameter>,
  body: () => T,
  restored: () => void = () => {},
): T {
  const before = state.disabled;
  const all = [...parameters];
  const flags = new GradientFlags(all);
  state.disabled = true;
  for (const parameter of all) parameter.requiresGrad = false;
  const restore = () => {
    state.disabled = before;
    flags.restore();
    restored();
  };
  let result: T;
  try {
    result = body();
  } catch (error) {
    restore();
    throw error;
  }
  if (result instanceof Promise) return result.finally(restore) as T;
  restore();
  return result;
}

/** Adapters that are off until they are switched on again. */
export class AdapterSwitch {
  #flags: GradientFlags | null = null;

  /** Switches off: nothing of `parameters` trains. On: what trained before trains again. */
  set(state: AdapterState, parameters: Iterable<Parameter>, on: boolean): void {
    if (state.disabled === !on) return;
    state.disabled = !on;
    if (on) {
      this.#flags?.restore();
      this.#flags = null;
      return;
    }
    const all = [...parameters];
    this.#flags = new GradientFlags(all);
    for (const parameter of all) parameter.requiresGrad = false;
  }
}
