/**
 * Texts that the model writes while it trains.
 * @module
 */

import { checkOptions } from "../options/names.ts";
import type { CallbackExtra, TrainerCallback, TrainerControl, TrainerState } from "./trainer_state.ts";
import type { TrainableModel } from "./trainable_model.ts";
import type { TrainingArguments } from "./training_arguments.ts";

/** What it needs of a tokenizer. */
export interface SampleTokenizer {
  /** Ids of a text. */
  encode(text: string): readonly number[];
  /** Text of ids. */
  decode(ids: readonly number[]): string;
}

/** Options of `SampleCallback`. */
export interface SampleOptions {
  /** What the model continues. */
  prompts: readonly string[];
  /** Encodes prompts, and decodes what is written. */
  tokenizer: SampleTokenizer;
  /** Steps between samples; default null: at each evaluation. */
  everySteps?: number | null;
  /** Samples before the first step too; default false. */
  atStart?: boolean;
  /** Passed to the model's `generate` beside; default `{ doSample: false, maxNewTokens: 40 }`. */
  generation?: Readonly<Record<string, unknown>>;
}

interface Generates {
  generate(inputs: number[][], options: Readonly<Record<string, unknown>>): Promise<number[][]>;
}

/**
 * Lets the model continue fixed prompts, greedily, every so many steps or at each evaluation. What it writes is in
 * `state.samples`, goes to every callback's `onSample`, and is part of checkpoints. Training goes on bit for bit as
 * without it.
 *
 * @example
 * ```ts
 * import { SampleCallback, Trainer, type TrainerCallback } from "@peft/webgpu/train";
 *
 * declare const options: ConstructorParameters<typeof Trainer>[0], tokenizer: ConstructorParameters<typeof SampleCallback>[0]["tokenizer"];
 * const samples = new SampleCallback({ prompts: ["Once upon"], tokenizer, everySteps: 100 });
 * const print: TrainerCallback = { onSample: (_args, _state, _control, { samples }) => console.log(samples) };
 * await new Trainer({ ...options, callbacks: [samples, print] }).train();
 * ```
 */
export class SampleCallback implements TrainerCallback {
  readonly #options: SampleOptions;

  /** Samples nothing yet. @throws {RangeError} without prompts, or for an everySteps below 1 */
  constructor(options: SampleOptions) {
    checkOptions("sample", options, ["prompts", "tokenizer", "everySteps", "atStart", "generation"]);
    const { prompts, everySteps = null } = options;
    if (prompts.length === 0) {
      throw new RangeError("Cannot sample: at least one prompt is required, received none");
    }
    if (everySteps !== null && !(Number.isInteger(everySteps) && everySteps >= 1)) {
      throw new RangeError(
        `Cannot sample: everySteps must be an integer of at least 1 or null, received ${everySteps}`,
      );
    }
    this.#options = options;
  }

  async onTrainBegin(
    args: TrainingArguments,
    state: Readonly<TrainerState>,
    _control: TrainerControl,
    { model }: CallbackExtra,
  ): Promise<void> {
    if ((this.#options.everySteps ?? null) === null && args.evalStrategy === "no") {
      throw new TypeError(
        'Cannot sample: everySteps, or evalStrategy "steps" or "epoch", is required, received neither',
      );
    }
    if (this.#options.atStart && state.globalStep === 0) await this.#sample(model, state);
  }

  async onStepEnd(
    _args: TrainingArguments,
    state: Readonly<TrainerState>,
    _control: TrainerControl,
    { model }: CallbackExtra,
  ): Promise<void> {
    const { everySteps = null } = this.#options;
    if (everySteps !== null && state.globalStep % everySteps === 0) await this.#sample(model, state);
  }

  async onEvaluate(
    _args: TrainingArguments,
    state: Readonly<TrainerState>,
    _control: TrainerControl,
    { model }: CallbackExtra,
  ): Promise<void> {
    const { everySteps = null } = this.#options;
    if (everySteps === null) await this.#sample(model, state);
  }

  async #sample(
    model: TrainableModel,
    { globalStep: step, epoch, samples }: Readonly<TrainerState>,
  ): Promise<void> {
    const generate = (model as Partial<Generates>).generate;
    if (typeof generate !== "function") {
      throw new TypeError("Cannot sample: a model with generate() is required, received one without");
    }
    const { prompts, tokenizer, generation } = this.#options;
    for (const prompt of prompts) {
      const ids = [...tokenizer.encode(prompt)];
      const options = { doSample: false, maxNewTokens: 40, ...generation };
      const [written] = await generate.call(model, [ids], options);
      samples.push({ step, epoch, prompt, text: tokenizer.decode(written.slice(ids.length)) });
    }
  }
}
