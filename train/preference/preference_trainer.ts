/**
 * What trainers of preferences share: rows are tokenized before the first use, dropout is off, and the reference may
 * be asked once, before the first step.
 * @module
 */

import { keep, noGrad, readAndDispose, type Tensor, tidy } from "../../autograd/mod.ts";
import type { CallbackInput } from "../callbacks.ts";
import { checkData } from "../data/check_data.ts";
import type { Dataset } from "../data/example.ts";
import type { GradientExchange } from "../gradient_exchange.ts";
import { type Batch, type DataCollator, DataLoader } from "../data/data_loader.ts";
import type { EvalOutput } from "../evaluate.ts";
import type { Objective } from "../objective.ts";
import type { LRScheduler } from "../optimizers/lr_scheduler.ts";
import type { Optimizer } from "../optimizers/optimizer.ts";
import type { AdapterConfigLike } from "../adapter_option.ts";
import type { TrainableModel } from "../trainable_model.ts";
import type { NamesTokenizer } from "../processing_class.ts";
import { Trainer, type TrainerOptions } from "../trainer.ts";
import type { TrainerCallback } from "../trainer_state.ts";
import type { TrainingArguments } from "../training_arguments.ts";
import {
  AnswerDataset,
  type AnswerExample,
  type PreferenceRows,
  type ReadAnswers,
} from "./answer_dataset.ts";
import type { PreferenceTokenizer } from "./answers.ts";

/**
 * Options that all trainers of preferences have.
 *
 * @example
 * ```ts
 * import { CPOTrainer, ORPOTrainer } from "@peft/webgpu";
 * import type { PreferenceTrainerOptions } from "@peft/webgpu/train";
 *
 * const args = { maxSteps: 100, beta: 0.1, maxLength: 256, outputDir: "out/pirate" };
 * // the trainer of a method; model, data and settings are those of any other
 * const trainerOf = (method: "cpo" | "orpo", options: PreferenceTrainerOptions<typeof args>) =>
 *   new (method === "cpo" ? CPOTrainer : ORPOTrainer)({ ...options, args });
 * ```
 */
export interface PreferenceTrainerOptions<Config> extends NamesTokenizer<PreferenceTokenizer> {
  /** The policy: a model whose forward gives log-probabilities, usually with adapters. */
  model: TrainableModel;
  /** An adapter that the model gets first, as by `getPeftModel`; `trainer.model` is the wrapped one. Default none. */
  peftConfig?: AdapterConfigLike | null;
  /** Settings; default all defaults. */
  args?: Config;
  /** Rows to train on: objects, or what `loadDataset` gives. Needed by `train()`. */
  trainDataset?: PreferenceRows;
  /** Needed by `evaluate()`. */
  evalDataset?: PreferenceRows;
  /** Tokenizes the rows, pads batches, and is saved with the model; needed unless rows are token ids. */
  tokenizer?: PreferenceTokenizer;
  /** Callbacks. */
  callbacks?: readonly CallbackInput[];
  /** In place of those that `args` describe; null leaves one of the two to `args`. */
  optimizers?: readonly [Optimizer | null, LRScheduler | null];
  /** How this process and others compute each step together, as of `Trainer`. Default: it is alone. */
  gradientExchange?: GradientExchange;
}

/** Names of the options. */
export const PREFERENCE_OPTIONS = [
  "model",
  "peftConfig",
  "args",
  "trainDataset",
  "evalDataset",
  "tokenizer",
  "processingClass",
  "callbacks",
  "optimizers",
  "gradientExchange",
] as const satisfies readonly (keyof PreferenceTrainerOptions<unknown>)[];

/** How a trainer's reference is asked before the first step. */
export interface Precomputation {
  /** Log-probabilities [2B] of a batch: the first half goes to the first number of each example, the second to the second. */
  readonly of: (batch: Batch) => Tensor;
  /** Examples per batch; null: those of training or evaluation. */
  readonly batchSize: number | null;
  /** Whether it may also be asked once the model has trained. */
  readonly isFixed: boolean;
}

/** What a trainer adds. */
export interface PreferenceParts<E extends AnswerExample> {
  readonly args: TrainingArguments & { readonly disableDropout: boolean };
  readonly objective: Objective;
  readonly read: ReadAnswers<E>;
  readonly collate: DataCollator;
  /** Null: never. */
  readonly precompute: Precomputation | null;
}

/** The padding token of a tokenizer. */
export function padTokenOf(tokenizer: PreferenceTokenizer | undefined): number {
  return tokenizer?.padTokenId ?? tokenizer?.eosTokenId ?? 0;
}

/** Batches whose numbers are read back together. */
const READ_TOGETHER = 8;
/** Milliseconds between lines that say how far the reference is. */
const PROGRESS_MS = 5000;

/**
 * Puts the modules of a model into eval mode, so that none drops anything, but those that compute blocks again for their
 * gradient: that they do in train mode alone.
 */
const WITHOUT_DROPOUT: TrainerCallback = {
  onTrainBegin: (_args, _state, _control, { model }) => {
    for (const [, module] of model.namedModules()) {
      if (!("gradientCheckpointing" in module)) module.training = false;
    }
  },
  onTrainEnd: (_args, _state, _control, { model }) => void model.train(true),
};

/**
 * A trainer of preferences: `DPOTrainer` and others.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, DPOTrainer, LoraConfig } from "@peft/webgpu";
 * import { PreferenceTrainer } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const trainDataset = [{ prompt: "Once", chosen: " a dog", rejected: " a cat" }];
 * const args = { maxSteps: 1, reportTo: "none" } as const;
 * const peftConfig = new LoraConfig();
 * const trainer = new DPOTrainer({ model, processingClass: tokenizer, trainDataset, peftConfig, args });
 * console.log(trainer instanceof PreferenceTrainer); // true
 * ```
 */
export class PreferenceTrainer<E extends AnswerExample = AnswerExample> extends Trainer {
  readonly #parts: PreferenceParts<E>;
  readonly #train: AnswerDataset<E> | undefined;
  readonly #eval: AnswerDataset<E> | undefined;

  /** @internal Of the classes below it. */
  constructor(
    options: Omit<PreferenceTrainerOptions<unknown>, "processingClass" | "peftConfig">,
    parts: PreferenceParts<E>,
  ) {
    const { model, trainDataset, evalDataset, tokenizer, optimizers, gradientExchange } = options;
    const callbacks = [...parts.args.disableDropout ? [WITHOUT_DROPOUT] : [], ...options.callbacks ?? []];
    const dataset = (rows: PreferenceRows | undefined) => rows && new AnswerDataset(rows, parts.read);
    const [train, evaluation] = [dataset(trainDataset), dataset(evalDataset)];
    super(
      {
        ...{ model, args: parts.args, trainDataset: train, evalDataset: evaluation, tokenizer },
        ...{ dataCollator: parts.collate, objective: parts.objective, callbacks, optimizers },
        ...gradientExchange && { gradientExchange },
      } satisfies TrainerOptions,
    );
    this.#parts = parts;
    this.#train = train;
    this.#eval = evaluation;
  }

  /**
   * Tokenizes the rows and asks the reference about them.
   * @throws {TypeError} for rows of another kind, naming the row
   */
  protected override async prepareData(dataset: Dataset, signal?: AbortSignal): Promise<void> {
    await super.prepareData(dataset);
    const { args, precompute } = this.#parts;
    if (!precompute) return;
    await this.#ask(this.#train!, precompute, args.perDeviceTrainBatchSize, signal);
    if (this.#eval && !precompute.isFixed) await this.#askEvaluation(this.#eval, precompute);
  }

  /**
   * The mean loss over rows in eval mode, and the measures of the logs with `eval` before their names in `metrics`.
   * @param rows default `evalDataset`
   * @throws {TypeError} for rows of another kind, naming the row
   */
  override async evaluate(rows?: PreferenceRows): Promise<EvalOutput> {
    checkData("evaluate", "the data", rows);
    const { precompute, read } = this.#parts;
    const known = [this.#eval, this.#train].find((dataset) => dataset?.rows === rows);
    const dataset = rows === undefined ? this.#eval : known ?? new AnswerDataset(rows, read);
    if (dataset && precompute) await this.#askEvaluation(dataset, precompute);
    return await super.evaluate(dataset);
  }

  async #askEvaluation(dataset: AnswerDataset<E>, precompute: Precomputation): Promise<void> {
    if (!dataset.hasReference && !precompute.isFixed && this.state.globalStep > 0) {
      throw new TypeError(
        "Cannot evaluate other rows once the model has trained: a refModel or adapters are required for the reference, received neither; give the rows as evalDataset",
      );
    }
    await this.#ask(dataset, precompute, this.args.perDeviceEvalBatchSize);
  }

  /** Asks the reference for its numbers of all examples, the first time. */
  async #ask(
    dataset: AnswerDataset<E>,
    { of, batchSize }: Precomputation,
    usual: number,
    signal?: AbortSignal,
  ): Promise<void> {
    await dataset.prepare();
    if (dataset.hasReference) return;
    const say = this.#progress(dataset.length);
    const loader = new DataLoader(dataset, { batchSize: batchSize ?? usual, collate: this.#parts.collate });
    let open: Tensor[] = [];
    let index = 0;
    const read = async () => {
      const values = await Promise.all(open.map((tensor) => readAndDispose(tensor)));
      open = [];
      for (const numbers of values) {
        const half = numbers.length / 2;
        for (let i = 0; i < half; i++) dataset.at(index++)!.reference = [numbers[i], numbers[half + i]];
      }
      say(index);
    };
    try {
      for await (const batch of loader.readBatches(0)) {
        if (signal?.aborted) return;
        open.push(keep(tidy(() => noGrad(() => of(batch)))));
        if (open.length === READ_TOGETHER) await read();
      }
      await read();
    } finally {
      for (const tensor of open) tensor.dispose();
    }
    dataset.hasReference = true;
  }

  /** Prints now and then how many of `total` examples are done, where the run prints at all. */
  #progress(total: number): (done: number) => void {
    if (![this.args.reportTo].flat().includes("console")) return () => {};
    let last = performance.now();
    console.log(`log-probabilities of the reference: ${total} examples`);
    return (done) => {
      if (performance.now() - last < PROGRESS_MS) return;
      last = performance.now();
      console.log(`log-probabilities of the reference: ${done} of ${total} examples`);
    };
  }
}
