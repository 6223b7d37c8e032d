/**
 * Every PEFT method by its name in files. A name without an implementation does not compile.
 * @module
 */

import { bottleneck } from "./bottleneck/bottleneck.ts";
import type { BottleneckConfig } from "./bottleneck/bottleneck_config.ts";
import type { PeftConfig } from "./config/peft_config.ts";
import { lora } from "./lora/lora.ts";
import type { LoraConfig } from "./lora/lora_config.ts";
import { isBitFit } from "./lora/lora_file.ts";
import { adalora } from "./methods/adalora.ts";
import type { AdaLoraConfig } from "./methods/adalora_config.ts";
import { type AdapterFormat, peftFormat } from "./methods/adapter_format.ts";
import { bitfit } from "./methods/bitfit.ts";
import type { BitFitConfig } from "./methods/bitfit_config.ts";
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
import { promptLearningConfigs } from "./virtual_tokens/prompt_learning.ts";
import {
  isPromptLearning,
  isVirtualTokenType,
  VIRTUAL_TOKEN_TYPES,
} from "./virtual_tokens/virtual_token_types.ts";

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

/** A method in the list. */
interface Entry<Config extends PeftConfig> {
  readonly method: () => PeftMethod<Config>;
  /** Loads its file, which a bundle may leave out at first. */
  readonly load: () => Promise<unknown>;
}

/** The methods. */
const METHODS: { readonly [Type in PeftType]: Entry<PeftConfigs[Type]> } = {
  ADALORA: { method: () => adalora, load: () => import("./methods/adalora.ts") },
  BITFIT: { method: () => bitfit, load: () => import("./methods/bitfit.ts") },
  BOFT: { method: () => boft, load: () => import("./methods/boft.ts") },
  BOTTLENECK: { method: () => bottleneck, load: () => import("./bottleneck/bottleneck.ts") },
  FOURIERFT: { method: () => fourierft, load: () => import("./methods/fourierft.ts") },
  IA3: { method: () => ia3, load: () => import("./methods/ia3.ts") },
  LN_TUNING: { method: () => lnTuning, load: () => import("./methods/ln_tuning.ts") },
  LOHA: { method: () => loha, load: () => import("./methods/loha.ts") },
  LOKR: { method: () => lokr, load: () => import("./methods/lokr.ts") },
  LORA: { method: () => lora, load: () => Promise.resolve() },
  OFT: { method: () => oft, load: () => import("./methods/oft.ts") },
  TRAINABLE_TOKENS: {
    method: () => trainableTokens,
    load: () => import("./trainable_tokens/trainable_tokens.ts"),
  },
  VERA: { method: () => vera, load: () => import("./methods/vera.ts") },
};

const isPeftType = (type: unknown): type is PeftType =>
  typeof type === "string" && Object.hasOwn(METHODS, type);

/** Every method by its name in files. */
export function peftMethods(): [type: PeftType, method: PeftMethod][] {
  return (Object.keys(METHODS) as PeftType[]).map((type) => [type, methodOf(type)]);
}

/** Loads the files of all methods. */
export async function loadMethods(): Promise<void> {
  await Promise.all(Object.values(METHODS).map(({ load }) => load()));
}

/** The method's name in an `adapter_config.json`. */
function typeIn(json: Readonly<Record<string, unknown>>): unknown {
  const type = json.peft_type;
  const isOfAdapterHub = type === undefined && typeof json.config === "object" && json.config !== null;
  return isOfAdapterHub ? "BOTTLENECK" : isBitFit(json) ? "BITFIT" : type;
}

/** Loads the file of the method that an `adapter_config.json` names: `readConfig` needs it. */
export async function loadMethodIn(json: Readonly<Record<string, unknown>>): Promise<void> {
  const type = typeIn(json);
  if (isVirtualTokenType(type)) await import("./virtual_tokens/prompt_learning.ts");
  else if (isPeftType(type)) await METHODS[type].load();
}

/** The configuration of an `adapter_config.json`. @throws {RangeError} if its method is not supported */
export function readConfig(json: Readonly<Record<string, unknown>>): PeftConfig {
  const type = typeIn(json);
  return isVirtualTokenType(type) ? promptLearningConfigs[type](json) : methodOf(type).configFromJSON(json);
}

/** The folder layout of adapters with this configuration. */
export function formatOf(config: PeftConfig): AdapterFormat {
  return isPromptLearning(config) ? peftFormat : methodOf(config.peftType).format ?? peftFormat;
}

function refuseType(peftType: unknown): never {
  const all = [...Object.keys(METHODS), ...VIRTUAL_TOKEN_TYPES];
  const missing = peftType === undefined
    ? "a configuration such as new LoraConfig({ … }), or a file that names its method, is required; "
    : "";
  throw new RangeError(
    `Cannot use peft_type ${JSON.stringify(peftType)}: ${missing}the methods here are ${
      quoteAll(nearestNames(String(peftType), all, all.length))
    }`,
  );
}

/** The method of a configuration or a file. @throws {RangeError} if there is none */
export function methodOf(peftType: unknown): PeftMethod<PeftConfig> {
  if (!isPeftType(peftType)) refuseType(peftType);
  return METHODS[peftType].method() as unknown as PeftMethod<PeftConfig>;
}
