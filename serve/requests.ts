/**
 * Bodies of requests, checked whole before anything is done: `/v1/chat/completions` and `/v1/completions` of OpenAI's
 * interface, with vLLM's names for what it lacks (`top_k`, `min_p`, `repetition_penalty`).
 * @module
 */

import * as v from "valibot";
import { ApiError } from "./api_error.ts";

/**
 * Fields of both kinds of requests, checked; null and undefined: not given.
 *
 * @example
 * ```ts
 * import type { CommonBody, CompletionBody } from "@peft/webgpu/serve";
 *
 * const repeatable: CommonBody = { model: "pirate", temperature: 0.8, top_p: 0.95, max_tokens: 128, seed: 1 };
 * const body: CompletionBody = { ...repeatable, prompt: "The sea" };
 * console.log(JSON.stringify(body));
 * ```
 */
export interface CommonBody {
  /** Id of the base, or name of an adapter. */
  readonly model: string;
  /** Tokens of an answer at most; default the server's greatest. */
  readonly max_tokens?: number | null;
  /** Divides the logits; 0: greedy. Default the model's own, else 1. */
  readonly temperature?: number | null;
  /** Mass of the tokens to sample from. */
  readonly top_p?: number | null;
  /** Number of tokens to sample from; 0 and -1: all. */
  readonly top_k?: number | null;
  /** Least probability, as a part of the greatest one. */
  readonly min_p?: number | null;
  /** Subtracted once from the logits of every token that was generated. */
  readonly presence_penalty?: number | null;
  /** Above 1, tokens that occurred become less likely. */
  readonly repetition_penalty?: number | null;
  /** Answers to each prompt. */
  readonly n?: number | null;
  /** Texts that end an answer, and are not part of it. */
  readonly stop?: string | readonly string[] | null;
  /** Repeats a sampled answer; default a random one. */
  readonly seed?: number | null;
  /** Whether the answer comes as events. */
  readonly stream?: boolean | null;
  /** Whether the last event has the usage. */
  readonly stream_options?: { readonly include_usage?: boolean | null } | null;
}

/**
 * A message of a conversation.
 *
 * @example
 * ```ts
 * import type { MessageBody } from "@peft/webgpu/serve";
 *
 * const conversation: MessageBody[] = [
 *   { role: "system", content: "You are a pirate." },
 *   { role: "user", content: [{ type: "text", text: "Where is the gold?" }] },
 * ];
 * console.log(conversation.map(({ role }) => role)); // [ "system", "user" ]
 * ```
 */
export interface MessageBody {
  /** Who speaks; "developer" is read as "system". */
  readonly role: "system" | "developer" | "user" | "assistant" | "tool";
  /** What is said, as text or as parts of text. */
  readonly content?: string | readonly { readonly type: "text"; readonly text: string }[] | null;
  /** Other fields, which are the template's. */
  readonly [field: string]: unknown;
}

/**
 * A body of `/v1/chat/completions`.
 *
 * @example
 * ```ts
 * import type { ChatBody } from "@peft/webgpu/serve";
 *
 * // asks a server that `./run serve` started
 * async function ask(question: string): Promise<string> {
 *   const request: ChatBody = { model: "pirate", messages: [{ role: "user", content: question }], max_tokens: 64 };
 *   const init = { method: "POST", body: JSON.stringify(request) };
 *   const answer = await fetch("http://localhost:8080/v1/chat/completions", init);
 *   return (await answer.json()).choices[0].message.content;
 * }
 * ```
 */
export interface ChatBody extends CommonBody {
  /** The conversation so far. */
  readonly messages: readonly MessageBody[];
  /** The newer name of `max_tokens`. */
  readonly max_completion_tokens?: number | null;
  /** Functions that the template shows the model. */
  readonly tools?: readonly object[] | null;
  /** "none" hides the tools. */
  readonly tool_choice?: "none" | "auto" | null;
  /** Whether each token comes with its log-probability. */
  readonly logprobs?: boolean | null;
  /** Most likely tokens that are listed with each token. */
  readonly top_logprobs?: number | null;
  /** Variables of the template. */
  readonly chat_template_kwargs?: Readonly<Record<string, unknown>> | null;
}

/**
 * A body of `/v1/completions`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer } from "@peft/webgpu";
 * import { type CompletionBody, Engine } from "@peft/webgpu/serve";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const engine = new Engine(model, tokenizer, "demo", { maxRows: 4, maxWaiting: 4, maxNewTokens: 8, maxChoices: 4 });
 * const body: CompletionBody = { model: "demo", prompt: ["Once upon", "One day"], n: 2, max_tokens: 1 };
 * console.log(engine.complete(body).length); // 4: two answers to each of two prompts
 * engine.dispose();
 * ```
 */
export interface CompletionBody extends CommonBody {
  /** Texts or token ids to continue. */
  readonly prompt: string | readonly string[] | readonly number[] | readonly (readonly number[])[];
  /** Most likely tokens that are listed with each token, whose log-probability comes with it; default: none does. */
  readonly logprobs?: number | null;
}

const count = (low: number, high: number) =>
  v.pipe(v.number(), v.integer(), v.minValue(low), v.maxValue(high));
const between = (low: number, high: number) => v.pipe(v.number(), v.minValue(low), v.maxValue(high));
/** A field that may be absent or null. */
const maybe = <const Schema extends v.GenericSchema>(schema: Schema) => v.nullish(schema);

const STOPS = "a text or up to 16 texts are required, none of them empty";

/** Fields that both kinds of requests have. */
const COMMON = {
  model: v.pipe(v.string(), v.nonEmpty("the id of a model or adapter is required")),
  max_tokens: maybe(count(1, 1e9)),
  temperature: maybe(between(0, 2)),
  top_p: maybe(v.pipe(v.number(), v.gtValue(0), v.maxValue(1))),
  top_k: maybe(count(-1, 1e9)),
  min_p: maybe(between(0, 1)),
  presence_penalty: maybe(between(-2, 2)),
  repetition_penalty: maybe(between(1e-6, 1e6)), // finite logits stay finite
  n: maybe(count(1, 128)),
  stop: maybe(v.union(
    [
      v.pipe(v.string(), v.nonEmpty(STOPS)),
      v.pipe(v.array(v.pipe(v.string(), v.nonEmpty(STOPS))), v.maxLength(16, STOPS)),
    ],
    STOPS,
  )),
  seed: maybe(count(-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)),
  stream: maybe(v.boolean()),
  stream_options: maybe(v.looseObject({ include_usage: maybe(v.boolean()) })),
};

const textPart = v.looseObject({
  type: v.literal("text", "only parts of type text are taken"),
  text: v.string(),
});
const message = v.looseObject({
  role: v.picklist(["system", "developer", "user", "assistant", "tool"]),
  content: maybe(v.union([v.string(), v.array(textPart)], "a text, or parts of type text, are required")),
});

const chatSchema = v.looseObject({
  ...COMMON,
  messages: v.pipe(v.array(message), v.nonEmpty("at least one message is required")),
  max_completion_tokens: maybe(count(1, 1e9)),
  tools: maybe(
    v.array(v.looseObject({ type: v.literal("function"), function: v.looseObject({ name: v.string() }) })),
  ),
  tool_choice: maybe(
    v.picklist(["none", "auto"], "none or auto is required: nothing forces a model to call a tool here"),
  ),
  logprobs: maybe(v.boolean()),
  top_logprobs: maybe(count(0, 20)),
  chat_template_kwargs: maybe(v.record(v.string(), v.unknown())),
});

const ids = v.pipe(v.array(count(0, 1e9)), v.nonEmpty("at least one token is required"));
const completionSchema = v.looseObject({
  ...COMMON,
  prompt: v.union([
    v.string(),
    v.pipe(v.array(v.string()), v.nonEmpty(), v.maxLength(128)),
    ids,
    v.pipe(v.array(ids), v.nonEmpty(), v.maxLength(128)),
  ], "a text, texts, token ids, or lists of token ids are required"),
  logprobs: maybe(count(0, 20)),
});

/** Fields that would change the answer and are not there, with the values that change nothing. */
const ABSENT: Readonly<Record<string, readonly unknown[]>> = {
  frequency_penalty: [0],
  logit_bias: [],
  response_format: [],
  audio: [],
  modalities: [],
  functions: [],
  function_call: [],
  suffix: [""],
  echo: [false],
  best_of: [1],
};

/** Whether a value of a field that is not there asks for nothing. */
function asksNothing(name: string, value: unknown): boolean {
  if (value === undefined || value === null || ABSENT[name].includes(value)) return true;
  if (name === "logit_bias") return typeof value === "object" && Object.keys(value).length === 0;
  if (name === "response_format") return (value as { type?: unknown }).type === "text";
  if (name === "modalities") return Array.isArray(value) && value.join() === "text";
  return false;
}

/** What a schema says of a body. @throws {ApiError} 400 */
function check<const Schema extends v.GenericSchema>(schema: Schema, body: unknown): v.InferOutput<Schema> {
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw new ApiError(400, "the body must be a JSON object", "invalid_value");
  }
  const result = v.safeParse(schema, body, { abortEarly: true });
  if (!result.success) {
    const [issue] = result.issues;
    const param = v.getDotPath(issue);
    const message = param !== null && issue.input === undefined ? "it is required" : issue.message;
    throw new ApiError(400, `${param}: ${message}`, "invalid_value", param);
  }
  const wanted = Object.entries(body as object).find(([name, value]) =>
    Object.hasOwn(ABSENT, name) && !asksNothing(name, value)
  );
  if (wanted) {
    throw new ApiError(400, `${wanted[0]}: this server does not have it`, "unsupported_parameter", wanted[0]);
  }
  return result.output;
}

/** @throws {ApiError} 400 for a field of another type or range, or one that would be ignored */
export function readChatBody(body: unknown): ChatBody {
  const read = check(chatSchema, body);
  if (read.top_logprobs && !read.logprobs) {
    throw new ApiError(400, "top_logprobs: logprobs must be true", "invalid_value", "top_logprobs");
  }
  return read;
}

/** @throws {ApiError} 400 for a field of another type or range, or one that would be ignored */
export function readCompletionBody(body: unknown): CompletionBody {
  return check(completionSchema, body);
}

/** A body of `POST /v1/adapters`. */
export function readAdapterBody(body: unknown): { name: string; path?: string | null } {
  return check(
    v.looseObject({
      name: v.pipe(v.string(), v.nonEmpty(), v.maxLength(200)),
      path: maybe(v.pipe(v.string(), v.nonEmpty())),
    }),
    body,
  );
}
