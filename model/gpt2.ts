/**
 * GPT-2 (Radford et al. 2019), the module tree of `transformers.models.gpt2.modeling_gpt2`.
 * Properties carry checkpoint names, so module path = checkpoint key = `targetModules` entry.
 * @module
 */

import {
  add,
  crossEntropy,
  currentDevice,
  type Device,
  linearCrossEntropy,
  RandomState,
  slice,
  Tensor,
  tidy,
} from "../autograd/mod.ts";
import { openCheckpoint } from "../io/checkpoint.ts";
import { openFolder } from "../io/open_file.ts";
import type { FolderInput } from "../io/file_source.ts";
import { readJsonFrom, writeJson } from "../io/json.ts";
import { joinPath, makeDirectory } from "../io/files.ts";
import { save } from "../io/safetensors.ts";
import {
  Dropout,
  Embedding,
  Initializer,
  type LayerNorm,
  Linear,
  Module,
  type Parameter,
  type Projection,
} from "../nn/mod.ts";
import { type AttentionState, attentionState } from "./gpt2_attention.ts";
import { GPT2Block, layerNorm, type ParameterSource, randomSource } from "./gpt2_block.ts";
import {
  checkpointEntries,
  emptySource,
  matchCheckpoint,
  streamTensor,
  type WeightDType,
} from "./gpt2_checkpoint.ts";
import { GPT2Config } from "./gpt2_config.ts";
import { generate, type GenerateInputs, type GenerateOptions } from "./generation.ts";
import { type AttentionMask, checkLabels, checkRows, toIdTensor, type TokenIds } from "./inputs.ts";
import { KVCache } from "./kv_cache.ts";
import { CausalLMOutput } from "./output.ts";

/** Arguments of a forward. */
export interface GPT2Inputs {
  /** [B, T], 0..V-1. */
  inputIds?: TokenIds;
  /** [B, past + T], 1 for tokens and 0 for padding; default all tokens. */
  attentionMask?: AttentionMask;
  /** [B, T]; default counts from the cache's length, padding or not. */
  positionIds?: TokenIds;
  /** Keys and values of earlier tokens; extended in place. */
  pastKeyValues?: KVCache;
  /** Make a cache if none is given; default false. */
  useCache?: boolean;
  /** Embedded tokens [B, T, C] in place of ids. */
  inputsEmbeds?: Tensor;
}

/** Arguments of a language model's forward. */
export interface CausalLMInputs extends GPT2Inputs {
  /** [B, T]: the tokens to predict, -100 for none; shifted inside. */
  labels?: TokenIds;
  /** Divides the summed loss, in place of the count of labels: items of a whole accumulated batch. */
  numItemsInBatch?: number;
}

/** The stack of blocks without the head. */
export class GPT2Model extends Module {
  /** Token embedding, [V, C]. */
  wte: Embedding;
  /** Position embedding, [n_positions, C]. */
  wpe: Embedding;
  /** Dropout of the embedded tokens. */
  drop: Dropout;
  /** The blocks. */
  h: GPT2Block[];
  /** The last layer norm. */
  ln_f: LayerNorm;
  readonly #config: GPT2Config;
  readonly #random: RandomState;

  /** @internal `GPT2LMHeadModel` makes it. */
  constructor(config: GPT2Config, source: ParameterSource, random: RandomState) {
    super();
    this.#config = config;
    this.#random = random;
    this.wte = new Embedding(source([config.vocabSize, config.nEmbd], "normal", true));
    this.wpe = new Embedding(source([config.nPositions, config.nEmbd], "normal", true));
    this.drop = new Dropout(config.embdPdrop, random);
    this.h = Array.from({ length: config.nLayer }, (_, i) => new GPT2Block(config, source, random, i));
    this.ln_f = layerNorm(source, config);
  }

  /**
   * Hidden states after the last layer norm, [B, T, C].
   * @throws {RangeError} for a token id outside the vocabulary, or more tokens than n_positions
   * @throws {TypeError} for empty, ragged or differently shaped inputs
   */
  forward(inputs: GPT2Inputs): { hidden: Tensor; pastKeyValues?: KVCache } {
    const config = this.#config;
    const { device } = this.#random;
    const { inputsEmbeds } = inputs;
    if ((inputs.inputIds === undefined) === (inputsEmbeds === undefined)) {
      throw new TypeError("Cannot run GPT-2: either inputIds or inputsEmbeds is required");
    }
    if (this.training) this.#random.advance();
    const given = inputs.pastKeyValues;
    let cache = given;
    try {
      const hidden = tidy(() => {
        const ids = inputs.inputIds && toIdTensor("inputIds", inputs.inputIds, config.vocabSize, device);
        const [batch, length] = (ids ?? inputsEmbeds!).shape;
        const past = given?.length ?? 0;
        if (past + length > config.nPositions) {
          throw new RangeError(
            `Cannot run GPT-2 on ${
              past + length
            } tokens: at most n_positions ${config.nPositions} are allowed`,
          );
        }
        if (inputs.useCache) cache ??= new KVCache(config, device, batch);
        const state = attentionState({ batch, length, past, mask: inputs.attentionMask, cache, device });
        const positions = inputs.positionIds
          ? this.#positions(inputs.positionIds, batch, length)
          : countFrom(past, batch, length, device);
        const tokens = ids ? this.wte.forward(ids) : inputsEmbeds!;
        return this.#blocks(add(tokens, this.wpe.forward(positions)), state);
      });
      if (cache) cache.length += hidden.shape[1];
      return { hidden, pastKeyValues: cache };
    } catch (error) {
      if (cache !== given) cache?.dispose();
      throw error;
    }
  }

  /** Positions of a caller, one row for all or one for each. */
  #positions(given: TokenIds, batch: number, length: number): Tensor {
    const positions = toIdTensor("positionIds", given, this.#config.nPositions, this.#random.device);
    const [rows, columns] = positions.shape;
    if ((rows !== batch && rows !== 1) || columns !== length) {
      throw new TypeError(
        `Cannot use positionIds: the shape of inputIds [${batch}, ${length}] is required, received [${rows}, ${columns}]`,
      );
    }
    return positions;
  }

  #blocks(embedded: Tensor, state: AttentionState): Tensor {
    let x = this.drop.forward(embedded); // [B, T, C]
    for (const block of this.h) {
      const next = block.forward(x, state);
      x.dispose();
      x = next;
    }
    return this.ln_f.forward(x);
  }
}

/** Positions past, past + 1, … for every row. */
function countFrom(past: number, batch: number, length: number, device: Device): Tensor {
  const row = Int32Array.from({ length: batch * length }, (_, i) => past + i % length);
  return Tensor.from(row, { shape: [batch, length], device });
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
  /** Where the weights go. */
  device: Device;
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
    const seed = options.seed ?? 0;
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
  static async load(folder: FolderInput, options: LoadOptions): Promise<GPT2LMHeadModel> {
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
      const { device, seed } = options;
      const model = new GPT2LMHeadModel(
        config,
        { device, seed },
        emptySource(device, options.dtype ?? "float32"),
      );
      try {
        const parameters = new Map(model.namedParameters());
        let loaded = 0;
        for (const [path, name] of names) {
          await streamTensor(reader, name, parameters.get(path)!);
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
      const targets = labels && toIdTensor("labels", labels, this.#config.vocabSize, this.device, -100);
      const { hidden, pastKeyValues } = this.transformer.forward(inputs);
      const head = this.lm_head;
      if (!targets) return new CausalLMOutput({ logits: head.forward(hidden), pastKeyValues });
      const options = { shiftLabels: true, numItemsInBatch };
      if (head instanceof Linear && !head.bias) {
        const loss = linearCrossEntropy(hidden, head.weight, targets, options);
        const compute = (hidden: Tensor) => head.forward(hidden);
        return new CausalLMOutput({ loss, hidden, compute, pastKeyValues });
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

  /** Continues each row. See `GenerateOptions`. */
  generate(inputs: GenerateInputs, options: GenerateOptions = {}): Promise<number[][]> {
    return generate(this, inputs, options);
  }

  /** Writes `config.json` and `model.safetensors` as `transformers` does. */
  async savePretrained(folder: string): Promise<void> {
    await makeDirectory(folder);
    await writeJson(await joinPath(folder, "config.json"), this.#config.toJSON());
    const path = await joinPath(folder, "model.safetensors");
    await save(path, checkpointEntries(this.namedParameters()), { format: "pt" });
  }

  /** Gives the memory of every parameter back. */
  override dispose(): void {
    super.dispose();
    this.#random.dispose();
  }
}
