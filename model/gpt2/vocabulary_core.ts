/**
 * GPT-2's own tokenizer with its vocabulary embedded (the ranks of the npm package `gpt-tokenizer`), so that nothing
 * has to be downloaded. 50,256 byte-pair tokens and `<|endoftext|>`.
 *
 * Splitting and merging are done here, because that package (3.4.0 and 4.0.0) recognises special tokens only at the
 * start of a text, loses incomplete characters in `decode`, and uses JavaScript's `\s`, which differs from Python's and
 * Rust's at U+FEFF and U+0085.
 *
 * @module
 */
import type { JsonObject } from "../../io/json.ts";
import { byteString, mergeBytes, printable } from "../tokenizer/byte_pair.ts";
import { missingPackage } from "../tokenizer/json.ts";
import type { DecodeStream, TokenizerCore } from "../tokenizer/core.ts";
import { END_OF_TEXT } from "./end_of_text.ts";

/** Its id. */
const END_OF_TEXT_ID = 50256;

/** Source: openai/gpt-2 src/encoder.py, with `\s` as Unicode's White_Space. */
const PIECES =
  /'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

/** Pieces that are kept with their ids; a full cache is emptied. */
const CACHED_PIECES = 65_536;
const CACHED_PIECE_LENGTH = 64;

/** A token's text, or its bytes where they are not valid UTF-8. */
type Rank = string | readonly number[];

const encoder = new TextEncoder();

function bytesOf(rank: Rank): Uint8Array {
  return typeof rank === "string" ? encoder.encode(rank) : Uint8Array.from(rank);
}

function byteStringOf(rank: Rank): string {
  return typeof rank === "string" ? byteString(rank) : String.fromCharCode(...rank);
}

class Gpt2Core implements TokenizerCore {
  readonly vocabSize: number = END_OF_TEXT_ID + 1;
  #tokens: readonly Rank[];
  /** Ids of the tokens that are whole characters, by text. */
  #ids = new Map<string, number>();
  /** Ids of all tokens by byte string; made when the first piece needs merging. */
  #ranks?: Map<string, number>;
  #cache = new Map<string, readonly number[]>();

  constructor(tokens: readonly Rank[]) {
    this.#tokens = tokens;
    tokens.forEach((token, id) => {
      if (typeof token === "string") this.#ids.set(token, id);
    });
  }

  encode(text: string): number[] {
    const ids: number[] = [];
    text.split(END_OF_TEXT).forEach((part, index) => {
      if (index > 0) ids.push(END_OF_TEXT_ID);
      for (const [piece] of part.matchAll(PIECES)) {
        const id = this.#ids.get(piece);
        if (id !== undefined) ids.push(id);
        else for (const id of this.#merge(piece)) ids.push(id);
      }
    });
    return ids;
  }

  decode(ids: readonly number[], skipSpecialTokens: boolean): string {
    const stream = this.decodeStream(skipSpecialTokens);
    let text = "";
    for (const id of ids) text += stream.push(id);
    return text + stream.flush();
  }

  decodeStream(skipSpecialTokens: boolean): DecodeStream {
    // ignoreBOM keeps U+FEFF at the start of a text
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    return {
      push: (id) => {
        const token = id === END_OF_TEXT_ID ? skipSpecialTokens ? undefined : END_OF_TEXT : this.#tokens[id];
        return token === undefined ? "" : decoder.decode(bytesOf(token), { stream: true });
      },
      flush: () => decoder.decode(),
    };
  }

  idOf(token: string): number | undefined {
    return token === END_OF_TEXT ? END_OF_TEXT_ID : this.#ids.get(token);
  }

  tokenOf(id: number): string | undefined {
    if (id === END_OF_TEXT_ID) return END_OF_TEXT;
    const token = this.#tokens[id];
    return token === undefined ? undefined : printable(byteStringOf(token));
  }

  tokenBytes(id: number): number {
    const token = id === END_OF_TEXT_ID ? END_OF_TEXT : this.#tokens[id];
    return token === undefined ? 0 : bytesOf(token).length;
  }

  toJson(): string {
    const ranks = this.#byteRanks();
    const vocab: [string, number][] = [];
    const merges: [string, string][] = [];
    for (const [bytes, rank] of ranks) {
      vocab.push([printable(bytes), rank]);
      if (bytes.length === 1) continue;
      // The last merge that makes a token joins the two parts that the merges before it leave.
      const [left, right] = mergeBytes(bytes, ranks, rank);
      merges.push([printable(left!), printable(right!)]);
    }
    vocab.push([END_OF_TEXT, END_OF_TEXT_ID]);
    const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
    return JSON.stringify({
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: [{
        id: END_OF_TEXT_ID,
        content: END_OF_TEXT,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      }],
      normalizer: null,
      pre_tokenizer: byteLevel,
      post_processor: { ...byteLevel, trim_offsets: false },
      decoder: byteLevel,
      model: {
        type: "BPE",
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: "",
        end_of_word_suffix: "",
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: false,
        vocab: Object.fromEntries(vocab),
        merges,
      },
    });
  }

  #byteRanks(): Map<string, number> {
    return this.#ranks ??= new Map(this.#tokens.map((token, id) => [byteStringOf(token), id]));
  }

  #merge(piece: string): readonly number[] {
    const known = this.#cache.get(piece);
    if (known) return known;
    const ranks = this.#byteRanks();
    const ids = mergeBytes(byteString(piece), ranks).map((bytes) => ranks.get(bytes)!);
    if (piece.length <= CACHED_PIECE_LENGTH) {
      if (this.#cache.size >= CACHED_PIECES) this.#cache.clear();
      this.#cache.set(piece, ids);
    }
    return ids;
  }
}

let loaded: Promise<TokenizerCore> | undefined;

/** GPT-2's vocabulary, loaded once. */
export function loadGpt2Core(): Promise<TokenizerCore> {
  return loaded ??= import("gpt-tokenizer/bpeRanks/r50k_base").then(
    (ranks) => new Gpt2Core(ranks.default),
    (cause) => {
      loaded = undefined; // so that a later call tries again
      throw missingPackage("gpt-tokenizer", "peft_webgpu_gpt2_vocabulary.js", cause);
    },
  );
}

/** Whether vocab.json is GPT-2's own, token by token. */
export async function isGpt2(vocab: JsonObject): Promise<boolean> {
  const entries = Object.entries(vocab);
  if (entries.length !== END_OF_TEXT_ID + 1 || vocab[END_OF_TEXT] !== END_OF_TEXT_ID) return false;
  const core = await loadGpt2Core();
  return entries.every(([token, id]) => core.tokenOf(id as number) === token);
}
