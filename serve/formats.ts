/**
 * Answers as OpenAI's two interfaces write them: whole, and as chunks of a stream.
 * @module
 */

import type { Tokenizer } from "@peft/webgpu";
import type { BatchedToken, TokenLogProb } from "@peft/webgpu/model";
import type { AnswerPiece } from "./answer.ts";

/** Tokens of a request's prompts and answers. */
export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
}

/** A form of answers. */
export interface AnswerFormat {
  /** Begins the ids of answers. */
  readonly idPrefix: string;
  /** `object` of a whole answer. */
  readonly whole: string;
  /** `object` of a chunk. */
  readonly chunk: string;
  /** What the first chunk of a choice says before any text; null for nothing. */
  readonly opening: object | null;
  /** A choice of a whole answer. */
  choice(
    index: number,
    text: string,
    tokens: readonly BatchedToken[],
    reason: string,
    tokenizer: Tokenizer,
  ): object;
  /** A choice of a chunk. @param at characters of the tokens before this piece */
  delta(index: number, piece: AnswerPiece, at: number, tokenizer: Tokenizer): object;
}

/** A token's text and its bytes; null where the token alone is no whole character. */
function textOf(id: number, tokenizer: Tokenizer): { token: string; bytes: number[] | null } {
  const token = tokenizer.decode([id]);
  return { token, bytes: token.includes("\uFFFD") ? null : [...new TextEncoder().encode(token)] };
}

function chatLogProbs(tokens: readonly BatchedToken[], tokenizer: Tokenizer): object | null {
  if (!tokens.some(({ logProbs }) => logProbs)) return null;
  const entry = ({ id, logProb }: TokenLogProb) => ({ ...textOf(id, tokenizer), logprob: logProb });
  return {
    content: tokens.map(({ logProbs }) => ({
      ...entry(logProbs!),
      top_logprobs: logProbs!.top.map(entry),
    })),
    refusal: null,
  };
}

function textLogProbs(tokens: readonly BatchedToken[], at: number, tokenizer: Tokenizer): object | null {
  if (!tokens.some(({ logProbs }) => logProbs)) return null;
  const texts = tokens.map(({ id }) => tokenizer.decode([id]));
  let offset = at;
  return {
    tokens: texts,
    token_logprobs: tokens.map(({ logProbs }) => logProbs!.logProb),
    top_logprobs: tokens.map(({ logProbs }) =>
      Object.fromEntries(logProbs!.top.map(({ id, logProb }) => [tokenizer.decode([id]), logProb]))
    ),
    text_offset: texts.map((text) => (offset += text.length) - text.length),
  };
}

/** `/v1/chat/completions`. */
export const CHAT: AnswerFormat = {
  idPrefix: "chatcmpl-",
  whole: "chat.completion",
  chunk: "chat.completion.chunk",
  opening: { role: "assistant", content: "" },
  choice: (index, content, tokens, finish_reason, tokenizer) => ({
    index,
    message: { role: "assistant", content, refusal: null },
    logprobs: chatLogProbs(tokens, tokenizer),
    finish_reason,
  }),
  delta: (index, { text, tokens, finishReason }, _, tokenizer) => ({
    index,
    delta: text === "" ? {} : { content: text },
    logprobs: chatLogProbs(tokens, tokenizer),
    finish_reason: finishReason,
  }),
};

/** `/v1/completions`. */
export const TEXT: AnswerFormat = {
  idPrefix: "cmpl-",
  whole: "text_completion",
  chunk: "text_completion",
  opening: null,
  choice: (index, text, tokens, finish_reason, tokenizer) => ({
    index,
    text,
    logprobs: textLogProbs(tokens, 0, tokenizer),
    finish_reason,
  }),
  delta: (index, { text, tokens, finishReason }, at, tokenizer) => ({
    index,
    text,
    logprobs: textLogProbs(tokens, at, tokenizer),
    finish_reason: finishReason,
  }),
};
