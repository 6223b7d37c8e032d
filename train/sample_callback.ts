/**
 * Texts that the model writes while it trains.
 * @module
 */

import { checkOptions } from "../options/names.ts";
import { kindOf } from "../options/kinds.ts";
import type { CallbackExtra, TrainerCallback, TrainerControl, TrainerState } from "./trainer_state.ts";
import { maxPositionsOf, type TrainableModel } from "./trainable_model.ts";
import type { TrainingArguments } from "./training_arguments.ts";

/**
 * What it needs of a tokenizer.
 *
 * @example
 * ```ts
 * import { SampleCallback, type SampleTokenizer } from "@peft/webgpu/train";
 *
 * const bytes: SampleTokenizer = {
 *   encode: (text) => [...new TextEncoder().encode(text)],
 *   decode: (ids) => new TextDecoder().decode(new Uint8Array(ids)),
 * };
 * const callbacks = [new SampleCallback({ prompts: ["The sea"], tokenizer: bytes, everySteps: 50 })];
 * ```
 */
export interface SampleTokenizer {
  /** Ids of a text. */
  encode(text: string): readonly number[];
  /** Text of ids. */
  decode(ids: readonly number[]): string;
}

/**
 * Options of `SampleCallback`.
 *
 * @example
 * ```ts
 * import { AutoTokenizer } from "@peft/webgpu";
 * import { SampleCallback, type SampleOptions } from "@peft/webgpu/train";
 *
 * const options: SampleOptions = {
 *   prompts: ["Once upon a time", "The sea"],
 *   tokenizer: await AutoTokenizer.fromPretrained("examples/demo/model"),
 *   atStart: true, // what the model wrote before it learned anything
 *   generation: { doSample: true, temperature: 0.8, maxNewTokens: 60 },
 * };
 * const callbacks = [new SampleCallback(options)]; // for a Trainer that evaluates
 * ```
 */
export interface SampleOptions {
  /** What the model continues. */
  prompts: readonly string[];
  /** Encodes prompts, and decodes what is written. */
  tokenizer: SampleTokenizer;
  /** Steps between samples; default null: at each evaluation. */
  everySteps?: number | null;
  /** Samples before the first step too; default false. */
  atStart?: boolean;
  /**
   * Passed to the model's `generate` beside; default `{ doSample: false, maxNewTokens: 40 }`. No more tokens are written
   * than the model has room for after the prompt.
   */
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

  /**
   * Samples nothing yet.
   * @throws {RangeError} without prompts, for a prompt without a token, or for an everySteps below 1
   * @throws {TypeError} for prompts that are no list of texts, or no tokenizer
   */
  constructor(options: SampleOptions) {
    checkOptions("sample", options, ["prompts", "tokenizer", "everySteps", "atStart", "generation"]);
    const { prompts, tokenizer, everySteps = null } = options;
    if (!Array.isArray(prompts) || !prompts.every((prompt) => typeof prompt === "string")) {
      throw new TypeError(`Cannot sample: prompts must be a list of texts, received ${kindOf(prompts)}`);
    }
    if (typeof tokenizer?.encode !== "function" || typeof tokenizer.decode !== "function") {
      throw new TypeError(`Cannot sample: a tokenizer is required, received ${kindOf(tokenizer)}`);
    }
    if (prompts.length === 0) {
      throw new RangeError("Cannot sample: at least one prompt is required, received none");
    }
    if (everySteps !== null && !(Number.isInteger(everySteps) && everySteps >= 1)) {
      throw new RangeError(
        `Cannot sample: everySteps must be an integer of at least 1 or null, received ${everySteps}`,
      );
    }
    const empty = prompts.find((prompt) => tokenizer.encode(prompt).length === 0);
    if (empty !== undefined) {
      throw new RangeError(
        `Cannot sample: a prompt of at least one token is required, received ${JSON.stringify(empty)}`,
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
    const { prompts, tokenizer } = this.#options;
    const most = maxPositionsOf(model) ?? Infinity;
    for (const prompt of prompts) {
      const { length } = tokenizer.encode(prompt);
      if (length < most) continue;
      throw new RangeError(
        `Cannot sample: a prompt of fewer tokens than the ${most} that the model takes is required, received one of ${length}`,
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
      options.maxNewTokens = Math.min(options.maxNewTokens, (maxPositionsOf(model) ?? Infinity) - ids.length);
      const [written] = await generate.call(model, [ids], options);
      samples.push({ step, epoch, prompt, text: tokenizer.decode(written.slice(ids.length)) });
    }
  }
}
