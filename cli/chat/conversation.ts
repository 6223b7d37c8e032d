/**
 * A conversation with a chat model: its messages, and answers that are streamed.
 * @module
 */

import {
  type CausalLM,
  type ChatMessage,
  type GenerateOptions,
  type PeftModel,
  TextStreamer,
  type Tokenizer,
} from "@peft/webgpu";
import { UsageError } from "../command.ts";

/** How answers are made. */
export interface ConversationOptions {
  /** System message; undefined: the chat template's own. */
  readonly system: string | undefined;
  /** Longest answer in tokens. */
  readonly maxNewTokens: number;
  /** Longest conversation in tokens, the answer included. */
  readonly maxPositions: number;
  /** How tokens are chosen, and which end an answer. */
  readonly generate: GenerateOptions;
}

/** The messages so far. */
export class Conversation {
  readonly #tokenizer: Tokenizer;
  readonly #options: ConversationOptions;
  #messages: ChatMessage[] = [];

  /** No messages yet. */
  constructor(tokenizer: Tokenizer, options: ConversationOptions) {
    this.#tokenizer = tokenizer;
    this.#options = options;
  }

  /** The messages so far, without the system message. */
  get messages(): readonly ChatMessage[] {
    return this.#messages;
  }

  /** Forgets the messages. */
  reset(): void {
    this.#messages = [];
  }

  /**
   * Answers a message. Where the conversation grows too long for the model, its oldest messages are forgotten.
   * @param write receives the answer piece by piece
   * @param note receives a line about forgotten messages
   * @param signal ends the answer; what there is of it stays in the conversation
   * @throws {UsageError} if the message alone is too long
   */
  async answer(
    model: CausalLM | PeftModel<CausalLM>,
    content: string,
    write: (text: string) => void,
    note: (text: string) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { maxPositions, generate } = this.#options;
    const { messages, ids } = this.#fit([...this.#messages, { role: "user", content }]);
    const forgotten = this.#messages.length + 1 - messages.length;
    if (forgotten > 0) {
      note(
        `the conversation is longer than the model's ${maxPositions} tokens: its oldest ${forgotten} messages are forgotten`,
      );
    }
    let answer = "";
    const onFinalizedText = (text: string) => {
      answer += text;
      write(text);
    };
    const streamer = new TextStreamer(this.#tokenizer, {
      skipPrompt: true,
      skipSpecialTokens: true,
      onFinalizedText,
    });
    try {
      await model.generate([ids], {
        ...generate,
        maxNewTokens: Math.min(this.#options.maxNewTokens, maxPositions - ids.length),
        streamer,
        signal,
      });
    } finally {
      if (answer !== "") this.#messages = [...messages, { role: "assistant", content: answer }];
    }
  }

  /** The last messages that leave room for an answer, and their prompt. */
  #fit(messages: ChatMessage[]): { messages: ChatMessage[]; ids: number[] } {
    const { system, maxNewTokens, maxPositions } = this.#options;
    const start = system === undefined ? [] : [{ role: "system", content: system }];
    for (let rest = messages;; rest = rest.slice(2)) {
      const ids = this.#tokenizer.applyChatTemplate([...start, ...rest], { addGenerationPrompt: true });
      const wanted = rest.length > 1 ? Math.min(maxNewTokens, Math.floor(maxPositions / 4)) : 1;
      if (ids.length + wanted <= maxPositions) return { messages: rest, ids };
      if (rest.length > 1) continue;
      throw new UsageError(
        `Cannot answer: a message of at most ${
          maxPositions - 1
        } tokens with its template is required, received ${ids.length}`,
      );
    }
  }
}
