/**
 * A request of a continuous batch: what it asks for, and its tokens as they come.
 * @module
 */

import type { SamplingOptions } from "./sampling.ts";
import type { TokenLogProbs } from "./token_log_probs.ts";

/**
 * Runs forwards in which each row has its own adapter; `null` stands for the base alone.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import { type BoundRows, ContinuousBatch } from "@peft/webgpu/model";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const baseAlone: BoundRows = { run: (step) => step(), dispose() {} };
 * using batch = new ContinuousBatch(model, { bindAdapters: () => baseAlone }); // names are ignored
 * for await (const { id } of batch.add({ prompt: [5, 6], maxNewTokens: 2, adapter: "any" })) console.log(id);
 * ```
 */
export interface BoundRows {
  /** Runs a forward, synchronously. */
  run<T>(step: () => T): T;
  /** Frees what it holds. */
  dispose(): void;
}

/**
 * Binds the rows of a batch to adapters, by their names.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import { type BindRows, ContinuousBatch } from "@peft/webgpu/model";
 * import { bindAdapters } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] }), "pirate").eval();
 * const bind: BindRows = (names) => bindAdapters(model, names);
 * using batch = new ContinuousBatch(base, { bindAdapters: bind });
 * for await (const { id } of batch.add({ prompt: [5, 6], maxNewTokens: 2, adapter: "pirate" })) console.log(id);
 * ```
 */
export type BindRows = (names: readonly (string | null)[]) => BoundRows;

/**
 * What one request asks for.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import { type BatchRequest, ContinuousBatch } from "@peft/webgpu/model";
 *
 * const request: BatchRequest = { prompt: [5, 6], maxNewTokens: 3, doSample: true, temperature: 0.8, seed: 1 };
 * using batch = new ContinuousBatch(await AutoModelForCausalLM.fromPretrained("examples/demo/model"));
 * for await (const { id } of batch.add(request)) console.log(id);
 * ```
 */
export interface BatchRequest extends SamplingOptions {
  /** Token ids, at least one. */
  readonly prompt: readonly number[];
  /** Greatest number of new tokens. */
  readonly maxNewTokens: number;
  /** Tokens that end it; default the configuration's. */
  readonly eosTokenId?: readonly number[];
  /** Seed of sampling; default 0. The same seed gives the same tokens, whatever else is in the batch. */
  readonly seed?: number;
  /** The adapter it goes through; default null, the base alone. */
  readonly adapter?: string | null;
  /** Log-probabilities of each token and of as many of the most likely ones; default none. */
  readonly logProbs?: number;
}

/**
 * A token that was chosen.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import { type BatchedToken, ContinuousBatch } from "@peft/webgpu/model";
 *
 * using batch = new ContinuousBatch(await AutoModelForCausalLM.fromPretrained("examples/demo/model"));
 * const tokens: BatchedToken[] = [];
 * for await (const token of batch.add({ prompt: [5, 6], maxNewTokens: 3, logProbs: 0 })) tokens.push(token);
 * console.log(tokens.map(({ id, logProbs }) => [id, logProbs!.logProb]));
 * ```
 */
export interface BatchedToken {
  /** Its id. */
  readonly id: number;
  /** Its log-probability and those of the most likely tokens, where they were asked for. */
  readonly logProbs?: TokenLogProbs;
}

/**
 * Why a request ended: an end token, its greatest number of tokens, or `cancel()`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import { ContinuousBatch, type EndReason } from "@peft/webgpu/model";
 *
 * const inWords: Record<EndReason, string> = { eos: "finished", length: "cut off", cancelled: "stopped" };
 * using batch = new ContinuousBatch(await AutoModelForCausalLM.fromPretrained("examples/demo/model"));
 * const request = batch.add({ prompt: [5, 6], maxNewTokens: 50 });
 * request.cancel();
 * console.log(inWords[request.endReason!]); // stopped
 * ```
 */
export type EndReason = "eos" | "length" | "cancelled";

/**
 * A request in the batch: an iterator over its tokens, the end token left out.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import { ContinuousBatch } from "@peft/webgpu/model";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * using batch = new ContinuousBatch(model);
 * const request = batch.add({ prompt: [1, 2, 3], maxNewTokens: 4 });
 * for await (const { id } of request) console.log(id);
 * console.log(request.endReason); // "length", or "eos"
 * ```
 */
export class BatchedRequest implements AsyncIterable<BatchedToken> {
  /** Why it ended; null while it runs. */
  endReason: EndReason | null = null;
  readonly #tokens: BatchedToken[] = [];
  readonly #onCancel: () => void;
  #error: unknown;
  #isOver = false;
  #wake: (() => void) | null = null;

  /** @internal Made by `ContinuousBatch.add`. */
  constructor(onCancel: () => void) {
    this.#onCancel = onCancel;
  }

  /** Ends it: its row leaves the batch before the next step. Tokens that were chosen can still be read. */
  cancel(): void {
    if (this.#isOver) return;
    this.#onCancel();
    this.end("cancelled");
  }

  /** @internal */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** @internal */
  push(token: BatchedToken): void {
    if (this.#isOver) return;
    this.#tokens.push(token);
    this.#wake?.();
  }

  /** @internal */
  end(reason: EndReason): void {
    if (this.#isOver) return;
    this.endReason = reason;
    this.#isOver = true;
    this.#wake?.();
  }

  /** @internal */
  fail(error: unknown): void {
    if (this.#isOver) return;
    this.#error = error;
    this.#isOver = true;
    this.#wake?.();
  }

  /** Tokens as they are chosen. @throws what ended it before its time: numbers that are not finite, a lost device */
  async *[Symbol.asyncIterator](): AsyncGenerator<BatchedToken, void> {
    for (let at = 0;;) {
      while (at < this.#tokens.length) yield this.#tokens[at++];
      if (this.#error !== undefined) throw this.#error;
      if (this.#isOver) return;
      await new Promise<void>((resolve) => this.#wake = resolve);
      this.#wake = null;
    }
  }
}
