/**
 * What can be done with an adapter, by its configuration.
 * @module
 */

import { IA3Config, LoraConfig } from "@peft/webgpu";
import type { AdapterConfig } from "@peft/webgpu/peft";
import { METHODS } from "./methods.ts";

/** Whether llama.cpp's format holds it. */
export function canExportAsGguf(config: AdapterConfig): boolean {
  return config instanceof LoraConfig && !config.useDora && !config.loraBias && config.bias === "none" &&
    !config.modulesToSave?.length && config.trainableTokenIndices === null;
}

/** Whether it can be mixed with others of its method. */
export function canMix(config: AdapterConfig): boolean {
  return config instanceof IA3Config || config instanceof LoraConfig && !config.useDora;
}

/** What a reader calls the method of a configuration. */
export function methodTitle(config: AdapterConfig): string {
  if (config instanceof LoraConfig && config.useDora) return METHODS.dora.title;
  const spec = Object.values(METHODS).find(({ Config }) => config.constructor === Config);
  return spec?.title ?? config.peftType;
}
