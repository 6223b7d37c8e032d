/**
 * Which adapters act and train, both for a `PeftModel` and for a model with injected adapters.
 * @module
 */

import type { Module } from "../../nn/mod.ts";
import type { AdapterHost } from "../adapters/model_adapters.ts";

/** Adapters that have a parameter that trains. */
export function trainableNames(host: AdapterHost<Module>): string[] {
  return host.switch.change(() =>
    [...host.configs.keys()].filter((name) =>
      [...host.adapterState(name).values()].some((parameter) => parameter.requiresGrad)
    )
  );
}

/** Makes adapters act, and train unless `inferenceMode`; what is merged is unmerged first. */
export function setActive(
  host: AdapterHost<Module>,
  adapterName: string | readonly string[],
  inferenceMode = false,
): void {
  const names = typeof adapterName === "string" ? [adapterName] : adapterName;
  if (names.length === 0) {
    throw new RangeError("Cannot set adapters: Please specify at least one adapter to set, received none");
  }
  host.checkActive(names);
  if (host.state.merged.length > 0) {
    console.warn("Adapter cannot be set when the model is merged. Unmerging the model first.");
    host.unmerge();
  }
  host.activate(names, !inferenceMode);
}

/** Drops an adapter; if it was the only active one, the first that is left takes its place. */
export function deleteFrom(host: AdapterHost<Module>, adapterName: string, training: boolean): void {
  const trainable = trainableNames(host).filter((name) => name !== adapterName);
  const wasActive = host.state.active.includes(adapterName);
  host.remove(adapterName);
  const [next] = host.configs.keys();
  if (wasActive && host.state.active.length === 0 && next !== undefined) {
    console.warn(
      `Adapter ${adapterName} was active which is now deleted. Setting active adapter to ${next}.`,
    );
    host.activate([next], trainable.length > 0 || training);
  }
}

/** Switches the training of adapters on or off, and of nothing else. */
export function setGradients(
  host: AdapterHost<Module>,
  adapterNames: string | readonly string[],
  requiresGrad: boolean,
): void {
  const names = [adapterNames].flat();
  for (const name of names) host.checkName(name);
  host.switch.change(() => {
    for (const name of names) {
      for (const parameter of host.adapterState(name).values()) parameter.requiresGrad = requiresGrad;
    }
  });
}

const BIAS_WARNING =
  "Careful, disabling adapter layers with bias configured to be other than 'none' does not produce the same output as the base model would without adaption.";

/** Warns if switching adapters off does not restore the base, because its biases were trained. */
export function warnOfBiases(host: AdapterHost<Module>): void {
  if ([...host.configs.values()].some((config) => (config.bias ?? "none") !== "none")) {
    console.warn(BIAS_WARNING);
  }
}
