/**
 * Text to token ids and back: {@linkcode AutoTokenizer}, the counterpart of transformers' `AutoTokenizer`.
 *
 * @module
 */
import type { FolderInput, FolderSource } from "../../io/file_source.ts";
import { isDirectory } from "../../io/files.ts";
import { type FolderOutput, openTarget, writeJsonTo } from "../../io/folder_target.ts";
import { type HubOptions, resolveFolder } from "../../io/hub.ts";
import type { JsonObject } from "../../io/json.ts";
import { quote } from "../../io/relative_path.ts";
import { encodeBatch, type EncodeOptions, type Encoding } from "./batch.ts";
import type { DecodeStream, TokenizerCore } from "./core.ts";
import { gpt2Tokenizer, readTokenizerFolder, TOKENIZER_FILES } from "./files.ts";
import { type PaddingSide, settingsFile, type TokenizerSettings } from "./settings.ts";

export type { DecodeStream, EncodeOptions, Encoding, PaddingSide };

/** Models with GPT-2's vocabulary, for which nothing has to be downloaded. */
const GPT2_IDS = new Set(["gpt2", "openai-community/gpt2"]);

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
   * Text of token ids; ids beyond the vocabulary give nothing, incomplete characters U+FFFD.
   *
   * @throws {RangeError} when an id is not a non-negative integer.
   */
  decode(ids: ArrayLike<number>, options?: DecodeOptions): string;
  /** {@linkcode decode} of each row. */
  batchDecode(rows: readonly ArrayLike<number>[], options?: DecodeOptions): string[];
  /** A decoder for ids that arrive one by one, as in generation: text comes out when no later id can change it. */
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
  /** Fills short rows; null (GPT-2's case) until it is set. */
  padTokenId: number | null;
  /** Side of the padding; "left" for generation from a batch. */
  paddingSide: PaddingSide;
}

function checkId(id: number, vocabSize: number): number {
  if (Number.isInteger(id) && id >= 0) return id;
  throw new RangeError(`Cannot decode: ids must be integers from 0 to ${vocabSize - 1}, received ${id}`);
}

/** Binds a vocabulary and its settings to the callable form. */
function createTokenizer(core: TokenizerCore, settings: TokenizerSettings, config: JsonObject): Tokenizer {
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

async function fromFolder(folder: FolderSource): Promise<Tokenizer> {
  const { core, settings, config } = await readTokenizerFolder(folder);
  return createTokenizer(core, settings, config);
}

/** True for a folder on disk; false also where there is no file system or no permission to look. */
async function isLocalFolder(path: string): Promise<boolean> {
  try {
    return await isDirectory(path);
  } catch {
    return false;
  }
}

/** Loads tokenizers by model, as transformers' class of this name. */
export class AutoTokenizer {
  /**
   * The tokenizer of a model.
   *
   * @param source a folder with `tokenizer.json` (or GPT-2's `vocab.json` and `merges.txt`): a path, a URL, files that a
   * user picked or dropped, or one in memory; or a hub id. The id "gpt2" needs no download: its vocabulary is embedded.
   * @param options hub options: revision, cacheDir, localFilesOnly, …
   * @throws {Error} when the folder has no tokenizer or the hub cannot give it.
   * @example
   * ```ts
   * import { AutoTokenizer } from "@peft/webgpu";
   * const tokenizer = await AutoTokenizer.fromPretrained("gpt2");
   * console.log(tokenizer("Hello, PEFT!").inputIds); // [[15496, 11, 18468, 9792, 0]]
   * ```
   */
  static async fromPretrained(source: FolderInput, options: HubOptions = {}): Promise<Tokenizer> {
    if (typeof source === "string" && GPT2_IDS.has(source) && !(await isLocalFolder(source))) {
      const { core, settings, config } = await gpt2Tokenizer();
      return createTokenizer(core, settings, config);
    }
    return await fromFolder(await resolveFolder(source, { ...options, optionalFiles: TOKENIZER_FILES }));
  }
}
