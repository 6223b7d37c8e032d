/**
 * Any `tokenizer.json`, read by the npm package `@huggingface/tokenizers`; and the tokenizer.json of a folder that has
 * only `vocab.json` and `merges.txt`.
 *
 * @module
 */
import type { Tokenizer as JsonTokenizer } from "@huggingface/tokenizers";
import type { JsonObject } from "../../io/json.ts";
import { checkTokenizerJson } from "./check.ts";
import type { DecodeStream, TokenizerCore } from "./core.ts";

const REPLACEMENT = "\ufffd";

/**
 * Takes `\s` in the splitting patterns as Unicode's White_Space, as the Python and Rust tokenizers do; JavaScript's `\s`
 * differs from it at U+FEFF and U+0085.
 */
function useUnicodeSpace(step: unknown): void {
  // the package's steps are functions with properties
  if (typeof step !== "function" && (typeof step !== "object" || step === null)) return;
  const { pattern, tokenizers } = step as { pattern?: unknown; tokenizers?: unknown };
  if (pattern instanceof RegExp && pattern.unicode) {
    const source = pattern.source.replace(
      /(?<!\\)((?:\\\\)*)\\([sS])/g,
      (_, escapes: string, letter: string) => `${escapes}\\${letter === "s" ? "p" : "P"}{White_Space}`,
    );
    (step as { pattern: RegExp }).pattern = new RegExp(source, pattern.flags);
  }
  if (Array.isArray(tokenizers)) tokenizers.forEach(useUnicodeSpace);
}

/** The error for a missing package that is loaded on first use; `part` is its file beside the browser bundle. */
export function missingPackage(name: string, part: string, cause: unknown): Error {
  return new Error(
    `Cannot load a tokenizer: the npm package "${name}" is required, or beside the browser bundle its file ${part}; ` +
      `received: ${cause instanceof Error ? cause.message : String(cause)}`,
    { cause },
  );
}

class JsonCore implements TokenizerCore {
  readonly vocabSize: number;
  #tokenizer: JsonTokenizer;
  #json: JsonObject;
  #cleanUp: boolean;
  #special: Set<number>;
  /** Texts of tokens that are not made by merging. */
  #added: ReadonlyMap<number, string>;
  #byteLevel: boolean;

  constructor(tokenizer: JsonTokenizer, json: JsonObject, config: JsonObject) {
    this.#tokenizer = tokenizer;
    this.#json = json;
    let greatest = -1;
    for (const id of tokenizer.get_vocab().values()) greatest = Math.max(greatest, id);
    this.vocabSize = greatest + 1;
    const model = json.model as { type?: unknown } | undefined;
    // transformers 5 ignores the setting for BPE, where it would change the text
    this.#cleanUp = config.clean_up_tokenization_spaces === true && model?.type !== "BPE";
    this.#added = new Map(
      [...tokenizer.get_added_tokens_decoder()].map(([id, { content }]) => [id, content]),
    );
    this.#byteLevel = JSON.stringify(json.decoder ?? null).includes('"ByteLevel"');
    this.#special = new Set(
      [...tokenizer.get_added_tokens_decoder()].filter(([, token]) => token.special).map(([id]) => id),
    );
  }

  encode(text: string, addSpecialTokens: boolean): number[] {
    const { ids } = this.#tokenizer.encode(text, { add_special_tokens: addSpecialTokens });
    return ids.filter((id: number | undefined) => id !== undefined); // unknown, in a vocabulary without such a token
  }

  decode(ids: readonly number[], skipSpecialTokens: boolean): string {
    const known = ids.filter((id) =>
      this.#tokenizer.id_to_token(id) !== undefined && !(skipSpecialTokens && this.#special.has(id))
    );
    if (known.length === 0) return "";
    return this.#tokenizer.decode(known, {
      skip_special_tokens: skipSpecialTokens,
      clean_up_tokenization_spaces: this.#cleanUp,
    });
  }

  decodeStream(skipSpecialTokens: boolean): DecodeStream {
    // As tokenizers' DecodeStream: decode a window of ids, and return what it adds to the text of the ids before.
    // The window keeps the ids of the last piece, because some decoders change a text's first character.
    let ids: number[] = [];
    let given = 0; // ids of the window whose text has been returned
    let prefix = "";
    const next = (final: boolean): string => {
      const text = this.decode(ids, skipSpecialTokens);
      if (!final && (text.endsWith(REPLACEMENT) || text.length <= prefix.length)) return "";
      const out = text.slice(prefix.length);
      ids = ids.slice(given);
      given = ids.length;
      prefix = this.decode(ids, skipSpecialTokens);
      return out;
    };
    return {
      push: (id) => {
        ids.push(id);
        return next(false);
      },
      flush: () => next(true),
    };
  }

  idOf(token: string): number | undefined {
    return this.#tokenizer.token_to_id(token);
  }

  tokenOf(id: number): string | undefined {
    return this.#tokenizer.id_to_token(id);
  }

  tokenBytes(id: number): number {
    const text = this.#added.get(id) ?? this.#tokenizer.id_to_token(id) ?? "";
    if (this.#byteLevel && !this.#added.has(id)) return text.length; // one character for each byte
    if (/^<0x[0-9A-F]{2}>$/.test(text)) return 1; // byte fallback
    return new TextEncoder().encode(text.replaceAll("\u2581", " ")).length;
  }

  toJson(): string {
    return JSON.stringify(this.#json);
  }
}

/**
 * A vocabulary from the contents of `tokenizer.json` and `tokenizer_config.json`.
 *
 * @throws {Error} when the contents do not describe a tokenizer.
 */
export async function loadJsonCore(json: JsonObject, config: JsonObject): Promise<TokenizerCore> {
  await checkTokenizerJson(json);
  const { Tokenizer } = await import("@huggingface/tokenizers").catch((cause) => {
    throw missingPackage("@huggingface/tokenizers", "peft_webgpu_tokenizers.js", cause);
  });
  const tokenizer = new Tokenizer(json, config);
  useUnicodeSpace(tokenizer.pre_tokenizer);
  return new JsonCore(tokenizer, json, config);
}
