/**
 * What can be done with an adapter, by its configuration.
 * @module
 */

import { IA3Config, LoraConfig } from "@peft/webgpu";
import type { AdapterConfig } from "@peft/webgpu/peft";

/** Whether llama.cpp's format holds it. */
export function canExportAsGguf(config: AdapterConfig): boolean {
  return config instanceof LoraConfig && !config.useDora && !config.loraBias && config.bias === "none" &&
    !config.modulesToSave?.length && config.trainableTokenIndices === null;
}

/** Whether it can be mixed with others of its method. */
export function canMix(config: AdapterConfig): boolean {
  return config instanceof IA3Config || config instanceof LoraConfig && !config.useDora;
}

/** Names of methods as files have them, for a reader. */
const TITLES: Readonly<Record<string, string>> = {
  LORA: "LoRA",
  ADALORA: "AdaLoRA",
  IA3: "(IA)³",
  VERA: "VeRA",
  LOHA: "LoHa",
  LOKR: "LoKr",
  OFT: "OFT",
  BOFT: "BOFT",
  FOURIERFT: "FourierFT",
  LN_TUNING: "LN tuning",
  BITFIT: "BitFit",
  PREFIX_TUNING: "Prefix tuning",
  PROMPT_TUNING: "Prompt tuning",
  P_TUNING: "P-tuning",
  BOTTLENECK: "Bottleneck adapters",
  TRAINABLE_TOKENS: "Trainable tokens",
};

/** What a reader calls the method of a configuration. */
export function methodTitle(config: AdapterConfig): string {
  if (config instanceof LoraConfig && config.useDora) return "DoRA";
  return TITLES[config.peftType] ?? config.peftType;
}
