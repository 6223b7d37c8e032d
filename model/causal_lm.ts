/**
 * What every causal language model is: logits and loss, generation, saving, and facts about itself. An architecture
 * adds its module tree.
 * @module
 */

import {
  currentDevice,
  defaultSeed,
  type Device,
  RandomState,
  slice,
  softcap,
  type Tensor,
  tidy,
} from "../autograd/mod.ts";
import type { FolderOutput } from "../io/folder_target.ts";
import type { CommitInfo, PushToHubOptions } from "../io/hub_push.ts";
import { Module, type Parameter, type Projection } from "../nn/mod.ts";
import type { Decoder } from "./decoder.ts";
import type { ModelConfig, ModelFacts } from "./facts.ts";
import type { GgufFormat, GgufLayout } from "./gguf_layout.ts";
import { generate, type GenerateOptions } from "./generation/generation.ts";
import type { GenerationConfig } from "./generation/generation_config.ts";
import type { GenerateInputs } from "./generation/prompts.ts";
import { type CausalLMInputs, checkInputNames, type DecoderInputs } from "./inputs.ts";
import { type CapturableBatch, captureInputs, forwardWithLabels } from "./labelled_forward.ts";
import { CausalLMOutput } from "./output.ts";
import { buildWith, type ParameterSource } from "./parameter_source.ts";
import type { SaveModelOptions } from "./save_model.ts";

/**
 * Options of a model with random weights.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { type CausalLMOptions, GPT2Config, GPT2LMHeadModel } from "@peft/webgpu/model";
 *
 * const options: CausalLMOptions = { device: await initDevice(), seed: 42 }; // the same random weights each time
 * const config = new GPT2Config({ vocabSize: 64, nEmbd: 32, nLayer: 1, nHead: 2, bosTokenId: 0, eosTokenId: 0 });
 * console.log(new GPT2LMHeadModel(config, options).random.seed); // 42
 * ```
 */
export interface CausalLMOptions {
  /** Default: the default device, which must exist already. */
  device?: Device;
  /** Seed of the initial weights and of dropout; default 0. */
  seed?: number;
}

/**
 * Facts that virtual tokens are made from.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import type { PromptFacts } from "@peft/webgpu/model";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const { embeddings, numLayers, numKeyValueHeads, headSize }: PromptFacts = model.promptFacts;
 * console.log(embeddings.shape, 2 * numLayers * numKeyValueHeads * headSize); // [ 768, 128 ] 1024: values of a prefix token
 * ```
 */
export interface PromptFacts extends ModelFacts {
  /** Token embeddings, [V, C]. */
  readonly embeddings: Parameter;
  /** Where dropout draws from. */
  readonly random: RandomState;
}

/**
 * A decoder with a language-model head. Properties of the classes below it carry checkpoint names.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, type CausalLM } from "@peft/webgpu";
 *
 * const model = await AutoModelForCausalLM.fromPretrained<CausalLM>("examples/demo/model");
 * const { loss, logits } = model.forward({ inputIds: [[1, 2, 3]], labels: [[1, 2, 3]] });
 * console.log(logits.shape, await loss!.item());
 * console.log(await model.generate([[1, 2, 3]], { maxNewTokens: 4 }));
 * ```
 */
export abstract class CausalLM<Config extends ModelConfig = ModelConfig> extends Module {
  /** Hidden states to logits. */
  abstract lm_head: Projection;
  /** What the model's `generation_config.json` says; empty where there is none. */
  generationConfig: GenerationConfig = {};
  readonly #config: Config;
  readonly #random: RandomState;

  /**
   * @internal An architecture's class builds its tree after this.
   * @param source given while a checkpoint is loaded: nothing has memory yet
   */
  constructor(config: Config, options: CausalLMOptions = {}, source?: ParameterSource) {
    super();
    const { device = currentDevice(), seed = defaultSeed() } = options;
    this.#config = config;
    this.#random = new RandomState(device, seed, source === undefined);
  }

  /** @internal What is under the head. */
  protected abstract get decoder(): Decoder;

  /** @internal `buildWith`; if the tree cannot be built, nothing of the model stays. */
  protected build<T>(source: ParameterSource, build: (source: ParameterSource) => T): T {
    try {
      return buildWith(source, build);
    } catch (error) {
      this.#random.dispose();
      throw error;
    }
  }

  /** The configuration. */
  get config(): Config {
    return this.#config;
  }

  /** Sizes and special tokens, in the words that all architectures share; `generationConfig` may name other end tokens. */
  get facts(): ModelFacts {
    const { eosTokenIds } = this.generationConfig;
    return eosTokenIds ? { ...this.#config.facts, eosTokenIds } : this.#config.facts;
  }

  /** Where dropout draws from; setting its seed and step resumes a run. */
  get random(): RandomState {
    return this.#random;
  }

  /** The device its weights are on. */
  get device(): Device {
    return this.#random.device;
  }

  /** What virtual tokens are made from (`peft/virtual_tokens/`). */
  get promptFacts(): PromptFacts {
    return { ...this.facts, embeddings: this.decoder.tokenEmbedding.weight, random: this.random };
  }

  /** @internal How llama.cpp's files hold it; undefined where they cannot. */
  protected get ggufLayout(): GgufLayout<Config> | undefined {
    return undefined;
  }

  /** @internal Loads what `ggufFormat` needs. */
  async loadGgufFormat(): Promise<void> {}

  /** @internal How llama.cpp's GGUF files hold it; null where they cannot. Call `loadGgufFormat()` before. */
  get ggufFormat(): GgufFormat | null {
    const { ggufLayout: layout, config } = this;
    if (!layout) return null;
    return {
      architecture: layout.architectureOf(config),
      placeOf: (path) => layout.placesOf(path, config)[0] ?? null,
      metadata: () => layout.writeConfig(config),
      extraTensors: () => layout.extraTensors?.(config) ?? new Map(),
    };
  }

  /** Whether the Trainer may record its steps: not where a class has a forward of its own. */
  get isCapturable(): boolean {
    return this.forward === CausalLM.prototype.forward;
  }

  /**
   * What a recorded step has of a batch as int32 tensors: all of it, and the rows of the head where it works on those with
   * a label alone. Null for a batch whose values decide the launches.
   */
  captureInputs(batch: CapturableBatch): Record<string, readonly (readonly number[])[]> | null {
    return captureInputs(batch, this.facts, this.device);
  }

  /** Whether its blocks compute again for their gradient what they would keep otherwise. */
  get isGradientCheckpointing(): boolean {
    return this.decoder.gradientCheckpointing;
  }

  /**
   * Makes training keep the input of each block alone, and compute the block again for its gradient: less memory, the
   * same gradients to the bit, about a third more time. It acts in train mode, in forwards without a cache.
   */
  gradientCheckpointingEnable(): void {
    this.decoder.gradientCheckpointing = true;
  }

  /** Makes training keep what backward needs, as at first. */
  gradientCheckpointingDisable(): void {
    this.decoder.gradientCheckpointing = false;
  }

  /**
   * NEFTune's alpha (Jain et al. 2023, arXiv:2310.05914): in train mode, token embeddings get uniform noise of
   * ±alpha / sqrt(T C). Null, at first, for none. @throws {RangeError} for a number below 0
   */
  get neftuneNoiseAlpha(): number | null {
    return this.decoder.neftuneNoiseAlpha;
  }

  set neftuneNoiseAlpha(alpha: number | null) {
    this.decoder.neftuneNoiseAlpha = alpha;
  }

  /**
   * Logits [B, T, V], and with labels the loss; then logits are computed only if they are read. With `logProbs`, the
   * log-probabilities of the labels alone.
   * @throws {RangeError} for an id outside the vocabulary, more tokens than the model has positions for, or no label at all
   * @throws {TypeError} for empty, ragged or differently shaped inputs, and for names that are none
   */
  forward(inputs: CausalLMInputs): CausalLMOutput {
    checkInputNames(inputs);
    const { labels } = inputs ?? {};
    const capped = (logits: Tensor) => this.#capped(logits);
    if (labels) {
      const { facts, device, decoder, lm_head: head } = this;
      return forwardWithLabels({ facts, device, decoder, head, capped }, inputs, labels);
    }
    return tidy(() => {
      const { hidden, pastKeyValues } = this.decoder.forward(inputs);
      return new CausalLMOutput({ logits: capped(this.lm_head.forward(hidden)), pastKeyValues });
    });
  }

  /** Number of its weights, tied ones once; or of those that train. */
  numParameters(onlyTrainable = false): number {
    let sum = 0;
    for (const { size, requiresGrad } of this.parameters()) if (requiresGrad || !onlyTrainable) sum += size;
    return sum;
  }

  /** @internal Logits of the last position of each row, [B, V]: what generation needs. */
  lastLogits(inputs: DecoderInputs): Tensor {
    return tidy(() => {
      const { hidden } = this.decoder.forward(inputs);
      const [batch, length, width] = hidden.shape;
      const last = length === 1 ? hidden : slice(hidden, 1, length - 1);
      return this.#capped(this.lm_head.forward(last.alias([batch, width])));
    });
  }

  /** Logits from what the head gives; frees that where it is another tensor. */
  #capped(logits: Tensor): Tensor {
    const { logitSoftcap } = this.facts;
    if (logitSoftcap === undefined) return logits;
    const capped = softcap(logits, logitSoftcap);
    logits.dispose();
    return capped;
  }

  /**
   * Continues each row. Returns prompts and new tokens. See `GenerateOptions`.
   *
   * @example
   * ```ts
   * import { AutoModelForCausalLM, AutoTokenizer } from "@peft/webgpu";
   *
   * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
   * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
   * const [ids] = await model.generate("Once upon a time", { tokenizer, maxNewTokens: 12 });
   * console.log(tokenizer.decode(ids));
   * ```
   */
  generate(inputs: GenerateInputs, options: GenerateOptions = {}): Promise<number[][]> {
    return generate(this, inputs, options);
  }

  /**
   * Writes `config.json`, `model.safetensors` and, if `generationConfig` says anything, `generation_config.json`, as
   * `transformers` does.
   * @throws {TypeError} for a field of `generationConfig` of another type and for an unknown `dtype`, before anything is
   * written
   */
  async savePretrained(folder: FolderOutput, options: SaveModelOptions = {}): Promise<void> {
    const { saveModel } = await import("./save_model.ts");
    const { weight } = this.decoder.tokenEmbedding;
    const tied = this.stateDict().get("lm_head.weight") === weight; // merging may have untied them
    await saveModel(this, { ...this.#config.toJSON(), tie_word_embeddings: tied }, folder, options);
  }

  /**
   * Pushes the model to a repository of the hub: what `savePretrained` writes, and a model card, in one commit.
   * @param repoId "org/name", or "name" for the owner of the token
   * @throws {HubError} without a token or for one that may not write there, and where the hub refuses; the repository is
   * then as it was
   */
  async pushToHub(repoId: string, options: PushToHubOptions & SaveModelOptions = {}): Promise<CommitInfo> {
    const { pushToHub } = await import("../io/hub_push.ts");
    const save = (folder: FolderOutput, own: SaveModelOptions) => this.savePretrained(folder, own);
    return await pushToHub(repoId, options, { kind: "model", saveOptions: ["dtype", "maxShardSize"], save });
  }

  /** Frees the memory of every parameter. */
  override dispose(): void {
    super.dispose();
    this.#random.dispose();
  }
}
