/**
 * Every PEFT method by its name in files. A name without an implementation does not compile.
 * @module
 */

import type { PeftConfig } from "./config.ts";
import { ia3, type IA3Config } from "./ia3.ts";
import { lnTuning, type LNTuningConfig } from "./ln_tuning.ts";
import { lora, type LoraConfig } from "./lora.ts";
import type { PeftMethod } from "./method.ts";
import { nearestNames, quoteAll } from "./names.ts";
import { promptLearningConfigs } from "./prompt_learning.ts";

/** Configuration of each method. */
export interface PeftConfigs {
  IA3: IA3Config;
  LN_TUNING: LNTuningConfig;
  LORA: LoraConfig;
}

/** Name of a method in files. */
export type PeftType = keyof PeftConfigs;

/** The methods. */
export const peftMethods: { readonly [Type in PeftType]: PeftMethod<PeftConfigs[Type]> } = {
  IA3: ia3,
  LN_TUNING: lnTuning,
  LORA: lora,
};

/** The configuration of an `adapter_config.json`. @throws {RangeError} if its method is not here */
export function readConfig(json: Readonly<Record<string, unknown>>): PeftConfig {
  const type = json.peft_type;
  if (typeof type === "string" && Object.hasOwn(promptLearningConfigs, type)) {
    return promptLearningConfigs[type as keyof typeof promptLearningConfigs](json);
  }
  return methodOf(type).configFromJSON(json);
}

/** The method of a configuration or a file. @throws {RangeError} if there is none */
export function methodOf(peftType: unknown): PeftMethod<PeftConfig> {
  if (typeof peftType !== "string" || !Object.hasOwn(peftMethods, peftType)) {
    const near = nearestNames(String(peftType), [
      ...Object.keys(peftMethods),
      ...Object.keys(promptLearningConfigs),
    ]);
    throw new RangeError(
      `Cannot use peft_type ${JSON.stringify(peftType)}: the methods here are ${quoteAll(near)}`,
    );
  }
  return peftMethods[peftType as PeftType] as unknown as PeftMethod<PeftConfig>;
}
