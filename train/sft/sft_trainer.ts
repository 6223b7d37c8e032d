/**
 * Supervised fine-tuning, with the names and behaviour of TRL's `SFTTrainer`.
 * @module
 */

import { checkOptions } from "../../options/names.ts";
import { checkData } from "../data/check_data.ts";
import { defaultDataCollator } from "../data/data_loader.ts";
import type { Dataset } from "../data/example.ts";
import { RowDataset } from "../data/row_dataset.ts";
import type { EvalOutput } from "../evaluate.ts";
import { type NamesTokenizer, oneTokenizer } from "../processing_class.ts";
import { checkModel } from "../trainable_model.ts";
import { Trainer, TRAINER_OPTIONS, type TrainerOptions } from "../trainer.ts";
import { DFT_LOSS } from "./dft_objective.ts";
import { MODEL_LOSS } from "../objective.ts";
import { type AdapterConfigLike, withAdapter } from "../adapter_option.ts";
import { withTokenMeasures } from "../token_measures.ts";
import { SFTConfig } from "./sft_config.ts";
import { SFTDataset, type SFTDataStats } from "./sft_dataset.ts";
import { type SFTTokenizer, tokenIdOf } from "./sft_example.ts";

/**
 * Training data: rows that `loadDataset` read, rows in memory, or examples that are tokenized already.
 *
 * @example
 * ```ts
 * import { loadDataset } from "@peft/webgpu";
 * import type { SFTData } from "@peft/webgpu/train";
 *
 * const inMemory: SFTData = [{ text: "Ahoy, matey!" }, { prompt: "Who be ye?", completion: " A pirate." }];
 * const ofFiles: SFTData = await loadDataset("examples/demo/data/pirate.jsonl");
 * console.log(inMemory.length, ofFiles.length); // 2 120: either is a trainDataset
 * ```
 */
export type SFTData = RowDataset | Dataset | readonly unknown[];

/**
 * Options of `SFTTrainer`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, LoraConfig, SFTTrainer } from "@peft/webgpu";
 * import type { SFTTrainerOptions } from "@peft/webgpu/train";
 *
 * const options: SFTTrainerOptions = {
 *   model: await AutoModelForCausalLM.fromPretrained("examples/demo/model"),
 *   processingClass: await AutoTokenizer.fromPretrained("examples/demo/model"),
 *   peftConfig: new LoraConfig({ r: 4, targetModules: ["c_attn"] }), // the trainer adds the adapter
 *   trainDataset: [{ title: "The sea", body: "The sea be calm, arr." }],
 *   formattingFunc: ({ title, body }) => `${title}\n\n${body}`,
 *   args: { maxSteps: 1, reportTo: "none" },
 * };
 * await new SFTTrainer(options).train();
 * ```
 */
export interface SFTTrainerOptions
  extends
    Omit<TrainerOptions, "args" | "trainDataset" | "evalDataset" | "tokenizer" | "processingClass">,
    NamesTokenizer<SFTTokenizer> {
  /** Settings; default all defaults. */
  args?: Partial<SFTConfig>;
  /** What is trained on. */
  trainDataset: SFTData;
  /** Needed by `evaluate()`. */
  evalDataset?: SFTData;
  /** An adapter that the model gets first, as by `getPeftModel`; `trainer.model` is the wrapped one. Default none. */
  peftConfig?: AdapterConfigLike | null;
  /** Makes a text of each row, which is then trained on in its place. */
  formattingFunc?: (row: Readonly<Record<string, unknown>>) => string;
}

/** The part of a model that tells its positions and tokens, in itself or in the model that an adapter is in. */
interface ModelWithFacts {
  readonly facts?: { readonly maxPositions: number; readonly vocabSize: number };
  readonly peftConfig?: Readonly<Record<string, { readonly numVirtualTokens?: number }>>;
  getBaseModel?(): ModelWithFacts;
}

/** Positions of a model that virtual tokens leave free, and its tokens; absent where it does not tell. */
function limitsOf(model: unknown): { readonly maxPositions: number; readonly vocabSize: number | undefined } {
  const { facts = (model as ModelWithFacts).getBaseModel?.().facts, peftConfig = {} } =
    model as ModelWithFacts;
  const virtual = Object.values(peftConfig).map(({ numVirtualTokens = 0 }) => numVirtualTokens);
  const maxPositions = (facts?.maxPositions ?? Infinity) - Math.max(0, ...virtual);
  return { maxPositions, vocabSize: facts?.vocabSize };
}

/** What rows have lost, in words. */
function lossesOf({ rows, cutRows, cutTokens, droppedRows, firstDropped }: SFTDataStats): string[] {
  const cut = `${cutRows} of ${rows} rows were longer than maxLength and lost ${cutTokens} tokens`;
  const dropped =
    `${droppedRows} of ${rows} rows were left out, because nothing in them is learned, the first ${firstDropped}`;
  return [...cutRows > 0 ? [cut] : [], ...droppedRows > 0 ? [dropped] : []];
}

/** Makes the datasets of a trainer. */
class DataMaker {
  readonly #options: Omit<SFTTrainerOptions, "processingClass">;
  readonly #tokenizer: SFTTokenizer;
  readonly #args: SFTConfig;

  constructor(
    options: Omit<SFTTrainerOptions, "processingClass">,
    tokenizer: SFTTokenizer,
    args: SFTConfig,
  ) {
    this.#options = options;
    this.#tokenizer = tokenizer;
    this.#args = args;
    if (args.completionOnlyLoss && options.formattingFunc) {
      throw new TypeError(
        "Cannot make a trainer: formattingFunc makes texts, which have no completion; completionOnlyLoss must not be true with it",
      );
    }
  }

  make(data: SFTData, packing: boolean): SFTDataset {
    const { model } = this.#options;
    return new SFTDataset(this.#rows(data), this.#tokenizer, {
      ...this.#args,
      packing,
      ...limitsOf(model),
      needsLengths: this.#args.trainSamplingStrategy === "group_by_length",
    });
  }

  #rows(data: SFTData): RowDataset | Dataset {
    const { formattingFunc } = this.#options;
    if (!Array.isArray(data)) {
      if (!formattingFunc) return data as RowDataset | Dataset;
      throw new TypeError(
        "Cannot make a trainer: an array of rows is required with formattingFunc, received a dataset",
      );
    }
    if (data.length > 0 && Object.hasOwn(data[0] ?? {}, "inputIds")) return data as Dataset;
    if (formattingFunc) return RowDataset.from(data.map((row) => ({ text: formattingFunc(row) })));
    const { datasetTextField: field } = this.#args;
    return RowDataset.from(data, field === "text" ? {} : { text: field });
  }
}

/**
 * Trains a model on texts, on prompts with their completions, or on conversations.
 *
 * Rows are told by their keys (see `loadDataset`), tokenized, ended with the token that ends texts, and cut at
 * `maxLength`; of a prompt with its completion the completion is learned, of other rows everything unless
 * `assistantOnlyLoss`. Rows without a label are left out and counted.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, getPeftModel, loadDataset, LoraConfig, SFTTrainer } from "@peft/webgpu";
 *
 * const name = "HuggingFaceTB/SmolLM2-135M-Instruct";
 * const model = getPeftModel(await AutoModelForCausalLM.fromPretrained(name), new LoraConfig({ r: 8 }));
 * const trainer = new SFTTrainer({
 *   model,
 *   args: { outputDir: "out", maxLength: 512, packing: true, assistantOnlyLoss: true, learningRate: 2e-4 },
 *   trainDataset: await loadDataset("conversations.jsonl"),
 *   processingClass: await AutoTokenizer.fromPretrained(name),
 * });
 * await trainer.train();
 * await trainer.saveModel();
 * ```
 */
export class SFTTrainer extends Trainer {
  readonly #maker: DataMaker;
  readonly #train: SFTDataset;
  readonly #evalPacking: boolean;

  /**
   * Reads no row yet: `train()` and `evaluate()` do.
   * @throws {RangeError} for settings out of range @throws {TypeError} for an option that does not exist, for no trainDataset or data that
   * are no dataset (such as a Promise of one), for rows in memory that are none, and for evaluations without an evalDataset
   */
  constructor(wanted: SFTTrainerOptions) {
    checkOptions("make a trainer", wanted, [...TRAINER_OPTIONS, "formattingFunc", "peftConfig"]);
    checkModel("make a trainer", wanted.model);
    const args = wanted.args instanceof SFTConfig ? wanted.args : new SFTConfig(wanted.args);
    const given = oneTokenizer("make a trainer", wanted);
    const { tokenizer } = given;
    if (!tokenizer) throw new TypeError("Cannot make a trainer: processingClass is required, received none");
    if (!given.trainDataset) {
      throw new TypeError("Cannot make a trainer: a trainDataset is required, received none");
    }
    const options = withAdapter("make a trainer", given);
    const { args: _args, tokenizer: _tokenizer, formattingFunc: _, trainDataset, evalDataset, ...rest } =
      options;
    const maker = new DataMaker(options, tokenizer, args);
    const evalPacking = args.evalPacking ?? args.packing;
    const train = maker.make(trainDataset, args.packing);
    const padTokenId = args.padToken !== null
      ? tokenIdOf(tokenizer, "padToken", args.padToken)
      : tokenizer.padTokenId ?? tokenizer.eosTokenId ?? 0;
    super({
      dataCollator: defaultDataCollator(padTokenId, args.padToMultipleOf ?? 1),
      objective: withTokenMeasures(args.lossType === "dft" ? DFT_LOSS : MODEL_LOSS),
      ...rest,
      args,
      trainDataset: train,
      ...evalDataset && { evalDataset: maker.make(evalDataset, evalPacking) },
      tokenizer,
    });
    this.#maker = maker;
    this.#train = train;
    this.#evalPacking = evalPacking;
  }

  /** Beside the measures of tokens, how many the model has read. */
  protected override ownLogs(): Record<string, number> {
    return { numTokens: this.state.numInputTokensSeen };
  }

  /** What became of the training rows, once `train()` has read them; null for large files that are read as they are used. */
  get dataStats(): SFTDataStats | null {
    return this.#train.stats;
  }

  /** The examples that are trained on; `prepare()` tokenizes them. */
  get trainDataset(): SFTDataset {
    return this.#train;
  }

  /** Tokenizes the rows; says what was cut and left out of them where `reportTo` is "console". */
  protected override async prepareData(dataset: Dataset): Promise<void> {
    await super.prepareData(dataset);
    const { stats } = this.#train;
    if (stats && this.args.reportTo === "console") { for (const line of lossesOf(stats)) console.log(line); }
  }

  /** The mean loss over a dataset, rows or examples; see `Trainer.evaluate`. */
  override async evaluate(data?: SFTData): Promise<EvalOutput> {
    checkData("evaluate", "the data", data);
    return await super.evaluate(data && this.#asDataset(data));
  }

  #asDataset(data: SFTData): Dataset {
    return data instanceof SFTDataset ? data : this.#maker.make(data, this.#evalPacking);
  }
}
