/**
 * One or more configurations of each PEFT method, for the contract tests: a method of the registry without one does not
 * compile.
 * @module
 */
import type { PeftConfig } from "../../peft/config/peft_config.ts";
import type { PeftType } from "../../peft/registry.ts";
import type { promptLearningConfigs } from "../../peft/virtual_tokens/prompt_learning.ts";
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
} from "../../peft/mod.ts";

/** One configuration of a method, and what the method promises of it. */
export interface Case {
  readonly config: () => PeftConfig;
  /** What a fresh adapter does to the logits. */
  readonly start: "nothing" | "changes them";
  /** Whether it can be merged into the base's weights. */
  readonly merges: boolean;
  /** The same with targets that no module has; absent where a method has no targets. */
  readonly unmatched?: () => PeftConfig;
}

const nothing = ["nothing_like_this"];

/** Methods by their names in files. */
export const CASES: Record<PeftType | keyof typeof promptLearningConfigs, Readonly<Record<string, Case>>> = {
  LORA: {
    "LoRA": {
      config: () => new LoraConfig({ r: 4, loraAlpha: 8, targetModules: ["c_attn", "c_fc"] }),
      start: "nothing",
      merges: true,
      unmatched: () => new LoraConfig({ targetModules: nothing }),
    },
    "DoRA": {
      config: () => new LoraConfig({ r: 4, loraAlpha: 8, targetModules: "all-linear", useDora: true }),
      start: "nothing",
      merges: true,
    },
    "rsLoRA": {
      config: () => new LoraConfig({ r: 4, loraAlpha: 8, useRslora: true, initLoraWeights: "gaussian" }),
      start: "nothing",
      merges: true,
    },
    "LoRA with a bias": {
      config: () => new LoraConfig({ r: 4, loraAlpha: 8, targetModules: ["c_attn", "c_fc"], loraBias: true }),
      start: "nothing",
      merges: true,
    },
    "LoRA on embeddings": {
      config: () => new LoraConfig({ r: 4, loraAlpha: 8, targetModules: ["wte", "wpe", "c_attn"] }),
      start: "nothing",
      merges: true,
    },
    "LoRA with trained tokens": {
      config: () => new LoraConfig({ r: 4, trainableTokenIndices: [5, 17, 200] }),
      start: "nothing",
      merges: true,
    },
    "PiSSA": {
      config: () => new LoraConfig({ r: 4, loraAlpha: 8, initLoraWeights: "pissa" }),
      start: "nothing",
      merges: true,
    },
    "OLoRA": {
      config: () => new LoraConfig({ r: 4, loraAlpha: 8, targetModules: ["c_fc"], initLoraWeights: "olora" }),
      start: "nothing",
      merges: true,
    },
  },
  BOTTLENECK: {
    "bottleneck adapters (Pfeiffer)": {
      config: () => BottleneckConfig.named("seq_bn", { reductionFactor: 4 }),
      start: "changes them",
      merges: false,
    },
    "bottleneck adapters (Houlsby)": {
      config: () =>
        BottleneckConfig.named("double_seq_bn", { reductionFactor: 4, initWeights: "mam_adapter" }),
      start: "nothing",
      merges: false,
    },
    "bottleneck adapters (parallel)": {
      config: () => BottleneckConfig.named("par_bn", { scaling: "learned" }),
      start: "nothing",
      merges: false,
    },
  },
  IA3: {
    "(IA)^3": {
      config: () => new IA3Config(),
      start: "nothing",
      merges: true,
      unmatched: () => new IA3Config({ targetModules: nothing, feedforwardModules: nothing }),
    },
  },
  LN_TUNING: {
    "LN tuning": {
      config: () => new LNTuningConfig(),
      start: "nothing",
      merges: true,
      unmatched: () => new LNTuningConfig({ targetModules: nothing }),
    },
  },
  ADALORA: {
    "AdaLoRA": {
      config: () => new AdaLoraConfig({ initR: 3, targetR: 2, totalStep: 9, inferenceMode: true }),
      start: "nothing",
      merges: true,
      unmatched: () => new AdaLoraConfig({ totalStep: 9, targetModules: nothing }),
    },
  },
  TRAINABLE_TOKENS: {
    "trainable tokens": {
      config: () => new TrainableTokensConfig({ tokenIndices: [5, 17, 200] }),
      start: "nothing",
      merges: true,
      unmatched: () => new TrainableTokensConfig({ tokenIndices: [5], targetModules: nothing }),
    },
  },
  VERA: {
    "VeRA": {
      config: () => new VeraConfig({ r: 6, targetModules: ["c_attn", "mlp.c_proj"] }),
      start: "nothing",
      merges: true,
      unmatched: () => new VeraConfig({ targetModules: nothing }),
    },
  },
  LOHA: {
    "LoHa": {
      config: () => new LoHaConfig({ r: 2, targetModules: ["c_attn", "c_fc"] }),
      start: "nothing",
      merges: true,
      unmatched: () => new LoHaConfig({ targetModules: nothing }),
    },
  },
  LOKR: {
    "LoKr": {
      config: () => new LoKrConfig({ r: 2, decomposeBoth: true, targetModules: ["c_attn", "mlp.c_proj"] }),
      start: "nothing",
      merges: true,
      unmatched: () => new LoKrConfig({ targetModules: nothing }),
    },
  },
  OFT: {
    "OFT": {
      config: () => new OFTConfig({ oftBlockSize: 8, targetModules: ["c_attn", "c_fc"] }),
      start: "nothing",
      merges: true,
      unmatched: () => new OFTConfig({ targetModules: nothing }),
    },
    "exact OFT with one shared block": {
      config: () => new OFTConfig({ r: 4, oftBlockSize: 0, useCayleyNeumann: false, blockShare: true }),
      start: "nothing",
      merges: true,
    },
  },
  BITFIT: { "BitFit": { config: () => new BitFitConfig(), start: "nothing", merges: true } },
  BOFT: {
    "BOFT": {
      config: () => new BOFTConfig({ boftNButterflyFactor: 2, targetModules: ["c_attn", "mlp.c_proj"] }),
      start: "nothing",
      merges: true,
      unmatched: () => new BOFTConfig({ targetModules: nothing }),
    },
  },
  FOURIERFT: {
    "FourierFT": {
      config: () => new FourierFTConfig({ nFrequency: 50 }),
      start: "changes them",
      merges: true,
      unmatched: () => new FourierFTConfig({ targetModules: nothing }),
    },
  },
  PREFIX_TUNING: {
    "prefix tuning": {
      config: () => new PrefixTuningConfig({ numVirtualTokens: 3 }),
      start: "changes them",
      merges: false,
    },
    "prefix tuning with projection": {
      config: () =>
        new PrefixTuningConfig({ numVirtualTokens: 3, prefixProjection: true, encoderHiddenSize: 20 }),
      start: "changes them",
      merges: false,
    },
  },
  PROMPT_TUNING: {
    "prompt tuning": {
      config: () => new PromptTuningConfig({ numVirtualTokens: 3 }),
      start: "changes them",
      merges: false,
    },
  },
  P_TUNING: {
    "P-tuning": {
      config: () => new PromptEncoderConfig({ numVirtualTokens: 3, encoderHiddenSize: 20 }),
      start: "changes them",
      merges: false,
    },
    "P-tuning with an LSTM": {
      config: () =>
        new PromptEncoderConfig({
          numVirtualTokens: 3,
          encoderHiddenSize: 8,
          encoderReparameterizationType: "LSTM",
        }),
      start: "changes them",
      merges: false,
    },
  },
};
