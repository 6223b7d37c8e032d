/**
 * What a PEFT model needs of the part that holds its adapters: wrapped layers (`Tuner`) or virtual tokens
 * (`PromptTuner`).
 * @module
 */

import type { Tensor } from "../../autograd/mod.ts";
import type { Module, Parameter } from "../../nn/mod.ts";
import type { PeftConfig } from "../config/peft_config.ts";
import type { AdapterValues } from "../files/adapter_files.ts";
import type { TrainingState } from "../layers/tuner_layer.ts";
import type { AdapterState } from "../state/adapter_state.ts";
import type { AdapterSwitch } from "./adapter_switch.ts";

/** How an adapter is put in. */
export interface InjectOptions {
  /** Seed of its initial values; default 0. */
  seed?: number;
  /** Entries of targetModules that match nothing: default "error"; "warn" for files made elsewhere. */
  partly?: "error" | "warn";
  /** Token ids of a text: needed by prompt tuning that starts from a text. */
  encode?: (text: string) => readonly number[];
}

/** What loading values into an adapter found. */
export interface LoadedKeys {
  /** Keys the file lacks. */
  missingKeys: string[];
  /** Keys of the file that the adapter lacks. */
  unexpectedKeys: string[];
}

/** Holds the adapters of one model. */
export interface AdapterHost<M extends Module> {
  /** The model. */
  readonly model: M;
  /** Which adapters are active, merged, or off. */
  readonly state: AdapterState;
  /** Configurations of the adapters by name. */
  readonly configs: ReadonlyMap<string, PeftConfig>;
  /** Puts an adapter in; it is neither active nor trainable yet. Nothing changes if it fails. */
  inject(config: PeftConfig, name: string, options?: InjectOptions): void;
  /** An adapter's parameters by their keys on disk. */
  adapterState(name: string): Map<string, Parameter>;
  /** What is written of an adapter, by keys on disk; the caller disposes what is no parameter. */
  savedTensors(name: string, embeddings?: boolean): Map<string, Tensor>;
  /** Copies a file's values into an adapter. @throws {TypeError} listing every mismatch */
  loadValues(
    name: string,
    file: string,
    values: AdapterValues,
    options: { strict?: boolean; isTrainable?: boolean; ignoreMismatchedSizes?: boolean },
  ): LoadedKeys;
  /** Makes adapters act, in order; with `trainable`, their parameters train and no others. */
  activate(names: readonly string[], trainable: boolean): void;
  /** Fails for an adapter that is not there. */
  checkName(name: string): void;
  /** Fails for adapters that are not there or cannot act together. */
  checkActive(names: readonly string[]): void;
  /** Adds the change of adapters to the base weights. */
  merge(names: readonly string[], safe: boolean): Promise<void>;
  /** Takes every merged change out of the base weights. */
  unmerge(): void;
  /** Switches all adapters off and on. */
  readonly switch: AdapterSwitch;
  /** Drops an adapter. */
  remove(name: string): void;
  /** Gives an adapter another name. */
  rename(from: string, to: string): void;
  /** Frees the adapters and returns the model. */
  unload(keepSaved: boolean): M;
  /** Gives the memory of the adapters back, and what they keep of the base. */
  disposeAdapters(): void;
  /** Gives the base's parameters the flags they had before. */
  restoreGradients(): void;
  /** The model's forward, through the adapters. */
  forward(inputs: object): unknown;
  /** What a method does after an optimizer step; absent where none does anything. */
  updateAndAllocate?(step: number): Promise<void>;
  /** What training goes on from besides the parameters; absent where there is nothing. */
  trainingState?(): Promise<TrainingState>;
  /** Goes on from there. */
  loadTrainingState?(state: TrainingState): void;
  /** The model's generate, with the adapters that act when it is called. */
  generate(inputs: unknown, options: unknown): Promise<unknown>;
}
