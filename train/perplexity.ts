/**
 * Perplexity of a long text in overlapping windows ("Perplexity of fixed-length models" in the guide of
 * `transformers`): with a stride below the window, every token is predicted from more context.
 * @module
 */

import { noGrad, readAndDispose, tidy } from "../autograd/mod.ts";
import { checkOptions } from "../options/names.ts";
import { evaluating } from "./evaluate.ts";
import { kindOf } from "../options/kinds.ts";
import type { Batch } from "./data/data_loader.ts";
import { checkModel, forwardWithLoss, maxPositionsOf, type TrainableModel } from "./trainable_model.ts";

/**
 * Options of `evaluatePerplexity`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer } from "@peft/webgpu";
 * import { evaluatePerplexity, type PerplexityOptions } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const tokens = tokenizer.encode("Once upon a time there was a dog. The dog was happy.");
 * const exact: PerplexityOptions = { maxLength: 16, stride: 1 }; // every token after as many others as there are, up to 15
 * console.log((await evaluatePerplexity(model, tokens, exact)).perplexity.toFixed(2));
 * ```
 */
export interface PerplexityOptions {
  /** Tokens that a window moves on; default half of `maxLength`. */
  stride?: number;
  /** Tokens of a window; default what the model takes, or 1,024 where that is unknown. */
  maxLength?: number;
  /** Windows at a time; default 1. */
  batchSize?: number;
}

/**
 * Result of `evaluatePerplexity`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer } from "@peft/webgpu";
 * import { evaluatePerplexity, type PerplexityOutput } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const text = "Once upon a time there was a dog.";
 * const { loss, tokens }: PerplexityOutput = await evaluatePerplexity(model, tokenizer.encode(text));
 * console.log(`${(loss * tokens / Math.LN2 / text.length).toFixed(2)} bits per character`); // whatever the tokenizer
 * ```
 */
export interface PerplexityOutput {
  /** exp(loss) */
  readonly perplexity: number;
  /** Mean negative log-likelihood of the tokens, natural logarithm. */
  readonly loss: number;
  /** Tokens that were predicted: all but the first. */
  readonly tokens: number;
}

/** One window and its labels. */
interface Window {
  readonly inputIds: number[];
  readonly labels: number[];
  readonly counted: number;
}

/** Windows of `maxLength` tokens; each token is a label in the first window that it is in. */
function windowsOf(tokens: readonly number[], stride: number, maxLength: number): Window[] {
  const windows: Window[] = [];
  let seen = 1; // nothing predicts the first
  for (let begin = 0; seen < tokens.length; begin += stride) {
    const end = Math.min(begin + maxLength, tokens.length);
    const inputIds = tokens.slice(begin, end);
    const labels = inputIds.map((id, i) => begin + i >= seen ? id : -100);
    windows.push({ inputIds, labels, counted: end - seen });
    seen = end;
  }
  return windows;
}

/** Tokens as an array. @throws {TypeError} for anything else, such as a text */
function tokensOf(given: unknown): number[] {
  const isTyped = ArrayBuffer.isView(given) && !(given instanceof DataView);
  const tokens = isTyped || Array.isArray(given) ? Array.from(given as ArrayLike<unknown>, Number) : null;
  if (tokens?.every(Number.isInteger)) return tokens;
  const received = tokens
    ? `${(given as ArrayLike<unknown>)[tokens.findIndex((id) => !Number.isInteger(id))]}`
    : kindOf(given);
  throw new TypeError(
    `Cannot evaluate perplexity: token ids, such as tokenizer.encode(text), are required, received ${received}`,
  );
}

/**
 * The perplexity of `tokens` under a model, each token counting once, predicted from at least `maxLength - stride` tokens
 * before it (fewer at the beginning of the text). In eval mode. (The guide weighs windows by one label less than they
 * have; this is the exact mean.)
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer } from "@peft/webgpu";
 * import { evaluatePerplexity } from "@peft/webgpu/train";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const lines = (await Deno.readTextFile("examples/demo/data/pirate_held_out.jsonl")).trim().split("\n");
 * const tokens = tokenizer.encode(lines.map((line) => JSON.parse(line).text).join("\n"));
 * const { perplexity } = await evaluatePerplexity(model, tokens, { stride: 64 });
 * console.log(perplexity.toFixed(1)); // of stories that it has not learned
 * ```
 * @param tokens ids of the text: an array, or a typed array such as Int32Array
 * @throws {RangeError} for fewer than two tokens, and for a stride that is not from 1 to maxLength - 1
 * @throws {TypeError} for what is no model, and for a text in place of its tokens
 */
export async function evaluatePerplexity(
  model: TrainableModel,
  tokens: ArrayLike<number>,
  options: PerplexityOptions = {},
): Promise<PerplexityOutput> {
  checkModel("evaluate perplexity", model);
  checkOptions("evaluate perplexity", options, ["stride", "maxLength", "batchSize"]);
  const { maxLength = Math.min(1024, maxPositionsOf(model) ?? 1024), batchSize = 1 } = options;
  const { stride = Math.ceil(maxLength / 2) } = options;
  const check = (name: string, value: number, low: number, high: number) => {
    if (Number.isInteger(value) && value >= low && value <= high) return;
    throw new RangeError(
      `Cannot evaluate perplexity: ${name} must be an integer from ${low} to ${high}, received ${value}`,
    );
  };
  check("maxLength", maxLength, 2, 2 ** 20);
  check("stride", stride, 1, maxLength - 1);
  check("batchSize", batchSize, 1, 65536);
  const ids = tokensOf(tokens);
  if (ids.length < 2) {
    throw new RangeError(
      `Cannot evaluate perplexity: at least two tokens are required, received ${ids.length}`,
    );
  }
  const windows = windowsOf(ids, stride, maxLength);
  let sum = 0;
  for (let at = 0; at < windows.length;) {
    // all but the last are of one length
    const size = windows[at].inputIds.length;
    const rows = windows.slice(at, at + batchSize).filter(({ inputIds }) => inputIds.length === size);
    const batch: Batch = {
      inputIds: rows.map(({ inputIds }) => inputIds),
      labels: rows.map(({ labels }) => labels),
    };
    const items = rows.reduce((count, { counted }) => count + counted, 0);
    const loss = evaluating(
      model,
      () => tidy(() => noGrad(() => forwardWithLoss(model, batch, items).loss.detach())),
    );
    const [mean] = await readAndDispose(loss);
    sum += mean * items;
    at += rows.length;
  }
  const loss = sum / (ids.length - 1);
  return { perplexity: Math.exp(loss), loss, tokens: ids.length - 1 };
}
