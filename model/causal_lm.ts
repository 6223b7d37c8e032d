/**
 * GPT-2 (Radford et al. 2019), the module tree of `transformers.models.gpt2.modeling_gpt2`.
 * Properties carry checkpoint names, so module path = checkpoint key = `targetModules` entry.
 * @module
 */

import {
  concat,
  crossEntropy,
  currentDevice,
  defaultDevice,
  defaultSeed,
  type Device,
  linear,
  linearCrossEntropy,
  RandomState,
  slice,
  Tensor,
  tidy,
} from "../autograd/mod.ts";
import { openCheckpoint } from "../io/checkpoint.ts";
import { openFolder } from "../io/open_file.ts";
import type { FolderInput } from "../io/file_source.ts";
import { type FolderOutput, openTarget, writeJsonTo } from "../io/folder_target.ts";
import { readJsonFrom } from "../io/json.ts";
import { safetensorsPieces } from "../io/safetensors.ts";
import { Initializer, Linear, Module, Parameter, type Projection } from "../nn/mod.ts";
import { type ParameterSource, randomSource } from "./gpt2/block.ts";
import {
  checkpointEntries,
  CHUNK_BYTES,
  emptySource,
  matchCheckpoint,
  streamTensor,
  type WeightDType,
} from "./checkpoint.ts";
import { GPT2Config } from "./gpt2/config.ts";
import { type GPT2Inputs, GPT2Model } from "./decoder.ts";
import type { GenerateInputs } from "./generation/prompts.ts";
import { generate, type GenerateOptions } from "./generation/generation.ts";
import { checkLabels, checkRows, toIdTensor, type TokenIds } from "./inputs.ts";
import { CausalLMOutput } from "./output.ts";

/** Arguments of a language model's forward. */
export interface CausalLMInputs extends GPT2Inputs {
  /** [B, T]: the tokens to predict, -100 for none; shifted inside. */
  labels?: TokenIds;
  /** Divides the summed loss, in place of the count of labels: items of a whole accumulated batch. */
  numItemsInBatch?: number;
}

/** Labels [B, NV + T] that are -100 over NV virtual tokens. */
function ignoreBefore(labels: Tensor, virtual: number): Tensor {
  const rows = new Array(labels.shape[0]).fill(new Array(virtual).fill(-100));
  return concat([Tensor.from(rows, { dtype: "int32", device: labels.device }), labels], 1);
}

/** Options of `GPT2LMHeadModel`. */
export interface GPT2Options {
  /** Default: the default device, which must exist already. */
  device?: Device;
  /** Seed of the initial weights and of dropout; default 0. */
  seed?: number;
}

/** Options of `fromPretrained` for an open folder. */
export interface LoadOptions {
  /** Where the weights go; default the default device, made if there is none. */
  device?: Device;
  /** Storage of weight matrices; float16 weights are frozen. Default "float32". */
  dtype?: WeightDType;
  /** Seed of dropout; default 0. */
  seed?: number;
  /** Called after each tensor. */
  onProgress?: (progress: LoadProgress) => void;
}

/** How far loading has come. */
export interface LoadProgress {
  /** Tensors loaded. */
  readonly loaded: number;
  /** Tensors in all. */
  readonly total: number;
  /** The last one. */
  readonly name: string;
}

/** GPT-2 with a language-model head, tied to the token embedding. */
export class GPT2LMHeadModel extends Module {
  /** The stack of blocks. */
  transformer: GPT2Model;
  /** Hidden states to logits. */
  lm_head: Projection;
  readonly #config: GPT2Config;
  readonly #random: RandomState;

  /** Random weights, Hugging Face's initialisation. @throws {RangeError} for a configuration no GPT-2 can have */
  constructor(config: GPT2Config, options?: GPT2Options);
  /** @internal With parameters from `source`. */
  constructor(config: GPT2Config, options: GPT2Options, source: ParameterSource);
  constructor(config: GPT2Config, options: GPT2Options = {}, source?: ParameterSource) {
    super();
    const device = options.device ?? currentDevice();
    const seed = options.seed ?? defaultSeed();
    const make = source ?? randomSource(new Initializer(device, seed), config);
    this.#config = config;
    this.#random = new RandomState(device, seed);
    const made: Parameter[] = [];
    const parameters: ParameterSource = (...what) => {
      const parameter = make(...what);
      made.push(parameter);
      return parameter;
    };
    try {
      this.transformer = new GPT2Model(config, parameters, this.#random);
      this.lm_head = new Linear(
        config.tieWordEmbeddings
          ? this.transformer.wte.weight
          : parameters([config.vocabSize, config.nEmbd], "normal", true),
      );
    } catch (error) { // out of memory: nothing of a half-built model stays
      for (const owner of [...made, this.#random]) owner.dispose();
      throw error;
    }
  }

  /**
   * Loads a folder in Hugging Face's layout, in eval mode.
   * @throws {TypeError} listing every missing, unexpected or mis-shaped tensor, before anything is allocated
   */
  static async load(folder: FolderInput, options: LoadOptions = {}): Promise<GPT2LMHeadModel> {
    const source = openFolder(folder);
    const json = await readJsonFrom(source, "config.json");
    if (!json) {
      throw new Error(
        `Cannot load model "${source.name}": config.json is required, received a folder without it`,
      );
    }
    const config = GPT2Config.fromJSON(json);
    config.nameOrPath = source.name;
    const reader = await openCheckpoint(source);
    try {
      const names = matchCheckpoint(reader, config);
      const { device = await defaultDevice(), seed } = options;
      const model = new GPT2LMHeadModel(
        config,
        { device, seed },
        emptySource(device, options.dtype ?? "float32"),
      );
      try {
        const parameters = new Map(model.namedParameters());
        const room = new Uint8Array(CHUNK_BYTES);
        let loaded = 0;
        for (const [path, name] of names) {
          await streamTensor(reader, name, parameters.get(path)!, room);
          options.onProgress?.({ loaded: ++loaded, total: names.size, name: path });
        }
      } catch (error) {
        model.dispose();
        throw error;
      }
      return model.eval();
    } finally {
      await reader.close();
    }
  }

  /** The configuration. */
  get config(): GPT2Config {
    return this.#config;
  }

  /** Where dropout draws from; setting its seed and step resumes a run. */
  get random(): RandomState {
    return this.#random;
  }

  /** The device its weights are on. */
  get device(): Device {
    return this.#random.device;
  }

  /** What virtual tokens are made for (`peft/adapters/prompt_tuner.ts`). */
  get promptFacts(): {
    tokenDim: number;
    numLayers: number;
    numAttentionHeads: number;
    embeddings: Parameter;
    random: RandomState;
  } {
    const { nEmbd: tokenDim, nLayer: numLayers, nHead: numAttentionHeads } = this.#config;
    return {
      tokenDim,
      numLayers,
      numAttentionHeads,
      embeddings: this.transformer.wte.weight,
      random: this.random,
    };
  }

  /** Whether the Trainer may record its steps: not where a subclass has a forward of its own. */
  get isCapturable(): boolean {
    return this.forward === GPT2LMHeadModel.prototype.forward;
  }

  /**
   * Logits [B, T, V], and with labels the loss; then logits are computed only if they are read.
   * @throws {RangeError} for an id outside the vocabulary, more tokens than n_positions, or no label at all
   * @throws {TypeError} for empty, ragged or differently shaped inputs
   */
  forward(inputs: CausalLMInputs): CausalLMOutput {
    const { labels, numItemsInBatch } = inputs;
    if (labels) this.#checkLabels(inputs, labels);
    return tidy(() => {
      // Written before the blocks are recorded: a write must not overtake commands that use its buffer.
      const given = labels && toIdTensor("labels", labels, this.#config.vocabSize, this.device, -100);
      const targets = given && inputs.promptEmbeds
        ? ignoreBefore(given, inputs.promptEmbeds.shape[0])
        : given;
      const { hidden, pastKeyValues } = this.transformer.forward(inputs);
      const head = this.lm_head;
      if (!targets) return new CausalLMOutput({ logits: head.forward(hidden), pastKeyValues });
      const options = { shiftLabels: true, numItemsInBatch };
      const weight = head.headWeight();
      if (weight) {
        const loss = linearCrossEntropy(hidden, weight, targets, options);
        const compute = (hidden: Tensor) => linear(hidden, weight, null); // of this forward, whatever adapters act then
        const held = weight instanceof Parameter ? undefined : weight;
        return new CausalLMOutput({ loss, hidden, weight: held, compute, pastKeyValues });
      }
      const logits = head.forward(hidden);
      return new CausalLMOutput({ loss: crossEntropy(logits, targets, options), logits, pastKeyValues });
    });
  }

  #checkLabels(inputs: CausalLMInputs, labels: TokenIds): void {
    const ids = inputs.inputsEmbeds ?? inputs.inputIds;
    if (ids === undefined) return; // the transformer says what is missing
    const shape = ids instanceof Tensor ? ids.shape : checkRows("inputIds", ids);
    checkLabels(labels, shape[0], shape[1]);
  }

  /** @internal Logits of the last position of each row, [B, V]: what generation needs. */
  lastLogits(inputs: GPT2Inputs): Tensor {
    return tidy(() => {
      const { hidden } = this.transformer.forward(inputs);
      const [batch, length, width] = hidden.shape;
      const last = length === 1 ? hidden : slice(hidden, 1, length - 1);
      return this.lm_head.forward(last.alias([batch, width]));
    });
  }

  /**
   * Continues each row, and gives prompts and new tokens. See `GenerateOptions`.
   *
   * ```ts ignore
   * const [ids] = await model.generate("Once upon a time", { tokenizer, maxNewTokens: 50 });
   * console.log(tokenizer.decode(ids));
   * ```
   */
  generate(inputs: GenerateInputs, options: GenerateOptions = {}): Promise<number[][]> {
    return generate(this, inputs, options);
  }

  /** Writes `config.json` and `model.safetensors` as `transformers` does. */
  async savePretrained(folder: FolderOutput): Promise<void> {
    const target = openTarget(folder, "save the model");
    const state = this.stateDict();
    const tied = state.get("lm_head.weight") === state.get("transformer.wte.weight"); // merging may have untied them
    await writeJsonTo(target, "config.json", {
      ...this.#config.toJSON(),
      tie_word_embeddings: tied,
    });
    const entries = checkpointEntries(this.namedParameters());
    await target.write("model.safetensors", safetensorsPieces(entries, { format: "pt" }));
  }

  /** Gives the memory of every parameter back. */
  override dispose(): void {
    super.dispose();
    this.#random.dispose();
  }
}
