/**
 * One answer, piece by piece: tokens of a batch as text, up to its end.
 * @module
 */

import type { Tokenizer } from "@peft/webgpu";
import type { BatchedRequest, BatchedToken } from "@peft/webgpu/model";
import { StopTexts } from "./stop_texts.ts";

/** A piece of an answer. */
export interface AnswerPiece {
  /** Text that no later token can change; may be empty. */
  readonly text: string;
  /** Tokens that were chosen since the last piece. */
  readonly tokens: readonly BatchedToken[];
  /** Why the answer ends with this piece; null where it goes on. */
  readonly finishReason: "stop" | "length" | null;
}

/**
 * Pieces of an answer, the last one with its reason.
 * @param stops texts that end it
 * @throws what the request throws, and the reason of `signal`
 */
export async function* answerOf(
  request: BatchedRequest,
  tokenizer: Tokenizer,
  stops: readonly string[],
  signal: AbortSignal,
): AsyncGenerator<AnswerPiece, void> {
  const decoder = tokenizer.decodeStream({ skipSpecialTokens: true });
  const filter = new StopTexts(stops);
  const cancel = () => request.cancel();
  signal.addEventListener("abort", cancel, { once: true });
  try {
    if (signal.aborted) cancel();
    for await (const token of request) {
      signal.throwIfAborted();
      const text = filter.push(decoder.push(token.id));
      if (filter.isOver) return yield { text, tokens: [token], finishReason: "stop" };
      yield { text, tokens: [token], finishReason: null };
    }
    signal.throwIfAborted();
    const text = filter.push(decoder.flush());
    const isStopped = filter.isOver || request.endReason === "eos";
    yield {
      text: text + filter.flush(),
      tokens: [],
      finishReason: isStopped ? "stop" : "length",
    };
  } finally {
    signal.removeEventListener("abort", cancel);
    request.cancel(); // where its reader left before its end
  }
}
