/**
 * Names of the PEFT methods in files, and the configuration of each.
 * @module
 */

import type { BottleneckConfig } from "../bottleneck/bottleneck_config.ts";
import type { LoraConfig } from "../lora/lora_config.ts";
import type { TrainableTokensConfig } from "../trainable_tokens/trainable_tokens_config.ts";
import type { AdaLoraConfig } from "./adalora_config.ts";
import type { BitFitConfig } from "./bitfit_config.ts";
import type { BOFTConfig } from "./boft_config.ts";
import type { FourierFTConfig } from "./fourierft_config.ts";
import type { IA3Config } from "./ia3_config.ts";
import type { LNTuningConfig } from "./ln_tuning_config.ts";
import type { LoHaConfig } from "./loha_config.ts";
import type { LoKrConfig } from "./lokr_config.ts";
import type { PeftMethod } from "./method.ts";
import type { OFTConfig } from "./oft_config.ts";
import type { VeraConfig } from "./vera_config.ts";

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

/** Methods by their names. */
export type PeftMethods<Type extends PeftType = PeftType> = {
  readonly [Each in Type]: PeftMethod<PeftConfigs[Each]>;
};

/** The methods that a bundle may leave out at first. */
export type OtherType = Exclude<PeftType, "LORA">;

const NAMES: Readonly<Record<PeftType, true>> = {
  ADALORA: true,
  BITFIT: true,
  BOFT: true,
  BOTTLENECK: true,
  FOURIERFT: true,
  IA3: true,
  LN_TUNING: true,
  LOHA: true,
  LOKR: true,
  LORA: true,
  OFT: true,
  TRAINABLE_TOKENS: true,
  VERA: true,
};

/** All names, sorted. */
export const PEFT_TYPES = Object.keys(NAMES) as readonly PeftType[];

/** Whether a name in files is one of a method. */
export function isPeftType(type: unknown): type is PeftType {
  return PEFT_TYPES.some((known) => known === type);
}
