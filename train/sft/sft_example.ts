/**
 * A row as what a model reads and learns, as TRL's SFTTrainer tokenizes it.
 * @module
 */

import { commonLength } from "../data/common_length.ts";
import { chatExample, type ChatTokenizer } from "../data/chat_example.ts";
import type { Example, TextTokenizer } from "../data/example.ts";
import type { LanguageRow, Message } from "../data/rows.ts";
import type { SFTDataSettings } from "./sft_config.ts";

/**
 * The part of a tokenizer that supervised fine-tuning uses.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, SFTTrainer } from "@peft/webgpu";
 * import type { SFTTokenizer } from "@peft/webgpu/train";
 *
 * const bytes: SFTTokenizer = {
 *   vocabSize: 256,
 *   eosTokenId: 0,
 *   padTokenId: 0,
 *   encode: (text) => [...new TextEncoder().encode(text)],
 *   decode: (ids) => new TextDecoder().decode(new Uint8Array(ids)),
 * };
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const data = { trainDataset: [{ text: "Ahoy, matey!" }], processingClass: bytes };
 * await new SFTTrainer({ model, ...data, args: { maxSteps: 1, reportTo: "none" } }).train();
 * ```
 */
export interface SFTTokenizer extends TextTokenizer {
  /** Number of tokens, where it is known. */
  readonly vocabSize?: number;
  /** Fills short rows. */
  readonly padTokenId: number | null;
  /** The id of a token's text. */
  tokenToId?(token: string): number | undefined;
  /** Text of ids. */
  decode(ids: readonly number[]): string;
  /** Ids of a conversation; with `returnAssistantTokensMask`, `{ inputIds, assistantMasks }`. */
  applyChatTemplate?(messages: readonly Message[], options: Readonly<Record<string, unknown>>): unknown;
  /** The template of conversations; null where there is none. */
  readonly chatTemplate?: string | null;
  /** Writes its files. */
  savePretrained?(folder: string): Promise<unknown>;
}

type Settings = Pick<SFTDataSettings, "eosToken" | "completionOnlyLoss" | "assistantOnlyLoss"> & {
  /** Tokens of the model; default those of the tokenizer. */
  readonly vocabSize?: number;
};
type MessagesRow = Extract<LanguageRow, { readonly messages: unknown }>;

/** The id of a token that a setting names. @throws {RangeError} where the tokenizer has none */
export function tokenIdOf(tokenizer: SFTTokenizer, setting: string, token: string): number {
  const id = tokenizer.tokenToId?.(token);
  if (id !== undefined) return id;
  throw new RangeError(
    `Cannot make a trainer: ${setting} must be a token of the tokenizer, received ${JSON.stringify(token)}`,
  );
}

const hidden = (ids: readonly number[], length: number) => ids.map((id, i) => i < length ? -100 : id);

/** Makes examples of rows. */
export class SFTExamples {
  readonly #tokenizer: SFTTokenizer;
  readonly #settings: Settings;
  /** What ends texts and completions; empty where the tokenizer has nothing. */
  readonly #end: string;

  /** @throws {RangeError} for an eosToken that the tokenizer does not have */
  constructor(tokenizer: SFTTokenizer, settings: Settings) {
    this.#tokenizer = tokenizer;
    this.#settings = settings;
    const { eosToken } = settings;
    if (eosToken !== null) tokenIdOf(tokenizer, "eosToken", eosToken);
    this.#end = eosToken ?? (tokenizer.eosTokenId === null ? "" : tokenizer.decode([tokenizer.eosTokenId]));
  }

  /**
   * A row as an example, not cut yet.
   * @throws {TypeError} for a conversation without a chat template, or one that its template cannot be followed in, and
   * for ids that are no tokens
   */
  of(row: LanguageRow): Example {
    if ("inputIds" in row) return this.#checked(row);
    if ("messages" in row) return this.#conversation(row);
    if (this.#settings.assistantOnlyLoss) {
      throw new TypeError("conversations are required with assistantOnlyLoss, received a text");
    }
    return "text" in row ? this.#text(row.text) : this.#completion(row.prompt, row.completion);
  }

  /** An example of ids that were given, all of them tokens. */
  #checked(example: Example): Example {
    const count = this.#settings.vocabSize ?? this.#tokenizer.vocabSize ?? Infinity;
    const isToken = (id: number) => Number.isInteger(id) && id >= 0 && id < count;
    const wanted = `integers ${count === Infinity ? "of at least 0" : `from 0 to ${count - 1}`}`;
    const wrong = example.inputIds.findIndex((id) => !isToken(id));
    if (wrong >= 0) {
      throw new TypeError(
        `ids of tokens (${wanted}) are required, received ${example.inputIds[wrong]} as number ${wrong + 1}`,
      );
    }
    const bad = example.labels?.findIndex((id) => id !== -100 && !isToken(id)) ?? -1;
    if (bad < 0) return example;
    throw new TypeError(
      `labels of -100 or ids of tokens (${wanted}) are required, received ${example.labels![bad]} as number ${
        bad + 1
      }`,
    );
  }

  #text(text: string): Example {
    if (this.#settings.completionOnlyLoss) {
      throw new TypeError("a prompt and a completion are required with completionOnlyLoss, received a text");
    }
    const inputIds = this.#tokenizer.encode(this.#ended(text));
    return { inputIds, labels: inputIds };
  }

  /** The completion begins where the tokens of the prompt alone and of both together differ. */
  #completion(prompt: string, completion: string): Example {
    const inputIds = this.#tokenizer.encode(prompt + this.#ended(completion));
    if (this.#settings.completionOnlyLoss === false) return { inputIds, labels: inputIds };
    const read = commonLength(this.#tokenizer.encode(prompt), inputIds);
    return { inputIds, labels: hidden(inputIds, read) };
  }

  #conversation({ messages, learnedFrom, tools }: MessagesRow): Example {
    const { completionOnlyLoss, assistantOnlyLoss } = this.#settings;
    const options = tools ? { tools } : {};
    if (completionOnlyLoss && learnedFrom === 0) {
      throw new TypeError(
        "a prompt and a completion are required with completionOnlyLoss, received a conversation; use assistantOnlyLoss",
      );
    }
    if (assistantOnlyLoss ?? true) {
      return this.#answers(messages, completionOnlyLoss === false ? 0 : learnedFrom, options);
    }
    const inputIds = this.#render(messages, options) as number[];
    if (learnedFrom === 0 || completionOnlyLoss === false) return { inputIds, labels: inputIds };
    const prompt = this.#render(messages.slice(0, learnedFrom), { ...options, addGenerationPrompt: true });
    return { inputIds, labels: hidden(inputIds, commonLength(prompt as number[], inputIds)) };
  }

  /** What the assistant says is learned, of messages from number `learnedFrom` on. */
  #answers(
    messages: readonly Message[],
    learnedFrom: number,
    options: { tools?: readonly unknown[] },
  ): Example {
    const template = this.#tokenizer.chatTemplate;
    if (typeof template !== "string" || !/\{%[-+]?\s*generation\s*[-+]?%\}/.test(template)) {
      this.#checkTemplates();
      return chatExample(this.#tokenizer as ChatTokenizer, messages, { ...options, learnedFrom });
    }
    const { inputIds, assistantMasks } = this.#render(messages, {
      ...options,
      returnAssistantTokensMask: true,
    }) as {
      inputIds: number[];
      assistantMasks: number[];
    };
    if (!assistantMasks.includes(1)) {
      throw new TypeError("a message of the assistant is required with assistantOnlyLoss, received none");
    }
    const prompt = learnedFrom === 0
      ? []
      : this.#render(messages.slice(0, learnedFrom), { ...options, addGenerationPrompt: true }) as number[];
    const read = commonLength(prompt, inputIds);
    return { inputIds, labels: inputIds.map((id, i) => assistantMasks[i] && i >= read ? id : -100) };
  }

  #render(messages: readonly Message[], options: Readonly<Record<string, unknown>>): unknown {
    this.#checkTemplates();
    return this.#tokenizer.applyChatTemplate!(messages, options);
  }

  #checkTemplates(): void {
    if (this.#tokenizer.applyChatTemplate) return;
    throw new TypeError(
      "a tokenizer with chat templates is required for conversations, received one without",
    );
  }

  #ended(text: string): string {
    return text.endsWith(this.#end) ? text : text + this.#end;
  }
}
