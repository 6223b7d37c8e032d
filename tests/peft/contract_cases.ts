/**
 * One or more configurations of each PEFT method, for the contract tests, and the module trees they run on: a method of
 * the registry without one does not compile.
 * @module
 */
import { AutoModelForCausalLM, type CausalLM } from "../../model/mod.ts";
import type { Device } from "../../autograd/mod.ts";
import type { PeftConfig } from "../../peft/config/peft_config.ts";
import type { PeftType } from "../../peft/methods/peft_types.ts";
import type { promptLearningConfigs } from "../../peft/virtual_tokens/prompt_learning.ts";
import { BATCH } from "./tiny_model.ts";
import { FIXTURES, ownDevice } from "../reference/fixtures.ts";
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

/** A small model of one architecture, and the names of its modules. */
export interface Tree {
  readonly name: string;
  /** Loads the model on a device of its own. */
  readonly load: (dtype?: "float32" | "float16") => Promise<{ device: Device; model: CausalLM }>;
  readonly batch: typeof BATCH;
  /** Projections of the attention. */
  readonly attention: readonly string[];
  /** The MLP's projection to its inner width. */
  readonly up: string;
  /** The MLP's projection back. */
  readonly down: string;
  /** Embeddings. */
  readonly embeddings: readonly string[];
  /** Tokens to train. */
  readonly tokens: readonly number[];
  /** A module that a message lists where no target matches. */
  readonly listed: RegExp;
  /** The words with which it refuses methods, by their names in files. */
  readonly refused?: Partial<Readonly<Record<keyof Cases, string>>>;
}

const smallTree = (fixture: string) => async (dtype?: "float32" | "float16") => {
  const device = await ownDevice();
  const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(FIXTURES + fixture, { device, dtype });
  return { device, model };
};

/** The batch for 61 tokens. */
const SMALL_BATCH: typeof BATCH = {
  inputIds: BATCH.inputIds.map((row) => row.map((id) => id % 61)),
  labels: BATCH.labels.map((row) => row.map((id) => id < 0 ? id : id % 61)),
};

/** The trees of the contract tests. */
export const TREES: { readonly gpt2: Tree; readonly llama: Tree; readonly gemma3: Tree } = {
  gpt2: {
    name: "GPT-2",
    load: smallTree("gpt2_tiny"),
    batch: BATCH,
    attention: ["c_attn"],
    up: "c_fc",
    down: "mlp.c_proj",
    embeddings: ["wte", "wpe"],
    tokens: [5, 17, 200],
    listed: /"(ln_1|c_attn|wte)"/,
  },
  llama: { // a tied head, shared keys and values, biases
    name: "Llama",
    load: smallTree("llama/llama_tied_biases"),
    batch: SMALL_BATCH,
    attention: ["q_proj", "v_proj"],
    up: "up_proj",
    down: "down_proj",
    embeddings: ["embed_tokens"],
    tokens: [5, 17, 60],
    listed: /"(input_layernorm|q_proj|embed_tokens)"/,
  },
  gemma3: { // windows shorter than a row, norms behind both parts, no biases
    name: "Gemma 3",
    load: smallTree("llama/gemma3"),
    batch: SMALL_BATCH,
    attention: ["q_proj", "v_proj"],
    up: "up_proj",
    down: "down_proj",
    embeddings: ["embed_tokens"],
    tokens: [5, 17, 60],
    listed: /"(input_layernorm|q_proj|embed_tokens)"/,
    refused: {
      BITFIT: "a model with biases is required, received LlamaForCausalLM without any",
    },
  },
};

/** One configuration of a method, and what the method promises of it. */
export interface Case {
  readonly config: () => PeftConfig;
  /** What a fresh adapter does to the logits. */
  readonly start: "nothing" | "changes them";
  /** Whether it can be merged into the base's weights. */
  readonly merges: boolean;
  /** Whether it differs from another of its method only within one layer: one tree is enough then. */
  readonly isLocal?: true;
  /** The same with targets that no module has; absent where a method has no targets. */
  readonly unmatched?: () => PeftConfig;
}

const nothing = ["nothing_like_this"];

/** Methods by their names in files. */
export type Cases = Record<PeftType | keyof typeof promptLearningConfigs, Readonly<Record<string, Case>>>;

/** The configurations of each method on a tree. */
export const casesOn = ({ attention, up, down, embeddings, tokens }: Tree): Cases => ({
  LORA: {
    "LoRA": {
      config: () => new LoraConfig({ r: 4, loraAlpha: 8, targetModules: [...attention, up] }),
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
      isLocal: true,
    },
    "LoRA with a bias": {
      config: () => new LoraConfig({ r: 4, loraAlpha: 8, targetModules: [...attention, up], loraBias: true }),
      start: "nothing",
      merges: true,
      isLocal: true,
    },
    "LoRA on embeddings": {
      config: () => new LoraConfig({ r: 4, loraAlpha: 8, targetModules: [...embeddings, ...attention] }),
      start: "nothing",
      merges: true,
    },
    "LoRA with trained tokens": {
      config: () => new LoraConfig({ r: 4, trainableTokenIndices: tokens }),
      start: "nothing",
      merges: true,
    },
    "PiSSA": {
      config: () => new LoraConfig({ r: 4, loraAlpha: 8, initLoraWeights: "pissa" }),
      start: "nothing",
      merges: true,
      isLocal: true,
    },
    "OLoRA": {
      config: () => new LoraConfig({ r: 4, loraAlpha: 8, targetModules: [up], initLoraWeights: "olora" }),
      start: "nothing",
      merges: true,
      isLocal: true,
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
      config: () => new TrainableTokensConfig({ tokenIndices: tokens }),
      start: "nothing",
      merges: true,
      unmatched: () => new TrainableTokensConfig({ tokenIndices: [5], targetModules: nothing }),
    },
  },
  VERA: {
    "VeRA": {
      config: () => new VeraConfig({ r: 6, targetModules: [...attention, down] }),
      start: "nothing",
      merges: true,
      unmatched: () => new VeraConfig({ targetModules: nothing }),
    },
  },
  LOHA: {
    "LoHa": {
      config: () => new LoHaConfig({ r: 2, targetModules: [...attention, up] }),
      start: "nothing",
      merges: true,
      unmatched: () => new LoHaConfig({ targetModules: nothing }),
    },
  },
  LOKR: {
    "LoKr": {
      config: () => new LoKrConfig({ r: 2, decomposeBoth: true, targetModules: [...attention, down] }),
      start: "nothing",
      merges: true,
      unmatched: () => new LoKrConfig({ targetModules: nothing }),
    },
  },
  OFT: {
    "OFT": {
      config: () => new OFTConfig({ oftBlockSize: 8, targetModules: [...attention, up] }),
      start: "nothing",
      merges: true,
      unmatched: () => new OFTConfig({ targetModules: nothing }),
    },
    "exact OFT with one shared block": {
      config: () => new OFTConfig({ r: 4, oftBlockSize: 0, useCayleyNeumann: false, blockShare: true }),
      start: "nothing",
      merges: true,
      isLocal: true,
    },
  },
  BITFIT: { "BitFit": { config: () => new BitFitConfig(), start: "nothing", merges: true } },
  BOFT: {
    "BOFT": {
      config: () => new BOFTConfig({ boftNButterflyFactor: 2, targetModules: [...attention, down] }),
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
});

/** The configurations on GPT-2. */
export const CASES: Cases = casesOn(TREES.gpt2);
