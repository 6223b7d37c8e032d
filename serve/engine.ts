/**
 * A model that answers requests: their prompts, limits and adapters, over one continuous batch.
 * @module
 */

import type { CausalLM, ChatMessage, Tokenizer } from "@peft/webgpu";
import { type BatchedRequest, ContinuousBatch } from "@peft/webgpu/model";
import { AdapterShelf, type ShelvedAdapter } from "./adapter_shelf.ts";
import { ApiError } from "./api_error.ts";
import type { ChatBody, CompletionBody, MessageBody } from "./requests.ts";

/**
 * Limits of a server.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer } from "@peft/webgpu";
 * import { Engine, type Limits } from "@peft/webgpu/serve";
 *
 * const onePerson: Limits = { maxRows: 1, maxWaiting: 4, maxNewTokens: 256, maxChoices: 1, promptCacheBytes: 0 };
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * new Engine(model, tokenizer, "demo", onePerson).dispose();
 * ```
 */
export interface Limits {
  /** Requests that generate at once; the others wait. */
  readonly maxRows: number;
  /** Requests that wait; more are refused with 429. */
  readonly maxWaiting: number;
  /** The most tokens that a request may ask for, and what it gets where it does not say. */
  readonly maxNewTokens: number;
  /** Answers that one request may ask for, prompts times `n`. */
  readonly maxChoices: number;
  /** Bytes on the device that are kept of prompts and answers, for prompts that begin alike; default 128 MiB. */
  readonly promptCacheBytes?: number;
}

/**
 * An answer that was begun.
 *
 * @example
 * ```ts
 * import type { Engine, StartedAnswer } from "@peft/webgpu/serve";
 *
 * // the whole text of an answer, and how many tokens it took
 * async function textOf({ tokenizer }: Engine, { request, promptTokens }: StartedAnswer) {
 *   const ids: number[] = [];
 *   for await (const { id } of request) ids.push(id);
 *   return { text: tokenizer.decode(ids), tokens: promptTokens + ids.length };
 * }
 * ```
 */
export interface StartedAnswer {
  /** Its tokens. */
  readonly request: BatchedRequest;
  /** Number of tokens of its prompt. */
  readonly promptTokens: number;
}

/** What a request asks for, whatever its form. */
interface Asked {
  readonly body: ChatBody | CompletionBody;
  readonly prompts: readonly (readonly number[])[];
  readonly maxTokens: number | null | undefined;
  readonly logProbs: number;
}

/** Characters for each of a model's positions, of which the tokens are counted before a longer text is tokenized whole. */
const LONG_CHARACTERS = 8;
/** How many tokens more the start of a text may have, cut off within a word, than it has in the whole text. */
const CUT_TOKENS = 64;

/**
 * A model, its tokenizer and its adapters, as requests see them.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer } from "@peft/webgpu";
 * import { Engine } from "@peft/webgpu/serve";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const engine = new Engine(model, tokenizer, "demo", {
 *   maxRows: 8,
 *   maxWaiting: 64,
 *   maxNewTokens: 512,
 *   maxChoices: 8,
 * });
 * const [answer] = engine.complete({ model: "demo", prompt: "Once upon", max_tokens: 4 });
 * for await (const { id } of answer.request) console.log(tokenizer.decode([id]));
 * engine.dispose();
 * ```
 */
export class Engine {
  /** The id that requests name the base by. */
  readonly modelId: string;
  /** When it was made, in seconds since 1970. */
  readonly created: number = Math.floor(Date.now() / 1000);
  /** The model's tokenizer. */
  readonly tokenizer: Tokenizer;
  /** Adapters that requests may name. */
  readonly adapters: AdapterShelf;
  readonly #model: CausalLM;
  readonly #limits: Limits;
  readonly #batch: ContinuousBatch;
  readonly #endTokens: readonly number[];
  /** Characters of the longest token, once they were counted. */
  #longestToken: number | undefined;

  /** Puts the model into eval mode. @param modelId what requests call the base */
  constructor(model: CausalLM, tokenizer: Tokenizer, modelId: string, limits: Limits) {
    this.#model = model.eval();
    this.tokenizer = tokenizer;
    this.modelId = modelId;
    this.#limits = limits;
    this.adapters = new AdapterShelf(model);
    this.#batch = new ContinuousBatch(model, {
      maxRows: limits.maxRows,
      promptCacheBytes: limits.promptCacheBytes,
      bindAdapters: this.adapters.bind,
    });
    const { eosTokenId } = tokenizer;
    this.#endTokens = [...new Set([...model.facts.eosTokenIds, ...eosTokenId === null ? [] : [eosTokenId]])];
  }

  /** Answers that are being generated. */
  get running(): number {
    return this.#batch.running;
  }

  /** Answers that wait. */
  get waiting(): number {
    return this.#batch.waiting;
  }

  /** Bytes in use on the device. */
  get deviceBytes(): number {
    return this.#model.device.memory.liveBytes;
  }

  /** Longest prompt and answer together, in tokens. */
  get maxPositions(): number {
    return this.#model.facts.maxPositions;
  }

  /** The adapter that a request's `model` names; null for the base. @throws {ApiError} 404 */
  adapterOf(model: string): ShelvedAdapter | null {
    if (model === this.modelId) return null;
    const adapter = this.adapters.get(model);
    if (adapter) return adapter;
    throw new ApiError(
      404,
      `there is no model or adapter "${model}"; see /v1/models`,
      "model_not_found",
      "model",
    );
  }

  /** Drops an adapter once the requests that use it are done. */
  removeAdapter(id: string): Promise<void> {
    const name = this.adapters.get(id)?.name;
    return this.adapters.remove(id, ({ name }) => !this.#batch.uses(name))
      .then(() => this.#batch.forgetPrompts(name));
  }

  /** Begins the answers of a conversation. @throws {ApiError} for one that cannot be answered */
  chat(body: ChatBody): StartedAnswer[] {
    const { tokenizer } = this;
    if (tokenizer.chatTemplate === null) {
      throw new ApiError(
        400,
        "messages: this model has no chat template; /v1/completions continues texts",
        "no_chat_template",
      );
    }
    const { tools, tool_choice, chat_template_kwargs } = body;
    this.#checkChoices(body, 1);
    const messages = body.messages.map(plainMessage);
    const options = {
      addGenerationPrompt: true,
      ...tools && tools.length > 0 && tool_choice !== "none" ? { tools } : {},
      ...chat_template_kwargs ? { chatTemplateKwargs: chat_template_kwargs } : {},
    };
    let prompt: number[];
    try {
      this.#checkText(tokenizer.applyChatTemplate(messages, { ...options, tokenize: false }));
      prompt = tokenizer.applyChatTemplate(messages, options);
    } catch (error) { // the template refuses an order of roles, say
      if (error instanceof ApiError) throw error;
      throw new ApiError(400, (error as Error).message, "invalid_messages", "messages");
    }
    const maxTokens = body.max_completion_tokens ?? body.max_tokens;
    const logProbs = body.logprobs ? body.top_logprobs ?? 0 : -1;
    return this.#start({ body, prompts: [prompt], maxTokens, logProbs });
  }

  /** Begins the continuations of texts. @throws {ApiError} for a request that cannot be answered */
  complete(body: CompletionBody): StartedAnswer[] {
    const given = body.prompt;
    const list = typeof given === "string"
      ? [given]
      : typeof given[0] === "number"
      ? [given as readonly number[]]
      : given as readonly (string | readonly number[])[];
    this.#checkChoices(body, list.length);
    for (const one of list) if (typeof one === "string") this.#checkText(one);
    const prompts = list.map((one) => typeof one === "string" ? this.tokenizer.encode(one) : one);
    if (prompts.some(({ length }) => length === 0)) {
      throw new ApiError(400, "prompt: a text of at least one token is required", "invalid_value", "prompt");
    }
    return this.#start({ body, prompts, maxTokens: body.max_tokens, logProbs: body.logprobs ?? -1 });
  }

  /** Before prompts are tokenized. @throws {ApiError} 400 for more answers than a request may ask for */
  #checkChoices({ n }: ChatBody | CompletionBody, prompts: number): void {
    const { maxChoices, maxRows, maxWaiting } = this.#limits;
    const most = Math.min(maxChoices, maxRows + maxWaiting);
    const choices = prompts * (n ?? 1);
    if (choices <= most) return;
    throw new ApiError(
      400,
      `n: at most ${most} answers are given to one request, prompts times n; received ${choices}`,
      "too_many_choices",
      "n",
    );
  }

  /**
   * Before it is tokenized, which takes seconds for millions of characters, in which nobody else is served.
   * @throws {ApiError} 400 for a text that is too long for the model whatever its tokens are
   */
  #checkText(text: string): void {
    if (text.length <= this.maxPositions) return; // a character is one token at least where it is rare
    const { tokenizer } = this;
    // One more, as the space before a word is not part of the token's own text everywhere.
    this.#longestToken ??= 1 + Array.from({ length: tokenizer.vocabSize }, (_, id) => tokenizer.decode([id]))
      .reduce((longest, { length }) => Math.max(longest, length), 1);
    const most = this.maxPositions * this.#longestToken;
    const isShort = text.length <= most || text.normalize("NFC").length <= most;
    // The start of a long text has as many tokens as the start of its tokens, but for those at the cut.
    const start = text.slice(0, LONG_CHARACTERS * this.maxPositions);
    if (isShort && (start === text || tokenizer.encode(start).length <= this.maxPositions + CUT_TOKENS)) {
      return;
    }
    throw new ApiError(
      400,
      `this model's maximum context length is ${this.maxPositions} tokens; the request has a text of ${text.length} characters`,
      "context_length_exceeded",
    );
  }

  #start({ body, prompts, maxTokens, logProbs }: Asked): StartedAnswer[] {
    const adapter = this.adapterOf(body.model)?.name ?? null;
    const { maxRows, maxWaiting, maxNewTokens } = this.#limits;
    const n = body.n ?? 1;
    const choices = prompts.length * n;
    const room = maxRows + maxWaiting - this.running - this.waiting;
    if (choices > room) {
      throw new ApiError(
        429,
        `the server is busy: ${this.running} answers are generated and ${this.waiting} wait`,
        "server_busy",
      );
    }
    const limits = prompts.map((prompt) => this.#maxTokens(prompt.length, maxTokens, maxNewTokens));
    const sampling = this.#sampling(body);
    const seed = body.seed === null || body.seed === undefined
      ? Math.floor(Math.random() * 2 ** 48)
      : Math.abs(body.seed);
    const started: StartedAnswer[] = [];
    try {
      for (const [i, prompt] of prompts.entries()) {
        for (let copy = 0; copy < n; copy++) {
          const options = {
            ...{ prompt, adapter, logProbs, eosTokenId: this.#endTokens, maxNewTokens: limits[i] },
            ...sampling,
            seed: Number(BigInt.asUintN(53, BigInt(seed) + BigInt(started.length))),
          };
          started.push({ request: this.#batch.add(options), promptTokens: prompt.length });
        }
      }
    } catch (error) {
      for (const { request } of started) request.cancel();
      if (error instanceof RangeError || error instanceof TypeError) {
        throw new ApiError(400, error.message, "invalid_value");
      }
      throw error;
    }
    return started;
  }

  /** @throws {ApiError} 400 for a prompt that is too long, or more tokens than there is room for */
  #maxTokens(prompt: number, wanted: number | null | undefined, limit: number): number {
    const room = this.maxPositions - prompt;
    if (room < 1 || (wanted ?? 0) > room) {
      throw new ApiError(
        400,
        `this model's maximum context length is ${this.maxPositions} tokens; the request has ${prompt}${
          wanted ? ` and asks for ${wanted} more` : ""
        }`,
        "context_length_exceeded",
      );
    }
    if ((wanted ?? 0) > limit) {
      throw new ApiError(
        400,
        `max_tokens: this server gives at most ${limit}, received ${wanted}`,
        "invalid_value",
        "max_tokens",
      );
    }
    return wanted ?? Math.min(room, limit);
  }

  /** Fields that are not given are those of generation_config.json, else OpenAI's: temperature 1, everything kept. */
  #sampling(body: ChatBody | CompletionBody) {
    const own = this.#model.generationConfig;
    const temperature = body.temperature ?? own.temperature ?? 1;
    return {
      doSample: temperature > 0,
      temperature: temperature > 0 ? temperature : 1,
      topK: temperature > 0 ? Math.max(0, body.top_k ?? own.topK ?? 0) : 0,
      topP: body.top_p ?? own.topP ?? 1,
      minP: body.min_p ?? own.minP ?? 0,
      repetitionPenalty: body.repetition_penalty ?? own.repetitionPenalty ?? 1,
      presencePenalty: body.presence_penalty ?? 0,
    };
  }

  /** Ends every answer and frees the batch's memory; the model stays. */
  dispose(): void {
    this.#batch.dispose();
  }
}

/** A message as templates read it: parts of text joined, OpenAI's name of the system's role as templates have it. */
function plainMessage({ role, content, ...rest }: MessageBody): ChatMessage {
  const text = Array.isArray(content) ? content.map((part) => part.text).join("") : content ?? "";
  return { ...rest, role: role === "developer" ? "system" : role, content: text };
}
