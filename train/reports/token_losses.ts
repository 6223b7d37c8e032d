/**
 * What each token of an example costs, at every evaluation of a run.
 * @module
 */

import { noGrad, readAndDispose, tidy } from "../../autograd/mod.ts";
import type { Dataset, Example } from "../data/example.ts";
import { evaluating } from "../evaluate.ts";
import type { TrainableModel } from "../trainable_model.ts";
import type { CallbackExtra, TrainerCallback, TrainerControl, TrainerState } from "../trainer_state.ts";
import type { TrainingArguments } from "../training_arguments.ts";
import type { RunLog } from "./run_log.ts";

/** Tokens of an example that are shown. */
const MOST_TOKENS = 256;

/**
 * A token and what it costs.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer } from "@peft/webgpu";
 * import { type TokenLoss, tokenLosses } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const inputIds = tokenizer.encode("Once upon a time there was a pirate.");
 * const losses = await tokenLosses(model, { inputIds }, (ids) => tokenizer.decode(ids));
 * const byLoss = (a: TokenLoss, b: TokenLoss) => (b.loss ?? 0) - (a.loss ?? 0);
 * console.log(losses.sort(byLoss)[0].text); // what surprised the model most
 * ```
 */
export interface TokenLoss {
  /** Its text; empty where the next token ends the same character. */
  readonly text: string;
  /** Its loss in nats; null for one that is not learned. */
  readonly loss: number | null;
}

/**
 * The loss of each token of an example, in eval mode.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer } from "@peft/webgpu";
 * import { tokenLosses } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const inputIds = tokenizer.encode("Once upon a time");
 * for (const { text, loss } of await tokenLosses(model, { inputIds }, (ids) => tokenizer.decode(ids))) console.log(text, loss);
 * ```
 * @throws {TypeError} for a model that gives no log-probabilities
 */
export async function tokenLosses(
  model: TrainableModel,
  { inputIds, labels = inputIds }: Example,
  decode: (ids: number[]) => string,
): Promise<TokenLoss[]> {
  const ids = inputIds.slice(0, MOST_TOKENS);
  const targets = ids.map((_, t) => t > 0 ? labels[t] : -100);
  let logProbs: ArrayLike<number> | null = null;
  if (targets.some((label) => label !== -100)) {
    const batch = { inputIds: [[...ids]], labels: [targets], numItemsInBatch: 1, logProbs: true };
    const found = evaluating(model, () => tidy(() => noGrad(() => model.forward(batch).logProbs?.detach())));
    if (!found) {
      throw new TypeError(
        "Cannot show losses of tokens: the model's forward() must return logProbs, received none",
      );
    }
    logProbs = await readAndDispose(found);
  }
  // Position t predicts token t + 1; virtual tokens come before the first.
  const offset = (logProbs?.length ?? 0) - ids.length;
  let before = "";
  return ids.map((_, t) => {
    const whole = decode(ids.slice(0, t + 1));
    const text = whole.endsWith("\ufffd") ? "" : whole.slice(before.length);
    if (text !== "") before = whole;
    return { text, loss: targets[t] === -100 ? null : -logProbs![offset + t - 1] };
  });
}

/**
 * Notes the losses of the first example's tokens in a run log at every evaluation.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, TextDataset, Trainer } from "@peft/webgpu";
 * import { RunLog, TokenLossSamples } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const dataset = TextDataset.fromTexts(["Once upon a time there was a dog."], tokenizer, { blockSize: 8 });
 * const log = new RunLog({ folder: "out/losses" });
 * const callbacks = [log, new TokenLossSamples(log, dataset, tokenizer)];
 * const args = { maxSteps: 2, evalStrategy: "steps", evalSteps: 1, reportTo: "none" } as const;
 * await new Trainer({ model, trainDataset: dataset, evalDataset: dataset, callbacks, args }).train();
 * ```
 */
export class TokenLossSamples implements TrainerCallback {
  readonly #log: RunLog;
  readonly #dataset: Dataset;
  readonly #decode: (ids: number[]) => string;

  /** Computes nothing yet. */
  constructor(log: RunLog, dataset: Dataset, tokenizer: { decode(ids: number[]): string }) {
    this.#log = log;
    this.#dataset = dataset;
    this.#decode = (ids) => tokenizer.decode(ids);
  }

  /** Computes and notes them. */
  async note(model: TrainableModel, step: number): Promise<void> {
    const example = await this.#dataset.at(0);
    if (!example) return;
    await this.#log.note("sample", step, { tokens: await tokenLosses(model, example, this.#decode) });
  }

  /** Does so. */
  async onEvaluate(
    _args: TrainingArguments,
    { globalStep }: Readonly<TrainerState>,
    _control: TrainerControl,
    { model }: CallbackExtra,
  ): Promise<void> {
    await this.note(model, globalStep);
  }
}
