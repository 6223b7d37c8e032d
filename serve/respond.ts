/**
 * How a request is answered: in one piece or as a stream of events, until it ends, its time is up or its client leaves.
 * @module
 */

import type { Context } from "hono";
import { streamSSE } from "hono/streaming";
import type { BatchedToken } from "@peft/webgpu/model";
import { answerOf, type AnswerPiece } from "./answer.ts";
import { isTimeout, toApiError } from "./api_error.ts";
import type { Engine, StartedAnswer } from "./engine.ts";
import type { AnswerFormat, Usage } from "./formats.ts";
import type { Metrics } from "./metrics.ts";
import type { ChatBody, CompletionBody } from "./requests.ts";

/** What answers requests. */
export interface Responder {
  readonly engine: Engine;
  readonly metrics: Metrics;
  /** Longest time that a request may take. */
  readonly timeoutMs: number;
  /** Hears of every error that ended an answer. */
  readonly noteError: (error: unknown) => void;
}

/** Answers, in one piece or as a stream of events. @param begin when the request came, by `performance.now()` */
export async function respond(
  c: Context,
  { engine, metrics, timeoutMs, noteError }: Responder,
  body: ChatBody | CompletionBody,
  format: AnswerFormat,
  begin: number,
  start: () => StartedAnswer[],
): Promise<Response> {
  const ending = new AbortController(); // before its time
  const { signal } = ending;
  const leave = () => ending.abort();
  c.req.raw.signal.addEventListener("abort", leave, { once: true });
  if (c.req.raw.signal.aborted) leave();
  const hasLeft = () => signal.aborted && !isTimeout(signal.reason);
  const stops = [body.stop ?? []].flat();
  const answers = start().map((started) => ({
    ...started,
    pieces: answerOf(started.request, engine.tokenizer, stops, signal),
    follow: metrics.answer(body.model, started.promptTokens),
    tokens: 0,
  }));
  // Not AbortSignal.timeout(), which would keep every answer until then.
  const left = Math.max(0, timeoutMs - (performance.now() - begin));
  const timer = setTimeout(() => ending.abort(new DOMException("", "TimeoutError")), left);
  const n = body.n ?? 1;
  const prompts = answers.filter((_, i) => i % n === 0).reduce(
    (sum, { promptTokens }) => sum + promptTokens,
    0,
  );
  const usage = (): Usage => {
    const completion_tokens = answers.reduce((sum, { tokens }) => sum + tokens, 0);
    return { prompt_tokens: prompts, completion_tokens, total_tokens: prompts + completion_tokens };
  };
  const head = {
    id: `${format.idPrefix}${crypto.randomUUID()}`,
    created: Math.floor(Date.now() / 1000),
    model: body.model,
  };
  /** Runs every answer to its end. */
  const follow = async (take: (index: number, piece: AnswerPiece) => Promise<void> | void) => {
    await Promise.all(answers.map(async (one, index) => {
      let reason = "failed";
      try {
        for await (const piece of one.pieces) {
          one.tokens += piece.tokens.length;
          if (piece.tokens.length > 0) one.follow.token(piece.tokens.length);
          if (piece.finishReason) reason = piece.finishReason;
          await take(index, piece);
        }
      } catch (error) {
        if (hasLeft()) reason = "cancelled";
        noteError(error);
        for (const { request } of answers) request.cancel(); // the others of this request
        throw error;
      } finally {
        one.follow.end(reason);
      }
    })).finally(() => {
      clearTimeout(timer);
      c.req.raw.signal.removeEventListener("abort", leave);
    });
  };

  if (!body.stream) {
    const texts = answers.map(() => ({ text: "", tokens: [] as BatchedToken[], reason: "stop" }));
    await follow((index, { text, tokens, finishReason }) => {
      const one = texts[index];
      one.text += text;
      one.tokens.push(...tokens);
      one.reason = finishReason ?? one.reason;
    });
    const choices = texts.map(({ text, tokens, reason }, i) =>
      format.choice(i, text, tokens, reason, engine.tokenizer)
    );
    return c.json({ ...head, object: format.whole, choices, usage: usage() });
  }

  return streamSSE(c, async (stream) => {
    stream.onAbort(leave);
    const withUsage = body.stream_options?.include_usage === true;
    const send = (data: object) => stream.writeSSE({ data: JSON.stringify(data) });
    const chunk = (choices: readonly object[], rest: object = {}) =>
      send({ ...head, object: format.chunk, choices, ...withUsage ? { usage: null } : {}, ...rest });
    const { opening } = format;
    try {
      for (let index = 0; opening && index < answers.length; index++) {
        await chunk([{ index, delta: opening, logprobs: null, finish_reason: null }]);
      }
      const places = answers.map(() => 0);
      await follow(async (index, piece) => {
        const says = piece.text !== "" || piece.finishReason !== null ||
          piece.tokens.some(({ logProbs }) => logProbs);
        if (says) await chunk([format.delta(index, piece, places[index], engine.tokenizer)]);
        for (const { id } of piece.tokens) places[index] += engine.tokenizer.decode([id]).length;
      });
      if (withUsage) await chunk([], { usage: usage() });
      await stream.writeSSE({ data: "[DONE]" });
    } catch (error) {
      if (!hasLeft()) await send(toApiError(error).body); // clients raise it
    }
  });
}
