/**
 * Every method that the studio trains with: what it is for, and the configuration that its options make.
 * @module
 */

import {
  AdaLoraConfig,
  BitFitConfig,
  BOFTConfig,
  BottleneckConfig,
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
  TrainableTokensConfig,
  VeraConfig,
} from "@peft/webgpu";
import type { AdapterConfig } from "@peft/webgpu/peft";
import type { OptionValue } from "../protocol.ts";
import { adaLoraSchedule, type MethodName } from "../../options/method_defaults.ts";
import { Refusal } from "./errors.ts";

/** Options by name. */
export type Options = Readonly<Record<string, OptionValue>>;

/** What a configuration may need to know beside its options. */
export interface Setting {
  /** Optimizer steps of the training, which AdaLoRA's schedule needs. */
  readonly steps: number;
  /** Ids of a text's tokens. */
  readonly encode: (text: string) => number[];
}

/** A method. */
export interface MethodSpec {
  readonly title: string;
  readonly purpose: string;
  /** Defaults that are other than the configuration's own. */
  readonly defaults: Options;
  /** Fields that the method sets by itself, from the options. */
  readonly own?: (options: Options, setting: Setting) => Readonly<Record<string, unknown>>;
  readonly Config: new (fields: never) => object;
}

const RANK = { r: 8 };
const LINEAR = { targetModules: "all-linear" };

/** Names of its methods: adapters alone. */
export type StudioMethod = Exclude<MethodName, "full">;

/** Every method, the recommended one first. */
export const METHODS: Readonly<Record<StudioMethod, MethodSpec>> = {
  lora: {
    title: "LoRA",
    purpose: "The usual choice: small, fast, switched and merged without a trace, and read everywhere.",
    defaults: { ...RANK, loraAlpha: 16, loraDropout: 0, ...LINEAR },
    Config: LoraConfig,
  },
  dora: {
    title: "DoRA",
    purpose: "LoRA that also trains the length of each weight's rows: a little better, a little slower.",
    defaults: { ...RANK, loraAlpha: 16, loraDropout: 0, useDora: true, ...LINEAR },
    Config: LoraConfig,
  },
  adalora: {
    title: "AdaLoRA",
    purpose: "LoRA that moves its ranks to the layers that need them most while it trains.",
    defaults: { initR: 12, targetR: 8, loraAlpha: 16, loraDropout: 0, ...LINEAR },
    own: (_options, { steps }) => adaLoraSchedule(steps),
    Config: AdaLoraConfig,
  },
  ia3: {
    title: "(IA)³",
    purpose: "Scales keys, values and inner activations: the smallest adapter that still learns a style.",
    defaults: {},
    Config: IA3Config,
  },
  vera: {
    title: "VeRA",
    purpose: "Shares two random matrices among all layers and trains two vectors each: tiny files.",
    defaults: { r: 64 },
    Config: VeraConfig,
  },
  loha: {
    title: "LoHa",
    purpose: "Multiplies two low-rank changes: higher rank for the same size, known from image models.",
    defaults: { ...RANK, alpha: 16, ...LINEAR },
    Config: LoHaConfig,
  },
  lokr: {
    title: "LoKr",
    purpose: "Builds each change from a Kronecker product: very small, keeps the weight's structure.",
    defaults: { ...RANK, alpha: 16, ...LINEAR },
    Config: LoKrConfig,
  },
  oft: {
    title: "OFT",
    purpose: "Rotates weights in blocks: keeps what the model knows better than added changes do.",
    defaults: { ...LINEAR },
    Config: OFTConfig,
  },
  boft: {
    title: "BOFT",
    purpose: "Rotations in butterfly form: fewer parameters than OFT, slower.",
    defaults: { ...LINEAR },
    Config: BOFTConfig,
  },
  fourierft: {
    title: "FourierFT",
    purpose: "Trains a few frequencies of each change: small files for many layers.",
    defaults: {},
    Config: FourierFTConfig,
  },
  ln: {
    title: "LN tuning",
    purpose: "Trains the norms alone: almost nothing to store, for small shifts of style.",
    defaults: {},
    Config: LNTuningConfig,
  },
  bitfit: {
    title: "BitFit",
    purpose: "Trains biases alone: almost nothing to store, for models whose layers have biases.",
    defaults: {},
    Config: BitFitConfig,
  },
  prefix: {
    title: "Prefix tuning",
    purpose: "Learns keys and values that every layer reads first: the weights stay untouched.",
    defaults: { numVirtualTokens: 16 },
    Config: PrefixTuningConfig,
  },
  prompt: {
    title: "Prompt tuning",
    purpose: "Learns a prompt of made-up tokens: a few kilobytes, needs many steps.",
    defaults: { numVirtualTokens: 16 },
    Config: PromptTuningConfig,
  },
  "p-tuning": {
    title: "P-tuning",
    purpose: "Prompt tuning whose tokens come from a small network: steadier to train.",
    defaults: { numVirtualTokens: 16, encoderHiddenSize: 128 },
    Config: PromptEncoderConfig,
  },
  bottleneck: {
    title: "Bottleneck adapters",
    purpose: "Small networks between the layers, as AdapterHub has them: strong, and cannot be merged.",
    defaults: {},
    Config: BottleneckConfig,
  },
  tokens: {
    title: "Trainable tokens",
    purpose: "Trains the meaning of a few tokens alone: for new words and names.",
    defaults: { tokens: "" },
    own: ({ tokens }, { encode }) => {
      const tokenIndices = [...new Set(encode(String(tokens)))];
      if (tokenIndices.length > 0) return { tokenIndices };
      throw new Refusal(
        "bad-settings",
        "No tokens are named.",
        "Type the words whose tokens should be trained.",
      );
    },
    Config: TrainableTokensConfig,
  },
};

/** Fails for what is no method's name. @throws {Refusal} */
export function checkMethod(name: string): asserts name is StudioMethod {
  if (Object.hasOwn(METHODS, name)) return;
  throw new Refusal("bad-settings", `There is no method "${name}".`, "Choose one of the list.");
}

/** The configuration of a method with options. @throws {Refusal} @throws {TypeError} for options that it does not have */
export function configOf(method: string, options: Options, setting: Setting): AdapterConfig {
  checkMethod(method);
  const { defaults, own, Config } = METHODS[method];
  const { tokens, ...given } = { ...defaults, ...options };
  const targets = given.targetModules === "default" ? { targetModules: null } : {};
  const start = given.initLoraWeights === "true" ? { initLoraWeights: true } : {};
  const made = new Config(
    { ...given, ...targets, ...start, ...own?.({ ...given, tokens: tokens ?? null }, setting) } as never,
  );
  return made as AdapterConfig;
}

/** Positions that virtual tokens take in every row. */
export function virtualTokensOf(config: AdapterConfig): number {
  const { numVirtualTokens = 0 } = config as { numVirtualTokens?: number };
  return numVirtualTokens;
}
