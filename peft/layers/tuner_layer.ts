/**
 * The contract of a layer that holds adapters, and what it makes them from.
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
  /** What the layers of this adapter share, if anything. */
  readonly sharedPart?: SharedPart;
  /** What is to happen once the adapter is in every layer: changes of the base, which a failure must not leave half done. */
  readonly afterwards: Afterwards[];
}

/** Something that waits until an adapter is in every layer. */
export interface Afterwards {
  /** Does it. */
  run(): void;
  /** Frees what it holds, done or not. */
  dispose(): void;
}

/** What the layers of one adapter share: VeRA's projections, AdaLoRA's budget. */
export interface SharedPart {
  /** Frozen tensors that the layers share, by the keys on disk that a file holds besides the layers' parameters. */
  readonly shared?: ReadonlyMap<string, Parameter>;
  /** Fields of the configuration that the model decides. */
  readonly fields?: Partial<PeftConfig>;
  /** What is written in place of the layers' parameters; the caller disposes the tensors that are not parameters. */
  savedTensors?(state: ReadonlyMap<string, Parameter>): Map<string, Tensor>;
  /** A scalar that is added to the model's loss while the adapter acts and trains. */
  extraLoss?(): Tensor;
  /** Called after an optimizer step; returns the fields of the configuration that changed. */
  updateAndAllocate?(step: number): Promise<Partial<PeftConfig>>;
  /** What a resumed training needs besides the parameters, by name: for the Trainer's checkpoints. */
  trainingState?(): Promise<TrainingState>;
  /** Restores that state; returns the fields of the configuration that changed. */
  loadTrainingState?(state: TrainingState): Partial<PeftConfig>;
  /** Frees its memory. */
  dispose(): void;
}

/** Numbers by name. */
export type TrainingState = ReadonlyMap<string, Float32Array<ArrayBuffer>>;

/** The shared part of the adapter that is being made. @throws {TypeError} if it is of another class */
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

/**
 * A module that replaces a base module and holds adapters by name.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, IA3Config } from "@peft/webgpu";
 * import type { Tuner, TunerLayer } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const tuner = getPeftModel(base, new IA3Config()).base_model as Tuner<typeof base>;
 * const layer: TunerLayer = tuner.layers()[0][1]; // of any method
 * console.log(layer.base_layer.constructor.name, layer.adapterParameters("default").map(([key]) => key)); // Conv1D [ "ia3_l" ]
 * ```
 */
export interface TunerLayer extends Module {
  /** The module it replaced. */
  readonly base_layer: Module;
  /** Names of its adapters. */
  adapterNames(): string[];
  /** @internal Makes an adapter's parameters. `path` is the module's, without `base_model.model.` */
  addAdapter(name: string, config: PeftConfig, path: string, context: InjectionContext): void;
  /** Removes an adapter and frees its memory. */
  deleteAdapter(name: string): void;
  /** Renames an adapter; absent: all that it keeps by adapter are properties, see `renameIn`. */
  renameAdapter?(from: string, to: string): void;
  /** An adapter's parameters by their keys on disk, relative to this module: `lora_A.weight`. */
  adapterParameters(name: string): [key: string, parameter: Parameter][];
  /** Its class in `peft`; absent: the method's. */
  readonly peftClass?: string;
  /** Whether modules that share its weight stay tied when it merges; absent: no. */
  readonly keepsTies?: boolean;
  /** Why an adapter cannot be merged together with others, or null; absent: it always can. Called before a merge. */
  mergeObstacle?(name: string, together: readonly string[]): string | null;
  /** Adds an adapter's change to the base weights; absent if the method cannot be merged. */
  merge?(name: string): void;
  /** The base weights that `merge` changes: they are copied before it, and checked and restored after it. */
  mergedWeights?(): Parameter[];
  /** Removes every merged change, bit for bit, in a layer that keeps less than copies of whole weights; absent: no need. */
  unmerge?(): void;
}

/** Whether a module holds adapters. */
export function isTunerLayer(module: Module): module is TunerLayer {
  return "adapterParameters" in module && "base_layer" in module;
}
