/**
 * What an adapter configuration says, as lines for a reader: the same shape for every method.
 * @module
 */

import { type PeftConfig, snakeCase } from "./config.ts";
import type { PeftConfigs } from "./registry.ts";
import type {
  PrefixTuningConfig,
  PromptEncoderConfig,
  PromptTuningConfig,
} from "./virtual_tokens/prompt_learning.ts";

/** Configuration of each method, those of virtual tokens too. */
interface AllConfigs extends PeftConfigs {
  PREFIX_TUNING: PrefixTuningConfig;
  PROMPT_TUNING: PromptTuningConfig;
  P_TUNING: PromptEncoderConfig;
}

/** How a method is shown. */
interface Description<Config> {
  /** Its usual name. */
  readonly name: string;
  /** Fields that decide how large its adapters are: always shown. */
  readonly sizes: readonly (keyof Config & string)[];
  /** Fields that choose a variant: shown where they are set. */
  readonly variants?: readonly (keyof Config & string)[];
}

/** Every method; one that is missing does not compile. */
const METHODS: { readonly [Type in keyof AllConfigs]: Description<AllConfigs[Type]> } = {
  ADALORA: {
    name: "AdaLoRA",
    sizes: ["initR", "targetR", "loraAlpha"],
    variants: ["loraDropout", "totalStep", "tinit", "tfinal", "deltaT", "layersToTransform"],
  },
  BITFIT: { name: "BitFit", sizes: [] },
  BOFT: {
    name: "BOFT",
    sizes: ["boftBlockSize", "boftBlockNum", "boftNButterflyFactor"],
    variants: ["boftDropout", "layersToTransform"],
  },
  BOTTLENECK: {
    name: "bottleneck adapters",
    sizes: ["reductionFactor", "nonLinearity", "scaling"],
    variants: ["mhAdapter", "outputAdapter", "isParallel", "lnBefore", "lnAfter", "dropout", "leaveOut"],
  },
  FOURIERFT: {
    name: "FourierFT",
    sizes: ["nFrequency", "scaling"],
    variants: ["nFrequencyPattern", "layersToTransform"],
  },
  IA3: { name: "(IA)^3", sizes: [], variants: ["feedforwardModules"] },
  LN_TUNING: { name: "LN tuning", sizes: [] },
  LOHA: {
    name: "LoHa",
    sizes: ["r", "alpha"],
    variants: ["rankDropout", "moduleDropout", "rankPattern", "alphaPattern", "layersToTransform"],
  },
  LOKR: {
    name: "LoKr",
    sizes: ["r", "alpha"],
    variants: [
      "decomposeBoth",
      "decomposeFactor",
      "rankDropout",
      "moduleDropout",
      "rankPattern",
      "alphaPattern",
      "layersToTransform",
    ],
  },
  LORA: {
    name: "LoRA",
    sizes: ["r", "loraAlpha"],
    variants: [
      "loraDropout",
      "useRslora",
      "useDora",
      "loraBias",
      "initLoraWeights",
      "rankPattern",
      "alphaPattern",
      "layersToTransform",
      "trainableTokenIndices",
    ],
  },
  OFT: {
    name: "OFT",
    sizes: ["r", "oftBlockSize"],
    variants: ["coft", "blockShare", "moduleDropout", "layersToTransform"],
  },
  PREFIX_TUNING: {
    name: "prefix tuning",
    sizes: ["numVirtualTokens"],
    variants: ["prefixProjection", "encoderHiddenSize"],
  },
  PROMPT_TUNING: {
    name: "prompt tuning",
    sizes: ["numVirtualTokens"],
    variants: ["promptTuningInit", "promptTuningInitText"],
  },
  P_TUNING: {
    name: "P-tuning",
    sizes: ["numVirtualTokens", "encoderReparameterizationType", "encoderHiddenSize"],
    variants: ["encoderDropout"],
  },
  TRAINABLE_TOKENS: { name: "trainable tokens", sizes: ["tokenIndices"] },
  VERA: {
    name: "VeRA",
    sizes: ["r"],
    variants: ["veraDropout", "projectionPrngKey", "layersToTransform"],
  },
};

/** Fields of many methods that say which modules an adapter is on, shown where they are set. */
const PLACES = ["targetModules", "excludeModules", "bias", "modulesToSave"];

/** Whether a field asks for something: not null, false, 0, "none", `true` for initial weights, or an empty list or table. */
function isSet(name: string, value: unknown): boolean {
  if (value === null || value === undefined || value === false || value === 0 || value === "none") {
    return false;
  }
  if (name === "initLoraWeights" && value === true) return false;
  return typeof value !== "object" || Object.keys(value).length > 0;
}

/** Lists of names and numbers as they are said, all else as JSON. */
function show(value: unknown): string {
  if (typeof value === "string") return value;
  const plain = Array.isArray(value) && value.every((item) => ["string", "number"].includes(typeof item));
  return plain ? value.join(", ") : JSON.stringify(value);
}

/**
 * What a configuration says, for a reader: `["method", "LoRA"]`, then its sizes, the variants it asks for, and the modules
 * it is on, labelled as in `adapter_config.json`: `["r", "8"]`, `["target_modules", "c_attn, c_fc"]`.
 *
 * ```ts
 * import { describeConfig, LoraConfig } from "@peft/webgpu";
 * for (const [label, value] of describeConfig(new LoraConfig({ r: 8 }))) console.log(label.padEnd(16), value);
 * ```
 * @returns label and value of each line; no value is empty
 */
export function describeConfig(config: PeftConfig): [label: string, value: string][] {
  const { name, sizes, variants = [] }: {
    readonly name: string;
    readonly sizes: readonly string[];
    readonly variants?: readonly string[];
  } = METHODS[config.peftType as keyof AllConfigs];
  const fields = config as unknown as Readonly<Record<string, unknown>>;
  const always = sizes.filter((field) => fields[field] !== null && fields[field] !== undefined);
  const chosen = [...variants, ...PLACES].filter((field) => isSet(field, fields[field]));
  return [
    ["method", name],
    ...[...always, ...chosen].map((field): [string, string] => [snakeCase(field), show(fields[field])]),
  ];
}
