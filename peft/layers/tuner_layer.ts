/**
 * What a layer with adapters is, and what adapters are made of.
 * @module
 */

import type { Device, RandomState, Tensor } from "../../autograd/mod.ts";
import type { Initializer, Module, Parameter } from "../../nn/mod.ts";
import type { PeftConfig } from "../config/peft_config.ts";
import type { AdapterState } from "../state/adapter_state.ts";

/** What a method may use while it makes parameters. */
export interface InjectionContext {
  /** Where parameters are made. */
  readonly device: Device;
  /** Where initial values come from. */
  readonly init: Initializer;
  /** Where the model's dropout draws from. */
  readonly random: RandomState;
  /** What all adapters of the model share. */
  readonly state: AdapterState;
  /** What this adapter keeps beside its layers, if its method does. */
  readonly sharedPart?: SharedPart;
}

/** What an adapter keeps beside its layers: VeRA's projections, AdaLoRA's budget. */
export interface SharedPart {
  /** Frozen tensors that the layers share, by the keys on disk that a file holds besides the layers' parameters. */
  readonly shared?: ReadonlyMap<string, Parameter>;
  /** Fields of the configuration that the model decides. */
  readonly fields?: Partial<PeftConfig>;
  /** What is written in place of the layers' parameters; the caller disposes what is no parameter. */
  savedTensors?(state: ReadonlyMap<string, Parameter>): Map<string, Tensor>;
  /** A scalar that is added to the model's loss while the adapter acts and trains. */
  extraLoss?(): Tensor;
  /** After an optimizer step; gives the fields of the configuration that changed. */
  updateAndAllocate?(step: number): Promise<Partial<PeftConfig>>;
  /** What training goes on from besides the parameters, by names of its own: for the Trainer's checkpoints. */
  trainingState?(): Promise<TrainingState>;
  /** Goes on from there; gives the fields of the configuration that changed. */
  loadTrainingState?(state: TrainingState): Partial<PeftConfig>;
  /** Gives its memory back. */
  dispose(): void;
}

/** Numbers by name. */
export type TrainingState = ReadonlyMap<string, Float32Array<ArrayBuffer>>;

/** The sharedPart of the adapter that is being made. @throws {TypeError} if it is of another class */
export function sharedPartOf<T extends SharedPart>(
  { sharedPart }: Pick<InjectionContext, "sharedPart">,
  type: new (...args: never[]) => T,
): T {
  if (sharedPart instanceof type) return sharedPart;
  throw new TypeError(
    `Cannot make an adapter: a shared part of class ${type.name} is required, received ${
      sharedPart?.constructor.name ?? "none"
    }`,
  );
}

/** A module that stands in the place of a base module and holds adapters by name. */
export interface TunerLayer extends Module {
  /** The module it replaced. */
  readonly base_layer: Module;
  /** Names of its adapters. */
  adapterNames(): string[];
  /** Makes an adapter's parameters. `path` is the module's, without `base_model.model.` */
  addAdapter(name: string, config: PeftConfig, path: string, context: InjectionContext): void;
  /** Drops an adapter and its memory. */
  deleteAdapter(name: string): void;
  /** Gives an adapter another name; `renameIn` does it where all its dictionaries are properties. */
  renameAdapter(from: string, to: string): void;
  /** An adapter's parameters by their keys on disk, relative to this module: `lora_A.weight`. */
  adapterParameters(name: string): [key: string, parameter: Parameter][];
  /** Whether modules that share its weight stay tied when it merges; absent: no. */
  readonly keepsTies?: boolean;
  /** Why an adapter cannot be merged here together with others, or null; absent: never. Asked before a merge. */
  mergeObstacle?(name: string, together: readonly string[]): string | null;
  /** Adds an adapter's change to the base weights. */
  merge(name: string): void;
  /** Takes every merged change out of the base weights again, bit for bit. */
  unmerge(): void;
  /** The base weights that `merge` changes, for a check of their values. */
  mergedWeights(): Parameter[];
}

/** Whether a module holds adapters. */
export function isTunerLayer(module: Module): module is TunerLayer {
  return "adapterParameters" in module && "base_layer" in module;
}
