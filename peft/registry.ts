/**
 * Every PEFT method by its name in files. A name without an implementation does not compile.
 * @module
 */

import { bottleneck } from "./bottleneck/bottleneck.ts";
import { BottleneckConfig } from "./bottleneck/bottleneck_config.ts";
import type { PeftConfig } from "./config/peft_config.ts";
import { lora } from "./lora/lora.ts";
import type { LoraConfig } from "./lora/lora_config.ts";
import { adalora } from "./methods/adalora.ts";
import type { AdaLoraConfig } from "./methods/adalora_config.ts";
import { type AdapterFormat, peftFormat } from "./methods/adapter_format.ts";
import { bitfit } from "./methods/bitfit.ts";
import { type BitFitConfig, isBitFit } from "./methods/bitfit_config.ts";
import { boft } from "./methods/boft.ts";
import type { BOFTConfig } from "./methods/boft_config.ts";
import { fourierft } from "./methods/fourierft.ts";
import type { FourierFTConfig } from "./methods/fourierft_config.ts";
import { ia3 } from "./methods/ia3.ts";
import type { IA3Config } from "./methods/ia3_config.ts";
import { lnTuning } from "./methods/ln_tuning.ts";
import type { LNTuningConfig } from "./methods/ln_tuning_config.ts";
import { loha } from "./methods/loha.ts";
import type { LoHaConfig } from "./methods/loha_config.ts";
import { lokr } from "./methods/lokr.ts";
import type { LoKrConfig } from "./methods/lokr_config.ts";
import type { PeftMethod } from "./methods/method.ts";
import { oft } from "./methods/oft.ts";
import type { OFTConfig } from "./methods/oft_config.ts";
import { vera } from "./methods/vera.ts";
import type { VeraConfig } from "./methods/vera_config.ts";
import { nearestNames, quoteAll } from "./targets/names.ts";
import { trainableTokens } from "./trainable_tokens/trainable_tokens.ts";
import type { TrainableTokensConfig } from "./trainable_tokens/trainable_tokens_config.ts";
import { isPromptLearning, promptLearningConfigs } from "./virtual_tokens/prompt_learning.ts";

/** Configuration of each method. */
export interface PeftConfigs {
  ADALORA: AdaLoraConfig;
  BITFIT: BitFitConfig;
  BOFT: BOFTConfig;
  BOTTLENECK: BottleneckConfig;
  FOURIERFT: FourierFTConfig;
  IA3: IA3Config;
  LN_TUNING: LNTuningConfig;
  LOHA: LoHaConfig;
  LOKR: LoKrConfig;
  LORA: LoraConfig;
  OFT: OFTConfig;
  TRAINABLE_TOKENS: TrainableTokensConfig;
  VERA: VeraConfig;
}

/** Name of a method in files. */
export type PeftType = keyof PeftConfigs;

/** The methods. */
export const peftMethods: { readonly [Type in PeftType]: PeftMethod<PeftConfigs[Type]> } = {
  ADALORA: adalora,
  BITFIT: bitfit,
  BOFT: boft,
  BOTTLENECK: bottleneck,
  FOURIERFT: fourierft,
  IA3: ia3,
  LN_TUNING: lnTuning,
  LOHA: loha,
  LOKR: lokr,
  LORA: lora,
  OFT: oft,
  TRAINABLE_TOKENS: trainableTokens,
  VERA: vera,
};

/** The configuration of an `adapter_config.json`. @throws {RangeError} if its method is not supported */
export function readConfig(json: Readonly<Record<string, unknown>>): PeftConfig {
  const type = json.peft_type;
  if (type === undefined && typeof json.config === "object" && json.config !== null) { // AdapterHub's file
    return BottleneckConfig.fromJSON(json);
  }
  if (typeof type === "string" && Object.hasOwn(promptLearningConfigs, type)) {
    return promptLearningConfigs[type as keyof typeof promptLearningConfigs](json);
  }
  return methodOf(isBitFit(json) ? "BITFIT" : type).configFromJSON(json);
}

/** The folder layout of adapters with this configuration. */
export function formatOf(config: PeftConfig): AdapterFormat {
  return isPromptLearning(config) ? peftFormat : methodOf(config.peftType).format ?? peftFormat;
}

/** Every layout of adapter folders. */
export const adapterFormats: readonly AdapterFormat[] = [
  peftFormat,
  ...Object.values(peftMethods).flatMap(({ format }) => format ?? []),
];

/** The method of a configuration or a file. @throws {RangeError} if there is none */
export function methodOf(peftType: unknown): PeftMethod<PeftConfig> {
  if (typeof peftType !== "string" || !Object.hasOwn(peftMethods, peftType)) {
    const all = [...Object.keys(peftMethods), ...Object.keys(promptLearningConfigs)];
    throw new RangeError(
      `Cannot use peft_type ${JSON.stringify(peftType)}: the methods here are ${
        quoteAll(nearestNames(String(peftType), all, all.length))
      }`,
    );
  }
  return peftMethods[peftType as PeftType] as unknown as PeftMethod<PeftConfig>;
}
