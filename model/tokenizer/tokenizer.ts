/**
 * Text to token ids and back.
 *
 * @module
 */
import { type FolderOutput, openTarget, writeJsonTo } from "../../io/folder_target.ts";
import type { JsonObject } from "../../io/json.ts";
import { quote } from "../../io/relative_path.ts";
import { encodeBatch, type EncodeOptions, type Encoding } from "./batch.ts";
import type { DecodeStream, TokenizerCore } from "./core.ts";
import { type PaddingSide, settingsFile, type TokenizerSettings } from "./settings.ts";

export type { DecodeStream, EncodeOptions, Encoding, PaddingSide };

/** Options of decoding. */
export interface DecodeOptions {
  /** Leave special tokens such as `<|endoftext|>` out; default false. */
  skipSpecialTokens?: boolean;
}

/** A tokenizer: call it with a text or texts. */
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
  /** The id of a token's text; undefined when there is none. */
  tokenToId(token: string): number | undefined;
  /**
   * Writes `tokenizer.json` and `tokenizer_config.json`, as transformers reads them.
   *
   * @throws {Error} when the folder cannot be written.
   */
  savePretrained(folder: FolderOutput): Promise<void>;
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
  /** Side of the padding; "left" for generation from a batch. */
  paddingSide: PaddingSide;
}

function checkId(id: number, vocabSize: number): number {
  if (Number.isInteger(id) && id >= 0) return id;
  throw new RangeError(`Cannot decode: ids must be integers from 0 to ${vocabSize - 1}, received ${id}`);
}

/** A tokenizer of a vocabulary and its settings. @param config contents of tokenizer_config.json */
export function createTokenizer(
  core: TokenizerCore,
  settings: TokenizerSettings,
  config: JsonObject,
): Tokenizer {
  const { vocabSize } = core;
  const call = (text: string | readonly string[], options: EncodeOptions = {}): Encoding =>
    encodeBatch(core, settings, Array.isArray(text) ? text : [text as string], options);
  const members: Pick<Tokenizer, keyof Tokenizer> = {
    encode: (text, options = {}) => call(text, options).inputIds[0]!,
    decode: (ids, options = {}) =>
      core.decode(Array.from(ids, (id) => checkId(id, vocabSize)), options.skipSpecialTokens ?? false),
    batchDecode: (rows, options) => rows.map((row) => members.decode(row, options)),
    decodeStream(options = {}) {
      const stream = core.decodeStream(options.skipSpecialTokens ?? false);
      return { push: (id) => stream.push(checkId(id, vocabSize)), flush: () => stream.flush() };
    },
    tokenToId: (token) => core.idOf(token),
    async savePretrained(folder) {
      const target = openTarget(folder, "save the tokenizer");
      await target.write("tokenizer.json", core.toJson());
      await writeJsonTo(target, "tokenizer_config.json", settingsFile(core, config, settings));
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
    get paddingSide(): PaddingSide {
      return settings.paddingSide;
    },
    set paddingSide(side: PaddingSide) {
      if (side !== "left" && side !== "right") {
        throw new RangeError(
          `Cannot set paddingSide: "left" or "right" is required, received ${quote(String(side))}`,
        );
      }
      settings.paddingSide = side;
    },
  };
  return Object.defineProperties(call, Object.getOwnPropertyDescriptors(members)) as Tokenizer;
}
