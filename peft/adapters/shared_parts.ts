/**
 * What the adapters of one model keep beside their layers, and what a PEFT model does with it.
 * @module
 */

import { add, type Tensor, tidy } from "../../autograd/mod.ts";
import type { Parameter } from "../../nn/mod.ts";
import type { PeftConfig } from "../config/peft_config.ts";
import { renameKey } from "../layers/rename_adapter.ts";
import type { SharedPart, TrainingState } from "../layers/tuner_layer.ts";
import type { AdapterState } from "../state/adapter_state.ts";

/** Why `updateAndAllocate` has nothing to do. */
export function noBudget(): RangeError {
  return new RangeError(
    "Cannot update and allocate: an AdaLoRA adapter that trains is required, received none",
  );
}

/** SharedParts by adapter; most adapters have none. */
export class SharedParts {
  readonly #items = new Map<string, SharedPart>();

  /** Takes one in. */
  set(name: string, sharedPart: SharedPart | undefined): void {
    if (sharedPart) this.#items.set(name, sharedPart);
  }

  /** Frozen tensors of an adapter's file besides its layers' parameters. */
  shared(name: string): ReadonlyMap<string, Parameter> {
    return this.#items.get(name)?.shared ?? new Map();
  }

  /** What is written of an adapter with these parameters. */
  savedTensors(name: string, state: ReadonlyMap<string, Parameter>): Map<string, Tensor> {
    const saved = this.#items.get(name)?.savedTensors?.(state) ?? new Map(state);
    return new Map([...saved, ...this.shared(name)]);
  }

  /** A model's output, its loss with what adapters add to it that act and train. */
  addLosses(output: unknown, configs: ReadonlyMap<string, PeftConfig>, state: AdapterState): unknown {
    const target = output as { loss?: Tensor };
    if (!target.loss || state.disabled) return output;
    for (const name of state.active) {
      const sharedPart = this.#items.get(name);
      if (!sharedPart?.extraLoss || configs.get(name)?.inferenceMode) continue;
      const before: Tensor = target.loss;
      target.loss = tidy((): Tensor => add(before, sharedPart.extraLoss!()));
      before.dispose(); // the tape holds what it needs
    }
    return output;
  }

  /** The fields that changed, by adapter. @throws {RangeError} if no adapter here has a budget and trains */
  async updateAndAllocate(
    step: number,
    configs: ReadonlyMap<string, PeftConfig>,
  ): Promise<[name: string, fields: Partial<PeftConfig>][]> {
    const training = [...this.#items].filter(([name, sharedPart]) =>
      sharedPart.updateAndAllocate && !configs.get(name)?.inferenceMode
    );
    if (training.length === 0) throw noBudget();
    const changes: [string, Partial<PeftConfig>][] = [];
    for (const [name, sharedPart] of training) {
      changes.push([name, await sharedPart.updateAndAllocate!(step)]);
    }
    return changes;
  }

  /** Gives an adapter another name. */
  rename(from: string, to: string): void {
    renameKey(this.#items, from, to);
  }

  /** What training goes on from besides the parameters, by `<adapter>.<name>`. */
  async trainingState(): Promise<TrainingState> {
    const all = new Map<string, Float32Array<ArrayBuffer>>();
    for (const [adapter, sharedPart] of this.#items) {
      for (const [name, data] of await sharedPart.trainingState?.() ?? []) {
        all.set(`${adapter}.${name}`, data);
      }
    }
    return all;
  }

  /** Goes on from there; the fields that changed, by adapter. */
  loadTrainingState(state: TrainingState): [name: string, fields: Partial<PeftConfig>][] {
    return [...this.#items].flatMap(([adapter, sharedPart]) => {
      if (!sharedPart.loadTrainingState) return [];
      const own = [...state].filter(([name]) => name.startsWith(`${adapter}.`));
      const entries = own.map(([name, data]) => [name.slice(adapter.length + 1), data] as const);
      return [[adapter, sharedPart.loadTrainingState(new Map(entries))] as [string, Partial<PeftConfig>]];
    });
  }

  /** Drops an adapter's. */
  delete(name: string): void {
    this.#items.get(name)?.dispose();
    this.#items.delete(name);
  }

  /** Drops all. */
  clear(): void {
    for (const name of [...this.#items.keys()]) this.delete(name);
  }
}
