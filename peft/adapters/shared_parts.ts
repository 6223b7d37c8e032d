/**
 * What the layers of each adapter share, for the adapters of one model.
 * @module
 */

import { add, type Tensor, tidy } from "../../autograd/mod.ts";
import { isInEvalMode, type Parameter, type TrainingStateKeeper } from "../../nn/mod.ts";
import type { PeftConfig } from "../config/peft_config.ts";
import { renameKey } from "../layers/rename_adapter.ts";
import type { SharedPart, TrainingState } from "../layers/tuner_layer.ts";
import type { AdapterState } from "../state/adapter_state.ts";

/** The error of `updateAndAllocate` where there is nothing to update. */
export function noBudget(): RangeError {
  return new RangeError(
    "Cannot update and allocate: an AdaLoRA adapter that trains is required, received none",
  );
}

/** Shared parts by adapter; most adapters have none. */
export class SharedParts {
  readonly #items = new Map<string, SharedPart>();

  /** Whether one of them changes ranks while it trains. */
  get changeRanks(): boolean {
    return [...this.#items.values()].some((part) => part.updateAndAllocate);
  }

  /** Adds the shared part of an adapter, if it has one. */
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

  /**
   * Adds the extra losses of adapters that act and train to the loss of a model's output; not in `inEvalMode`, which
   * asks for the loss of the model alone.
   */
  addLosses(output: unknown, configs: ReadonlyMap<string, PeftConfig>, state: AdapterState): unknown {
    const target = output as { loss?: Tensor };
    if (!target.loss || state.disabled || isInEvalMode()) return output;
    for (const name of state.active) {
      const sharedPart = this.#items.get(name);
      if (!sharedPart?.extraLoss || configs.get(name)?.inferenceMode) continue;
      const before: Tensor = target.loss;
      target.loss = tidy((): Tensor => add(before, sharedPart.extraLoss!()));
      before.dispose(); // the tape holds what it needs
    }
    return output;
  }

  /**
   * Updates the adapters that have a budget; returns the fields that changed, by adapter.
   * @throws {RangeError} if no adapter has a budget and trains
   */
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

  /** Renames an adapter. */
  rename(from: string, to: string): void {
    renameKey(this.#items, from, to);
  }

  /** What a resumed training needs besides the parameters, by `<adapter>.<name>`. */
  async trainingState(): Promise<TrainingState> {
    const all = new Map<string, Float32Array<ArrayBuffer>>();
    for (const [adapter, sharedPart] of this.#items) {
      for (const [name, data] of await sharedPart.trainingState?.() ?? []) {
        all.set(`${adapter}.${name}`, data);
      }
    }
    return all;
  }

  /** Restores that state; returns the fields that changed, by adapter. */
  loadTrainingState(state: TrainingState): [name: string, fields: Partial<PeftConfig>][] {
    return [...this.#items].flatMap(([adapter, sharedPart]) => {
      if (!sharedPart.loadTrainingState) return [];
      const own = [...state].filter(([name]) => name.startsWith(`${adapter}.`));
      const entries = own.map(([name, data]) => [name.slice(adapter.length + 1), data] as const);
      return [[adapter, sharedPart.loadTrainingState(new Map(entries))] as [string, Partial<PeftConfig>]];
    });
  }

  /** Frees the shared part of an adapter. */
  delete(name: string): void {
    this.#items.get(name)?.dispose();
    this.#items.delete(name);
  }

  /** Frees all of them. */
  clear(): void {
    for (const name of [...this.#items.keys()]) this.delete(name);
  }
}

/** What the adapters of a model keep for training, as checkpoints save and restore it. */
export function trainingStateOf(
  host: { trainingState?(): Promise<TrainingState>; loadTrainingState?(state: TrainingState): void },
): TrainingStateKeeper {
  return {
    save: async () => await host.trainingState?.() ?? new Map(),
    load: (state) => host.loadTrainingState?.(state),
  };
}
