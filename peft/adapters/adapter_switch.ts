/**
 * Switches adapters off: while functions run, or until they are switched on again.
 * @module
 */

import type { Parameter } from "../../nn/mod.ts";
import type { AdapterState } from "../state/adapter_state.ts";
import { GradientFlags } from "./gradient_flags.ts";

/** What holds adapters that train. */
interface Trained {
  readonly switch: AdapterSwitch;
  adapterState(name: string): ReadonlyMap<string, Parameter>;
}

/** Lets the parameters of these adapters train, and none of the others of `all`. */
export function trainOnly(host: Trained, all: Iterable<Parameter>, names: readonly string[]): void {
  host.switch.change(() => {
    for (const parameter of all) parameter.requiresGrad = false;
    for (const name of names) {
      for (const parameter of host.adapterState(name).values()) parameter.requiresGrad = true;
    }
  });
}

/** What else happens when adapters go off and come on again. */
export interface SwitchEvents {
  /** Called when they go off; `scoped` if only while a function runs. */
  off?(scoped: boolean): void;
  /** Called when they are on again. */
  on?(): void;
}

/**
 * The switch of one model's adapters. They are off while `disableAdapterLayers()` holds or any `disableAdapter()` runs,
 * however many overlap; what trained before trains again once none does.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import { Tuner } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] }));
 * if (model.base_model instanceof Tuner) {
 *   const { state } = model.base_model;
 *   model.disableAdapterLayers();
 *   console.log(state.disabled); // true
 * }
 * ```
 */
export class AdapterSwitch {
  readonly #state: AdapterState;
  readonly #parameters: () => Iterable<Parameter>;
  readonly #events: SwitchEvents;
  /** What trains once the adapters are on again; null while they are on. */
  #flags: GradientFlags | null = null;
  #running = 0;
  #held = false;
  #changing = false;

  /** @internal A model's host makes it. @param parameters what must not train while adapters are off */
  constructor(state: AdapterState, parameters: () => Iterable<Parameter>, events: SwitchEvents = {}) {
    this.#state = state;
    this.#parameters = parameters;
    this.#events = events;
  }

  /** Whether a `disableAdapter()` is running. */
  get isScoped(): boolean {
    return this.#running > 0;
  }

  /** Whether they stay off until they are switched on. */
  get isHeld(): boolean {
    return this.#held;
  }

  /** Switches the adapters on, or off until they are switched on again. */
  set(on: boolean): void {
    this.#held = !on;
    this.#update(false);
  }

  /** Runs `body`, which may be asynchronous, with every adapter off; they come on again even if it throws. */
  during<T>(body: () => T): T {
    this.#running++;
    let result: T;
    try {
      this.#update(true);
      result = body();
    } catch (error) {
      this.#leave();
      throw error;
    }
    if (result instanceof Promise) return result.finally(() => this.#leave()) as T;
    this.#leave();
    return result;
  }

  #leave(): void {
    this.#running--;
    this.#update(true);
  }

  /**
   * Runs a change of parameters or of what trains. While adapters are off, the change takes effect once they are on
   * again.
   */
  change<T>(body: () => T): T {
    if (!this.#flags || this.#changing) return body();
    this.#changing = true;
    this.#flags.restore();
    try {
      return body();
    } finally {
      this.#changing = false;
      this.#freeze();
    }
  }

  /** Ends the switch after the adapters are removed: nothing is restored any more. */
  end(): void {
    this.#flags = null;
    this.#held = false;
    this.#state.disabled = false;
  }

  #freeze(): void {
    const all = [...this.#parameters()];
    this.#flags = new GradientFlags(all);
    for (const parameter of all) parameter.requiresGrad = false;
  }

  #update(scoped: boolean): void {
    const off = this.#held || this.#running > 0;
    if (off && !this.#flags && !this.#state.disabled) {
      this.#events.off?.(scoped);
      this.#state.disabled = true;
      this.#freeze();
    } else if (!off && this.#flags) {
      this.#state.disabled = false;
      this.#flags.restore();
      this.#flags = null;
      this.#events.on?.();
    }
  }
}
