/**
 * Finds the adapters of a model: of a `PeftModel`, or of a model that `injectAdapterInModel` changed.
 * @module
 */

import type { Module } from "../../nn/mod.ts";
import type { AdapterHost } from "./model_adapters.ts";
import { Tuner } from "./tuner.ts";

const hosts = new WeakMap<Module, AdapterHost<Module>>();

/** Records which host holds a model's adapters. */
export function registerHost(model: Module, host: AdapterHost<Module>): void {
  hosts.set(model, host);
}

/** The host of a model's adapters, or undefined. */
export function findHost(model: Module): AdapterHost<Module> | undefined {
  return hosts.get(model);
}

/** The host of a model's adapters. @throws {TypeError} if it has none */
export function hostOf(model: Module, action: string): AdapterHost<Module> {
  const host = hosts.get(model);
  if (!host) {
    throw new TypeError(
      `Cannot ${action}: a PeftModel, or a model given to injectAdapterInModel(), is required, received ${model.constructor.name}`,
    );
  }
  return host;
}

/** The host of a model's adapters that wrap layers. @throws {TypeError} if it has none, or virtual tokens */
export function tunerOf(model: Module, action: string): Tuner<Module> {
  const host = hostOf(model, action);
  if (host instanceof Tuner) return host;
  throw new TypeError(`Cannot ${action}: adapters that wrap layers are required, received virtual tokens`);
}

/** The same for operations that need layers of one method. @throws {TypeError} for a mixed model too */
export function unmixedTunerOf(model: Module, action: string): Tuner<Module> {
  const tuner = tunerOf(model, action);
  if (!tuner.isMixed) return tuner;
  throw new TypeError(`Cannot ${action}: a model of one method is required, received a mixed one`);
}
