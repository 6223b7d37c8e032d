/**
 * Text to token ids and back.
 *
 * @module
 */
import type { CommitInfo, PushToHubOptions } from "../../io/hub_push.ts";
import type { FolderOutput } from "../../io/folder_target.ts";
import { quote } from "../../io/relative_path.ts";
import { checkOptions } from "../../options/names.ts";
import { encodeBatch, type EncodeOptions, type Encoding } from "./batch.ts";
import { applyChatTemplate, type ChatEncoding, type ChatOptions } from "./chat.ts";
import { type ChatMessage, type ChatTemplate, loadJinja } from "./chat_template.ts";
import type { DecodeStream } from "./core.ts";
import type { TokenizerParts } from "./files.ts";
import { checkSide, type PaddingSide } from "./settings.ts";

export type { ChatEncoding, ChatMessage, ChatOptions, DecodeStream, EncodeOptions, Encoding, PaddingSide };

/**
 * Options of decoding.
 *
 * @example
 * ```ts
 * import { AutoTokenizer } from "@peft/webgpu";
 * import type { DecodeOptions } from "@peft/webgpu/tokenizer";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const options: DecodeOptions = { skipSpecialTokens: true };
 * console.log(tokenizer.decode([...tokenizer.encode("The end."), tokenizer.eosTokenId!], options)); // The end.
 * ```
 */
export interface DecodeOptions {
  /** Leave special tokens such as `<|endoftext|>` out; default false. */
  skipSpecialTokens?: boolean;
}

/**
 * A tokenizer: call it with a text or texts.
 *
 * @example
 * ```ts
 * import { AutoTokenizer, type Tokenizer } from "@peft/webgpu";
 *
 * const lengths = (tokenizer: Tokenizer, texts: string[]) => tokenizer(texts).inputIds.map((ids) => ids.length);
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * console.log(lengths(tokenizer, ["dog", "Once upon a time"]), tokenizer.vocabSize, tokenizer.eosTokenId);
 * ```
 */
export interface Tokenizer {
  /**
   * Token ids and attention mask of a text (one row) or of texts.
   *
   * @throws {RangeError} when padding is asked for and `padTokenId` is null, or `maxLength` is not positive.
   */
  (text: string | readonly string[], options?: EncodeOptions): Encoding;
  /** Token ids of one text. */
  encode(text: string, options?: EncodeOptions): number[];
  /**
   * Text of token ids; ids beyond the vocabulary add nothing, and incomplete characters become U+FFFD.
   *
   * @throws {RangeError} when an id is not a non-negative integer.
   */
  decode(ids: ArrayLike<number>, options?: DecodeOptions): string;
  /** {@linkcode decode} of each row. */
  batchDecode(rows: readonly ArrayLike<number>[], options?: DecodeOptions): string[];
  /** A decoder for ids that arrive one by one, as in generation: text is returned once no later id can change it. */
  decodeStream(options?: DecodeOptions): DecodeStream;
  /** The tokens of a text, as the vocabulary writes them (`Ġthere` for " there"), without special ones. */
  tokenize(text: string): string[];
  /** The id of a token's text; undefined when there is none. */
  tokenToId(token: string): number | undefined;
  /** {@linkcode tokenToId} of each token. */
  convertTokensToIds(tokens: readonly string[]): (number | undefined)[];
  /** Each id's token as the vocabulary writes it; undefined when there is none. */
  convertIdsToTokens(ids: ArrayLike<number>): (string | undefined)[];
  /**
   * A conversation as the model reads it, by its Jinja template: token ids, without special tokens beyond the template's.
   *
   * @throws {ChatTemplateError} when there is no template, it is not valid, or it refuses the messages.
   * @throws {TypeError} for messages that are no list of objects with a role.
   * @example
   * ```ts
   * import { AutoTokenizer } from "@peft/webgpu";
   * const tokenizer = await AutoTokenizer.fromPretrained("HuggingFaceTB/SmolLM2-135M-Instruct");
   * const messages = [{ role: "user", content: "What is the capital of France?" }];
   * const ids = tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true });
   * ```
   */
  applyChatTemplate(messages: readonly ChatMessage[], options: ChatOptions & { tokenize: false }): string;
  /** Ids, and which of them the assistant wrote. */
  applyChatTemplate(
    messages: readonly ChatMessage[],
    options: ChatOptions & { returnAssistantTokensMask: true },
  ): ChatEncoding;
  /** Ids. */
  applyChatTemplate(messages: readonly ChatMessage[], options?: ChatOptions): number[];
  /** The template of conversations; null where there is none. */
  chatTemplate: string | null;
  /**
   * Writes `tokenizer.json` and `tokenizer_config.json`, as transformers reads them.
   *
   * @throws {Error} when the folder cannot be written.
   */
  savePretrained(folder: FolderOutput): Promise<void>;
  /**
   * Pushes what `savePretrained` writes to a repository of the hub, in one commit.
   *
   * @throws {HubError} without a token or for one that may not write there, and where the hub refuses.
   */
  pushToHub(repoId: string, options?: PushToHubOptions): Promise<CommitInfo>;
  /** Number of ids: one more than the greatest. */
  readonly vocabSize: number;
  /** The greatest number of tokens the model takes; Infinity when not known. */
  readonly modelMaxLength: number;
  /** Beginning of a text; null when there is none. */
  readonly bosTokenId: number | null;
  /** End of a text; null when there is none. */
  readonly eosTokenId: number | null;
  /** Fills short rows; null where the model has none, until it is set. */
  padTokenId: number | null;
  /** The text of `bosTokenId`. */
  readonly bosToken: string | null;
  /** The text of `eosTokenId`. */
  readonly eosToken: string | null;
  /** The text of `padTokenId`, which it sets: often `tokenizer.padToken = tokenizer.eosToken`. */
  padToken: string | null;
  /** Side of the padding; "left" for generation from a batch. */
  paddingSide: PaddingSide;
}

/** Whether special tokens are left out. @throws {TypeError} for an option that does not exist */
function leavesOut(options: DecodeOptions): boolean {
  checkOptions("decode", options, ["skipSpecialTokens"]);
  return options.skipSpecialTokens ?? false;
}

function checkId(id: number, vocabSize: number): number {
  if (Number.isInteger(id) && id >= 0) return id;
  throw new RangeError(`Cannot decode: ids must be integers from 0 to ${vocabSize - 1}, received ${id}`);
}

/** Reads chat templates. What a chat needs is loaded with the tokenizer, in bundles only if it has a template. */
async function templateReader(
  templates: ReadonlyMap<string, string>,
): Promise<(source: string) => ChatTemplate> {
  if (templates.size > 0) await import("./chat.ts");
  try {
    return await loadJinja();
  } catch (error) {
    return () => {
      throw error; // only where a template is used
    };
  }
}

/** A tokenizer of a vocabulary, its settings and its chat templates. */
export async function createTokenizer(parts: TokenizerParts): Promise<Tokenizer> {
  const { core, settings, config, chatTemplates } = parts;
  const { vocabSize } = core;
  const chat = { templates: chatTemplates, config, settings, read: await templateReader(chatTemplates) };
  const call = (text: string | readonly string[], options: EncodeOptions = {}): Encoding =>
    encodeBatch(core, settings, Array.isArray(text) ? text : [text as string], options);
  const textOf = (id: number | null) => id === null ? null : core.tokenOf(id) ?? null;
  const members: Pick<Tokenizer, keyof Tokenizer> = {
    encode: (text, options = {}) => call(text, options).inputIds[0]!,
    decode: (ids, options = {}) =>
      core.decode(Array.from(ids, (id) => checkId(id, vocabSize)), leavesOut(options)),
    batchDecode: (rows, options) => rows.map((row) => members.decode(row, options)),
    decodeStream(options = {}) {
      const stream = core.decodeStream(leavesOut(options));
      return { push: (id) => stream.push(checkId(id, vocabSize)), flush: () => stream.flush() };
    },
    tokenize: (text) =>
      call(text, { addSpecialTokens: false }).inputIds[0]!.map((id) => core.tokenOf(id) ?? ""),
    tokenToId: (token) => core.idOf(token),
    convertTokensToIds: (tokens) => tokens.map((token) => core.idOf(token)),
    convertIdsToTokens: (ids) => Array.from(ids, (id) => core.tokenOf(checkId(id, vocabSize))),
    applyChatTemplate: ((messages, options) => applyChatTemplate(core, chat, messages, options)) as Tokenizer[
      "applyChatTemplate"
    ],
    get chatTemplate(): string | null {
      return chatTemplates.get("default") ?? null;
    },
    set chatTemplate(source: string | null) {
      if (source === null || source === undefined) chatTemplates.delete("default");
      else {
        chat.read(source); // fails here rather than at the first conversation
        chatTemplates.set("default", source);
      }
    },
    async savePretrained(folder) {
      const { saveTokenizer } = await import("./save_tokenizer.ts");
      await saveTokenizer(parts, folder);
    },
    async pushToHub(repoId, options = {}) {
      const { pushToHub } = await import("../../io/hub_push.ts");
      return await pushToHub(repoId, options, { kind: "tokenizer", save: members.savePretrained });
    },
    vocabSize,
    modelMaxLength: settings.modelMaxLength,
    bosTokenId: settings.bosTokenId,
    eosTokenId: settings.eosTokenId,
    get padTokenId(): number | null {
      return settings.padTokenId;
    },
    set padTokenId(id: number | null) {
      if (id !== null && !(Number.isInteger(id) && id >= 0 && id < vocabSize)) {
        throw new RangeError(
          `Cannot set padTokenId: null or an id from 0 to ${vocabSize - 1} is required, received ${id}`,
        );
      }
      settings.padTokenId = id;
    },
    bosToken: textOf(settings.bosTokenId),
    eosToken: textOf(settings.eosTokenId),
    get padToken(): string | null {
      return textOf(settings.padTokenId);
    },
    set padToken(token: string | null) {
      const id = token === null ? null : core.idOf(token);
      if (id === undefined) {
        throw new RangeError(
          `Cannot set padToken: null or a token is required, received ${quote(String(token))}`,
        );
      }
      settings.padTokenId = id;
    },
    get paddingSide(): PaddingSide {
      return settings.paddingSide;
    },
    set paddingSide(side: PaddingSide) {
      settings.paddingSide = checkSide(side);
    },
  };
  return Object.defineProperties(call, Object.getOwnPropertyDescriptors(members)) as Tokenizer;
}
