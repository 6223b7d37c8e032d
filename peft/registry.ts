/**
 * Every PEFT method by its name in files.
 * @module
 */

import type { PeftConfig } from "./config/peft_config.ts";
import { lora } from "./lora/lora.ts";
import { isBitFit } from "./lora/lora_file.ts";
import { type AdapterFormat, peftFormat } from "./methods/adapter_format.ts";
import type { PeftMethod } from "./methods/method.ts";
import { otherMethods } from "./methods/other_methods.ts";
import {
  isPeftType,
  type OtherType,
  PEFT_TYPES,
  type PeftMethods,
  type PeftType,
} from "./methods/peft_types.ts";
import { nearestNames, quoteAll } from "./targets/names.ts";
import { promptLearningConfigs } from "./virtual_tokens/prompt_learning.ts";
import {
  isPromptLearning,
  isVirtualTokenType,
  VIRTUAL_TOKEN_TYPES,
} from "./virtual_tokens/virtual_token_types.ts";

/** Methods whose files are loaded: LoRA, and what files of adapters needed. A bundle may leave out the others at first. */
const loaded: Partial<PeftMethods> = { LORA: lora };

/** Every method by its name in files. */
export function peftMethods(): [type: PeftType, method: PeftMethod][] {
  return PEFT_TYPES.map((type) => [type, methodOf(type)]);
}

/** Loads the files of all methods. */
export async function loadMethods(): Promise<void> {
  await import("./methods/other_methods.ts");
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
  if (type !== "LORA") await loadOther(type);
}

async function loadOther(type: unknown): Promise<void> {
  if (isVirtualTokenType(type)) await import("./virtual_tokens/prompt_learning.ts");
  else if (isPeftType(type) && !(type in loaded)) {
    const { loadMethod } = await import("./methods/load_method.ts");
    Object.assign(loaded, { [type]: await loadMethod(type as OtherType) });
  }
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
  const all = [...PEFT_TYPES, ...VIRTUAL_TOKEN_TYPES];
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
  return (loaded[peftType] ?? otherMethods()[peftType as OtherType]) as unknown as PeftMethod;
}
