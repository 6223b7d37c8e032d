/**
 * The contract of a PEFT method that replaces modules of a built tree: one file per method, one entry in the registry.
 * @module
 */

import type { Conv1D, Linear, Module } from "../../nn/mod.ts";
import type { PeftConfig } from "../config/peft_config.ts";
import { AdaptedLinear, isLinearTarget } from "../layers/adapted_linear.ts";
import type { LinearAdapter, LinearFacts, MakeLinearAdapter } from "../layers/linear_call.ts";
import type { InjectionContext, SharedPart, TunerLayer } from "../layers/tuner_layer.ts";
import type { AdapterState } from "../state/adapter_state.ts";
import type { AdapterFormat } from "./adapter_format.ts";

/** A method, as the registry lists it. */
export interface PeftMethod<Config extends PeftConfig = PeftConfig> {
  /** Name in messages and on the command line. */
  readonly name: string;
  /** Its classes in `peft`; absent: they follow from its name in files. */
  readonly peftClasses?: { readonly model: string; readonly layer?: string };
  /** Modules that it takes where the configuration names none; absent: those of the table of models. */
  readonly defaultTargets?: (model: Module) => readonly string[];
  /** Fields that the configuration leaves to the model, filled in; absent: none. */
  readonly resolve?: (config: Config, modelType: string | undefined, model: Module) => Partial<Config>;
  /** Reads the fields of an `adapter_config.json`. */
  readonly configFromJSON: (json: Readonly<Record<string, unknown>>) => Config;
  /** Why an adapter cannot be added to those that are loaded, or null; absent: it always can. */
  readonly conflict?: (config: Config, others: readonly Config[]) => string | null;
  /** Makes what the layers of an adapter share; `targets` are its modules by path. Absent: they share nothing. */
  readonly sharedPart?: (
    config: Config,
    targets: ReadonlyMap<string, Module>,
    context: InjectionContext,
  ) => SharedPart;
  /** Whether it can wrap a module. */
  readonly supports: (module: Module) => boolean;
  /** Why its change cannot be merged into base weights; absent: it can. */
  readonly unmergeable?: string;
  /** The folder layout of its adapters; absent: `peft`'s. */
  readonly format?: AdapterFormat;
  /**
   * Makes its adapter of a linear layer that adapters of other methods share; absent: it cannot be mixed with other
   * methods.
   */
  readonly linear?: MakeLinearAdapter<Config>;
  /** Wraps a module; adapters are added after. */
  readonly wrap: (module: Module, state: AdapterState) => TunerLayer;
}

/** Makes an adapter of a linear layer. */
type LinearAdapterClass<Config> = new (
  config: Config,
  facts: LinearFacts,
  context: InjectionContext,
) => LinearAdapter;

/** A method of linear layers, which `AdaptedLinear` wraps: `adapter` is the class of its adapters. */
export function linearMethod<Config extends PeftConfig>(
  { adapter, ...rest }: Omit<PeftMethod<Config>, "supports" | "wrap"> & {
    adapter: LinearAdapterClass<Config>;
  },
): PeftMethod<Config> {
  const linear: MakeLinearAdapter<Config> = (config, facts, context) => new adapter(config, facts, context);
  return {
    linear,
    ...rest,
    supports: isLinearTarget,
    wrap: (module, state) => new AdaptedLinear(module as Conv1D | Linear, state, linear),
  };
}
