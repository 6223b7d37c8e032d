/**
 * The methods of `finetune`: a name on the command line, and the configuration that the flags make of it.
 * @module
 */

import {
  AdaLoraConfig,
  BitFitConfig,
  BOFTConfig,
  BottleneckConfig,
  type CausalLM,
  FourierFTConfig,
  IA3Config,
  LNTuningConfig,
  LoHaConfig,
  LoKrConfig,
  LoraConfig,
  OFTConfig,
  PrefixTuningConfig,
  PromptEncoderConfig,
  PromptTuningConfig,
  VeraConfig,
} from "@peft/webgpu";
import { choice, flag, integer, number, positive, text } from "../../options/rules.ts";
import { adaLoraSchedule, type MethodName } from "../../options/method_defaults.ts";
import { camelCase } from "../../options/names.ts";
import { givenFlags } from "../flags.ts";
import { UsageError } from "../usage_error.ts";
import type { StorageValues } from "./model_flags.ts";

/** The method that trains every weight. */
export const FULL = "full";

/** Methods that make an adapter. */
export type AdapterMethod = Exclude<MethodName, typeof FULL | "tokens">;

/** Values of the flags that describe an adapter. */
export interface MethodValues {
  readonly method: AdapterMethod | typeof FULL;
  readonly rank: number;
  readonly alpha: number | undefined;
  readonly dropout: number;
  readonly rslora: boolean;
  readonly targets: string | undefined;
  readonly "virtual-tokens": number;
  readonly "method-options": string | undefined;
}

/** Any adapter's configuration. */
export type AdapterConfig = LoraConfig | PrefixTuningConfig | BottleneckConfig | AdaLoraConfig | IA3Config;

/** What a method makes of the flags, beside `--method-options`. */
interface Method {
  /** Flags that mean something to it, beside --method-options. */
  readonly uses: readonly (keyof MethodValues)[];
  /** Fields of the configuration from the flags. `steps` is how many the training has. */
  readonly fields: (values: MethodValues, steps: number) => Readonly<Record<string, unknown>>;
  /** The configuration. */
  readonly make: (fields: Readonly<Record<string, unknown>>) => AdapterConfig;
}

/** A method with a configuration class. */
function method<Fields>(
  Config: new (fields: Fields) => object,
  uses: Method["uses"],
  fields: Method["fields"],
): Method {
  return {
    uses,
    fields,
    make: (given) => new Config(given as Fields) as AdapterConfig,
  };
}

/** Twice the rank where no alpha is given, as most trainers have it. */
const alphaOf = ({ alpha, rank }: MethodValues) => alpha ?? 2 * rank;

/** Every module that LoRA usually takes: the linear layers of all blocks. */
const linear = ({ targets }: MethodValues) => parseTargets(targets ?? "all-linear");
/** What `peft` takes in the model, where none are named. */
const usual = ({ targets }: MethodValues) => parseTargets(targets);

const lora = (values: MethodValues) => ({
  r: values.rank,
  loraAlpha: alphaOf(values),
  loraDropout: values.dropout,
  targetModules: linear(values),
  useRslora: values.rslora,
});

/** Dropout and rank of LoHa and LoKr, whose files write `alpha`. */
const lycoris = (values: MethodValues) => ({
  r: values.rank,
  alpha: alphaOf(values),
  rankDropout: values.dropout,
  targetModules: linear(values),
});

const virtual = ({ "virtual-tokens": numVirtualTokens }: MethodValues) => ({ numVirtualTokens });
const ofRank = ["rank", "alpha", "dropout", "targets"] as const;

/** What makes each adapter. */
export const METHODS: Readonly<Record<AdapterMethod, Method>> = {
  lora: method(LoraConfig, [...ofRank, "rslora"], lora),
  dora: method(LoraConfig, [...ofRank, "rslora"], (values) => ({
    ...lora(values),
    useDora: true,
  })),
  adalora: method(AdaLoraConfig, ofRank, (values, steps) => ({
    initR: Math.ceil(1.5 * values.rank),
    targetR: values.rank,
    loraAlpha: alphaOf(values),
    loraDropout: values.dropout,
    targetModules: linear(values),
    ...adaLoraSchedule(steps),
  })),
  ia3: method(IA3Config, ["targets"], (values) => ({
    targetModules: usual(values),
  })),
  vera: method(VeraConfig, [
    "rank",
    "dropout",
    "targets",
  ], (
    values,
  ) => ({ r: values.rank, veraDropout: values.dropout, targetModules: usual(values) })),
  loha: method(LoHaConfig, ofRank, lycoris),
  lokr: method(LoKrConfig, ofRank, lycoris),
  oft: method(OFTConfig, ["targets", "dropout"], (values) => ({
    targetModules: linear(values),
    moduleDropout: values.dropout,
  })),
  boft: method(BOFTConfig, ["targets", "dropout"], (values) => ({
    targetModules: linear(values),
    boftDropout: values.dropout,
  })),
  fourierft: method(FourierFTConfig, ["targets"], (values) => ({
    targetModules: usual(values),
  })),
  ln: method(LNTuningConfig, ["targets"], (values) => ({ targetModules: usual(values) })),
  bitfit: method(BitFitConfig, [], () => ({})),
  prefix: method(PrefixTuningConfig, ["virtual-tokens"], virtual),
  prompt: method(PromptTuningConfig, ["virtual-tokens"], virtual),
  "p-tuning": method(
    PromptEncoderConfig,
    ["virtual-tokens"],
    (values) => ({ ...virtual(values), encoderHiddenSize: 128 }),
  ),
  bottleneck: method(BottleneckConfig, ["dropout"], (values) => ({
    dropout: values.dropout,
  })),
};

/** Positions that the method's virtual tokens take in every row. */
export function virtualTokensOf(values: Pick<MethodValues, "method" | "virtual-tokens">): number {
  const { method } = values;
  return method !== FULL && METHODS[method].uses.includes("virtual-tokens") ? values["virtual-tokens"] : 0;
}

/** Flags that describe the adapter. */
export const METHOD_FLAGS = {
  method: {
    rule: choice(...Object.keys(METHODS) as AdapterMethod[], FULL),
    default: "lora",
    help: "What trains: an adapter of a method, or with full every weight",
  },
  rank: { rule: integer(1, 4096), default: 8, help: "Rank r" },
  alpha: { rule: positive(1e6), help: "Alpha; the adapter is scaled by alpha / r; default: twice the rank" },
  dropout: { rule: number(0, 1), default: 0, help: "Dropout of the adapter" },
  rslora: { rule: flag, help: "Scale by alpha / sqrt(r)" },
  targets: {
    rule: text,
    help:
      'Modules to adapt: names with commas between, "all-linear", "default" (what peft adapts in the model), or a regular expression in slashes; default: all-linear for the methods of LoRA\'s kind, else "default"',
  },
  "virtual-tokens": {
    rule: integer(1, 4096),
    default: 20,
    help: "Virtual tokens of prefix, prompt and p-tuning",
  },
  "method-options": {
    rule: text,
    help: 'Further fields of the method\'s configuration as JSON, such as {"init_lora_weights": "pissa"}',
  },
} as const;

/** Module names, a pattern, or "all-linear"; null for what peft adapts. */
export function parseTargets(text: string | undefined): string[] | string | null {
  if (text === undefined || text === "default") return null;
  const pattern = /^\/(.*)\/$/.exec(text);
  if (pattern) return pattern[1];
  return text === "all-linear" ? text : text.split(",").map((name) => name.trim());
}

/** Fields that a flag has as JSON, by their names in TypeScript. @throws {UsageError} for anything but a JSON object */
export function readFields(flag: string, text: string | undefined): Record<string, unknown> {
  if (text === undefined) return {};
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = null;
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UsageError(`Cannot run finetune: ${flag} must be a JSON object, received ${text}`);
  }
  return Object.fromEntries(Object.entries(value).map(([name, entry]) => [camelCase(name), entry]));
}

/** Refuses flags that were given and mean nothing to the method. @throws {UsageError} */
export function checkMethodFlags(values: MethodValues): void {
  const { method } = values;
  const given = givenFlags(values);
  for (const name of Object.keys(METHOD_FLAGS) as (keyof MethodValues)[]) {
    const isUsed = name === "method" ||
      (method !== FULL && (name === "method-options" || METHODS[method].uses.includes(name)));
    if (isUsed || !given.has(name)) continue;
    throw new UsageError(`Cannot run finetune: --${name} means nothing to --method ${method}`);
  }
}

const tooFewBits = (received: string) =>
  new UsageError(
    `Cannot run finetune: --method full trains weights of 32 bits, received ${received}; leave it out, or train an adapter`,
  );

/** Refuses `full` where flags of the base say that its weights have fewer bits: those would not train. @throws {UsageError} */
export function checkWholeFlags(
  { method, quantization, dtype }: Pick<MethodValues, "method"> & StorageValues,
): void {
  if (method !== FULL) return;
  if (quantization !== undefined) throw tooFewBits(`--quantization ${quantization}`);
  if (dtype === "float16") throw tooFewBits("--dtype float16");
}

/** The same of a base that was loaded as its file has it. @throws {UsageError} */
export function checkWholeWeights({ method }: Pick<MethodValues, "method">, base: CausalLM): void {
  if (method !== FULL || [...base.parameters()].every(({ requiresGrad }) => requiresGrad)) return;
  throw tooFewBits("--dtype auto of a file that has others");
}

/**
 * The configuration of the adapter that the flags describe; null for `full`.
 * @param steps optimizer steps of the training, which AdaLoRA's schedule needs
 * @throws {UsageError} for flags that mean nothing to the method @throws {RangeError} for fields that it does not have
 */
export function methodConfig(values: MethodValues, steps: number): AdapterConfig | null {
  checkMethodFlags(values);
  if (values.method === FULL) return null;
  const { fields, make } = METHODS[values.method];
  return make({ ...fields(values, steps), ...readFields("--method-options", values["method-options"]) });
}
