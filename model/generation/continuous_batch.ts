/**
 * Continuous batching (Yu et al. 2022, Orca; `transformers`' `ContinuousBatchingManager`): requests that come and go share
 * each step of the device. A prompt is computed alone, piece by piece, between the steps of those that generate already.
 * @module
 */

import { empty, noGrad, type Tensor, tidy, TokenSampler, untracked } from "../../autograd/mod.ts";
import { inEvalMode } from "../../nn/mod.ts";
import { keyValueSize } from "../facts.ts";
import { computePrompts } from "./batch_prefill.ts";
import { BatchedRequest, type BatchRequest, type BindRows, type BoundRows } from "./batched_request.ts";
import type { GenerativeModel } from "./decode.ts";
import { PromptCache } from "./prompt_cache.ts";
import { resolveSampling } from "./sampling.ts";
import { SharedCache } from "./shared_cache.ts";
import {
  type Choices,
  chooseTokens,
  type Flight,
  giveTokens,
  readTokens,
  type Row,
  type WaitingRow,
} from "./batch_tokens.ts";

/**
 * What a batch is made of.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import { ContinuousBatch, type ContinuousBatchOptions } from "@peft/webgpu/model";
 *
 * const options: ContinuousBatchOptions = { maxRows: 2, promptCacheBytes: 0 };
 * using batch = new ContinuousBatch(await AutoModelForCausalLM.fromPretrained("examples/demo/model"), options);
 * for (const prompt of [[5], [6], [7]]) batch.add({ prompt, maxNewTokens: 2 });
 * console.log(batch.running + batch.waiting); // 3, of which two generate at once
 * ```
 */
export interface ContinuousBatchOptions {
  /** Requests that generate at once; default 32. The others wait. */
  maxRows?: number;
  /** Tokens of prompts that are computed between two steps of the others; default 256. */
  prefillTokens?: number;
  /**
   * Bytes of keys and values that are kept of prompts and answers, so that prompts which begin alike are computed from where
   * they differ; default 128 MiB, 0 for none. Call `forgetPrompts()` after weights change.
   */
  promptCacheBytes?: number;
  /** Binds rows to adapters: see `bindAdapters`. Default: requests name none. */
  bindAdapters?: BindRows;
}

/** Milliseconds that the tokens of one readback should take, as in `decode()`. */
const BLOCK_MS = 50;
/** Greatest number of tokens per readback. */
const MAX_BLOCK = 16;

/**
 * A model that serves many requests at once; one after another where rotary embeddings of rope_type "dynamic" would make an
 * answer depend on its neighbours.
 *
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer } from "@peft/webgpu";
 * import { ContinuousBatch } from "@peft/webgpu/model";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * using batch = new ContinuousBatch(model);
 * const answers = ["Once upon", "A cat sat"].map(async (text) => {
 *   const ids: number[] = [];
 *   for await (const { id } of batch.add({ prompt: tokenizer.encode(text), maxNewTokens: 8 })) ids.push(id);
 *   return tokenizer.decode(ids);
 * });
 * console.log(await Promise.all(answers));
 * ```
 */
export class ContinuousBatch {
  readonly #model: GenerativeModel;
  readonly #maxRows: number;
  readonly #prefillTokens: number;
  readonly #bind: BindRows;
  readonly #cache: SharedCache;
  readonly #prompts: PromptCache;
  readonly #waiting: WaitingRow[] = [];
  /** Those whose prompt is computed now, and those that generate, in the order of the cache's rows. */
  readonly #prefilling: Row[] = [];
  readonly #rows: Row[] = [];
  #bound: { readonly key: string; readonly rows: BoundRows } | null = null;
  #running: Promise<void> | null = null;
  #closed = false;

  /** An empty batch. @param model a model; its adapters come by `bindAdapters` */
  constructor(model: GenerativeModel, options: ContinuousBatchOptions = {}) {
    const { maxRows = 32, prefillTokens = 256, promptCacheBytes = 2 ** 27, bindAdapters = unbound } = options;
    for (const [name, value] of Object.entries({ maxRows, prefillTokens })) {
      if (Number.isInteger(value) && value > 0) continue;
      throw new RangeError(`Cannot make a batch: ${name} must be a positive integer, received ${value}`);
    }
    this.#model = model;
    const { facts } = model;
    const isAlone = facts.hasDynamicPositions === true; // its rotations follow the longest row, and the longest prompt
    this.#maxRows = isAlone ? 1 : maxRows;
    this.#prefillTokens = isAlone ? facts.maxPositions : prefillTokens;
    this.#bind = bindAdapters;
    this.#cache = new SharedCache(model, model.device);
    this.#prompts = new PromptCache(
      model,
      isAlone ? 0 : promptCacheBytes,
      facts.numLayers * keyValueSize(facts) * 4,
    );
  }

  /** Requests that generate or whose prompt is being computed. */
  get running(): number {
    return this.#rows.length + this.#prefilling.length;
  }

  /** Requests that wait for a row. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Whether a request of this adapter is in the batch, or waits; one that ended is, until its row has left. */
  uses(adapter: string): boolean {
    return this.#all().some(({ request }) => request.adapter === adapter);
  }

  /**
   * Adds a request, which starts as soon as a row is free.
   * @throws {RangeError} for options out of range, or more tokens than the model has positions for
   * @throws {TypeError} for a prompt without tokens
   */
  add(request: BatchRequest): BatchedRequest {
    if (this.#closed) throw new TypeError("Cannot add a request: the batch was disposed");
    const { facts, device } = this.#model;
    const { prompt, maxNewTokens, seed = 0, adapter = null, logProbs = -1 } = request;
    if (!Array.isArray(prompt) || prompt.length === 0) {
      throw new TypeError("Cannot add a request: a prompt of at least one token is required");
    }
    const strange = prompt.find((id) => !Number.isInteger(id) || id < 0 || id >= facts.vocabSize);
    if (strange !== undefined) {
      throw new RangeError(
        `Cannot add a request: token ids from 0 to ${facts.vocabSize - 1} are required, received ${strange}`,
      );
    }
    if (!Number.isInteger(maxNewTokens) || maxNewTokens < 1) {
      throw new RangeError(
        `Cannot add a request: maxNewTokens must be a positive integer, received ${maxNewTokens}`,
      );
    }
    if (prompt.length + maxNewTokens > facts.maxPositions) {
      throw new RangeError(
        `Cannot generate ${maxNewTokens} tokens after ${prompt.length}: ${facts.maxPositionsKey} ${facts.maxPositions} allows ${
          Math.max(0, facts.maxPositions - prompt.length)
        }`,
      );
    }
    if (!this.#cache.fitsBinding(1, prompt.length + maxNewTokens)) {
      throw new RangeError(
        `Cannot generate ${maxNewTokens} tokens after ${prompt.length} on "${device.adapterName}": their keys or values of a layer are larger than one binding of the device`,
      );
    }
    const eosTokenId = request.eosTokenId ?? facts.eosTokenIds;
    const row: WaitingRow = {
      request: { prompt, maxNewTokens, seed, adapter, logProbs, eosTokenId },
      handle: new BatchedRequest(() => this.#drop(row)),
      sampling: resolveSampling(request),
    };
    this.#waiting.push(row);
    this.#running ??= this.#run();
    return row.handle;
  }

  /** What a request needs on the device. */
  #open(row: WaitingRow): Row {
    const { request: { prompt, maxNewTokens, eosTokenId, seed }, sampling } = row;
    const sampler = new TokenSampler(this.#model.device, {
      ...sampling,
      prompts: [prompt],
      vocabSize: this.#model.facts.vocabSize,
      maxSteps: maxNewTokens,
      endTokens: eosTokenId,
      padToken: 0,
      seed,
    });
    return { ...row, sampler, cache: null, taken: [] };
  }

  /** A request that is given up while it waits leaves at once; one that runs leaves between two steps. */
  #drop(row: WaitingRow): void {
    const at = this.#waiting.indexOf(row);
    if (at >= 0) this.#waiting.splice(at, 1);
  }

  /** One turn after another, each recorded while the device works on the one before. */
  async #run(): Promise<void> {
    await Promise.resolve(); // requests of one turn begin together
    let flight: Flight | null = null;
    let block = 1;
    let arrived = Infinity;
    try {
      while (flight || this.#waiting.length + this.running > 0) {
        const steps = this.#prefilling.length + this.#waiting.length > 0 ? 1 : block;
        const next = this.#turn(steps);
        await Promise.resolve(); // what was recorded is submitted before more is
        if (flight) {
          giveTokens(flight.choices, await flight.read);
          const now = performance.now();
          const tokenMs = (now - arrived) / steps;
          if (tokenMs > 0) block = Math.max(1, Math.min(MAX_BLOCK, Math.round(BLOCK_MS / tokenMs)));
          arrived = now;
        }
        flight = next;
      }
    } catch (error) {
      await flight?.read.catch(() => {}); // what is being read must not be freed
      for (const row of this.#all()) row.handle.fail(error);
    } finally {
      for (const row of [...this.#prefilling, ...this.#rows]) this.#free(row);
      this.#waiting.length = this.#prefilling.length = this.#rows.length = 0;
      this.#cache.dispose();
      this.#bound?.rows.dispose();
      this.#bound = null;
      this.#running = null;
      if (this.#closed) this.#prompts.clear();
    }
  }

  #all(): WaitingRow[] {
    return [...this.#waiting, ...this.#prefilling, ...this.#rows];
  }

  #free({ sampler, cache }: Row): void {
    sampler.dispose();
    cache?.dispose();
  }

  /** Records a turn's work, and asks for its tokens; null where nothing is left to do. */
  #turn(steps: number): Flight | null {
    const choices: Choices[] = [];
    return inEvalMode(() =>
      noGrad(() =>
        untracked(() => {
          this.#leave();
          this.#admit();
          this.#prefill(choices);
          this.#decode(steps, choices);
          return this.running === 0 && choices.length === 0 ? null : readTokens(this.#model.device, choices);
        })
      )
    );
  }

  /** Rows that ended, or whose last token is on its way, make place for others. */
  #leave(): void {
    const isDone = ({ handle, sampler, request }: Row) =>
      handle.isOver || sampler.steps === request.maxNewTokens;
    for (let at = this.#rows.length - 1; at >= 0; at--) {
      const row = this.#rows[at];
      if (!isDone(row)) continue;
      const ids = [...row.request.prompt, ...row.taken].slice(0, this.#cache.lengths[at]);
      this.#prompts.keep(
        row.request.adapter,
        ids,
        this.#cache,
        at,
        this.#cache.length - this.#cache.lengths[at],
      );
      this.#cache.leave(at);
      const last = this.#rows.pop()!;
      if (at < this.#rows.length) this.#rows[at] = last;
      this.#free(row);
    }
    for (const row of this.#prefilling.filter(isDone)) this.#dropPrefilling(row);
  }

  #dropPrefilling(row: Row): void {
    this.#prefilling.splice(this.#prefilling.indexOf(row), 1);
    this.#free(row);
  }

  /** Requests that waited longest get the rows that are free, as far as their cache lies within one binding. */
  #admit(): void {
    const longest = ({ request: { prompt, maxNewTokens } }: WaitingRow) => prompt.length + maxNewTokens;
    while (this.#waiting.length > 0 && this.running < this.#maxRows) {
      const tokens = Math.max(...[...this.#prefilling, ...this.#rows, this.#waiting[0]].map(longest));
      if (this.running > 0 && !this.#cache.fitsBinding(this.running + 1, tokens)) return;
      this.#prefilling.push(this.#open(this.#waiting.shift()!));
    }
  }

  /** Computes prompts, until `prefillTokens` are done; one that is complete chooses its first token and joins the others. */
  #prefill(choices: Choices[]): void {
    let left = this.#prefillTokens;
    for (const row of [...this.#prefilling]) {
      try {
        const bound = this.#bind([row.request.adapter]);
        bound.run(() => {}); // fails for an adapter that is gone, which is nobody else's business
        bound.dispose();
      } catch (error) {
        row.handle.fail(error);
        this.#dropPrefilling(row);
      }
    }
    while (left > 0 && this.#prefilling.length > 0) {
      const computed = computePrompts(this.#model, this.#prefilling, left, this.#prompts, this.#bind);
      const { complete, cache, logits, count } = computed;
      left -= count;
      if (complete.length > 0) {
        chooseTokens(this.#model, complete, logits, choices);
        complete.forEach((row, i) => {
          const { prompt, adapter } = row.request;
          this.#prompts.keep(adapter, prompt, cache, i, cache.length - prompt.length);
          this.#cache.join(cache, i, prompt.length);
          this.#rows.push(row);
          row.cache = null;
        });
        this.#prefilling.splice(0, complete.length);
        cache.dispose();
      }
      logits.dispose();
    }
  }

  /** Up to `most` steps of all rows; fewer where one of them has its last token sooner. */
  #decode(most: number, choices: Choices[]): void {
    if (this.#rows.length === 0) return;
    const left = this.#rows.map(({ request, sampler }) => request.maxNewTokens - sampler.steps);
    const steps = Math.min(most, ...left);
    for (let step = 0; step < steps; step++) {
      this.#cache.extend();
      const logits = this.#bindRows().run(() =>
        tidy(() =>
          this.#model.lastLogits({
            inputIds: this.#lastTokens(),
            attentionMask: this.#cache.mask(),
            positionIds: this.#cache.lengths.map((length) => [length]),
            pastKeyValues: this.#cache,
          })
        )
      );
      this.#cache.grow();
      chooseTokens(this.#model, this.#rows, logits, choices);
      logits.dispose();
    }
  }

  /** The last token of every row, int32 [B, 1]. */
  #lastTokens(): Tensor {
    const { device } = this.#model;
    const ids = empty(device, [this.#rows.length, 1], "int32");
    this.#rows.forEach(({ sampler }, i) => device.copy(sampler.next.view, ids.window(i * 4, 4)));
    return ids;
  }

  #bindRows(): BoundRows {
    const names = this.#rows.map(({ request }) => request.adapter);
    const key = JSON.stringify(names);
    if (this.#bound?.key !== key) {
      this.#bound?.rows.dispose();
      this.#bound = null;
      this.#bound = { key, rows: this.#bind(names) };
    }
    return this.#bound.rows;
  }

  /**
   * Forgets what is kept of prompts and answers: needed after weights change.
   * @param adapter of this adapter's requests alone, or null for the base's; default of all
   */
  forgetPrompts(adapter?: string | null): void {
    this.#prompts.clear(adapter);
  }

  /** Ends every request and frees the memory once the device is done with what it has. */
  dispose(): void {
    this.#closed = true;
    for (const { handle } of this.#all()) handle.cancel();
    if (!this.#running) this.#prompts.clear();
  }

  /** `using` disposes it at the end of the block. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}

function unbound(names: readonly (string | null)[]): BoundRows {
  const named = names.find((name) => name !== null);
  if (named !== undefined) {
    throw new RangeError(`Cannot run a request through adapter "${named}": the batch has no adapters`);
  }
  return { run: (step) => step(), dispose() {} };
}
