/**
 * The tokenizer of a GGUF file, as the `tokenizer.json` and `tokenizer_config.json` that say the same.
 * Source: the names of gguf-py's constants, the pre-tokenizers of llama.cpp's llama-vocab.cpp.
 *
 * @module
 */
import { GgufError, type GgufValue } from "../../io/gguf_header.ts";
import type { JsonObject } from "../../io/json.ts";
import { quote } from "../../io/relative_path.ts";

/** What llama.cpp's token types mean. */
export const CONTROL = 3;
export const USER_DEFINED = 4;

export const GPT2_PATTERN = "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
export const CONTRACTIONS = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
const REST = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const LLAMA3_PATTERN = `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|${REST}`;
const QWEN2_PATTERN = `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|${REST}`;

/** Patterns that split a text before byte-pair encoding, one after another, by `tokenizer.ggml.pre`. */
export const SPLITS: Readonly<Record<string, readonly string[]>> = {
  default: [GPT2_PATTERN],
  "gpt-2": [GPT2_PATTERN],
  smollm: ["\\p{N}", GPT2_PATTERN],
  "llama-bpe": [LLAMA3_PATTERN],
  llama3: [LLAMA3_PATTERN],
  "llama-v3": [LLAMA3_PATTERN],
  smaug: [LLAMA3_PATTERN],
  qwen2: [QWEN2_PATTERN],
  "deepseek-r1-qwen": [QWEN2_PATTERN],
};
/** Pre-tokenizers whose vocabulary takes whole pieces before it merges. */
export const IGNORES_MERGES: ReadonlySet<string> = new Set(["llama-bpe", "llama3", "llama-v3"]);
/** Those that put a beginning token before a text where the file does not say. */
const ADDS_BOS: ReadonlySet<string> = IGNORES_MERGES;

type Metadata = ReadonlyMap<string, GgufValue>;

/** Reads the entries of `tokenizer.ggml` with their types checked. */
class Entries {
  constructor(readonly metadata: Metadata, readonly file: string) {}

  refuse(problem: string): never {
    throw new GgufError(`Cannot load a tokenizer from ${quote(this.file)}: ${problem}`);
  }

  text(name: string): string | undefined {
    const value = this.metadata.get(`tokenizer.${name}`);
    if (value === undefined || typeof value === "string") return value;
    return this.refuse(`tokenizer.${name} must be a string, received a ${typeof value}`);
  }

  flag(name: string): boolean | undefined {
    const value = this.metadata.get(`tokenizer.ggml.${name}`);
    if (value === undefined || typeof value === "boolean") return value;
    return this.refuse(`tokenizer.ggml.${name} must be true or false, received a ${typeof value}`);
  }

  texts(name: string): readonly string[] {
    const value = this.metadata.get(`tokenizer.ggml.${name}`);
    if (Array.isArray(value) && value.every((entry) => typeof entry === "string")) return value;
    return this.refuse(`tokenizer.ggml.${name} must be a list of strings, received ${describe(value)}`);
  }

  /** Numbers, one for each token; undefined where the file has none. */
  numbers(name: string, length: number): ArrayLike<number> | undefined {
    const value = this.metadata.get(`tokenizer.ggml.${name}`);
    if (value === undefined) return undefined;
    if (ArrayBuffer.isView(value) && (value as Float32Array).length === length) return value as Float32Array;
    return this.refuse(`tokenizer.ggml.${name} must be ${length} numbers, received ${describe(value)}`);
  }

  /** The id of a special token, or undefined. */
  id(name: string, vocabSize: number): number | undefined {
    const value = this.metadata.get(`tokenizer.ggml.${name}_token_id`);
    if (value === undefined || value === 0xffffffff) return undefined; // llama.cpp's "none"
    if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value < vocabSize) return value;
    return this.refuse(
      `tokenizer.ggml.${name}_token_id must be an id below ${vocabSize}, received ${String(value)}`,
    );
  }
}

function describe(value: unknown): string {
  if (value === undefined) return "none";
  return typeof value === "object"
    ? `a list of ${(value as ArrayLike<unknown>).length}`
    : `a ${typeof value}`;
}

/** Splits for byte-level BPE; those of `SPLITS` isolate what a pattern matches, one pattern after another. */
function byteLevelParts(patterns: readonly string[]): { pre_tokenizer: JsonObject; decoder: JsonObject } {
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
  const splits = patterns.map((Regex) => ({
    type: "Split",
    pattern: { Regex },
    behavior: "Isolated",
    invert: false,
  }));
  return { pre_tokenizer: { type: "Sequence", pretokenizers: [...splits, byteLevel] }, decoder: byteLevel };
}

/**
 * The merges of a SentencePiece vocabulary: every way to cut a token into two others, best score of the token first.
 * Source: `GGUFLlamaConverter` and `generate_merges` of transformers.
 */
function mergesOf(tokens: readonly string[], scores: ArrayLike<number>): [string, string][] {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const merges: { left: string; right: string; score: number }[] = [];
  for (const [id, token] of tokens.entries()) {
    const local: { left: string; right: string; score: number }[] = [];
    for (let cut = 1; cut < token.length; cut++) {
      const [left, right] = [token.slice(0, cut), token.slice(cut)];
      if (ids.has(left) && ids.has(right)) local.push({ left, right, score: scores[id] });
    }
    local.sort((a, b) => ids.get(a.left)! - ids.get(b.left)! || ids.get(a.right)! - ids.get(b.right)!);
    merges.push(...local);
  }
  return merges.sort((a, b) => b.score - a.score).map(({ left, right }) => [left, right]);
}

/** Rules of SentencePiece: spaces are U+2581, unknown characters their bytes. */
function sentencePieceParts(addPrefix: boolean): { normalizer: JsonObject; decoder: JsonObject } {
  const replace = { type: "Replace", pattern: { String: " " }, content: "\u2581" };
  const back = { type: "Replace", pattern: { String: "\u2581" }, content: " " };
  const prepend = { type: "Prepend", prepend: "\u2581" };
  const strip = { type: "Strip", content: " ", start: 1, stop: 0 };
  return {
    normalizer: addPrefix ? { type: "Sequence", normalizers: [prepend, replace] } : replace,
    decoder: {
      type: "Sequence",
      decoders: [back, { type: "ByteFallback" }, { type: "Fuse" }, ...addPrefix ? [strip] : []],
    },
  };
}

/** `tokenizer.json` and `tokenizer_config.json`. */
export interface VocabularyFiles {
  /** Contents of tokenizer.json. */
  readonly json: JsonObject;
  /** Contents of tokenizer_config.json. */
  readonly config: JsonObject;
}

/**
 * The tokenizer that a GGUF file describes.
 *
 * @param name what messages call the file.
 * @throws {GgufError} when the file has no tokenizer, one of an unknown kind, or entries that do not fit together.
 */
export function ggufVocabulary(metadata: Metadata, name: string): VocabularyFiles {
  const entries = new Entries(metadata, name);
  const kind = entries.text("ggml.model") ?? entries.refuse("the file has no tokenizer");
  if (kind !== "gpt2" && kind !== "llama") {
    entries.refuse(
      `a byte-level ("gpt2") or SentencePiece ("llama") tokenizer is required, received ${quote(kind)}`,
    );
  }
  const tokens = entries.texts("tokens");
  const types = entries.numbers("token_type", tokens.length);
  const special = new Map(
    (["bos", "eos", "unknown", "padding"] as const).flatMap((token) => {
      const id = entries.id(token, tokens.length);
      return id === undefined ? [] : [[token, id] as const];
    }),
  );
  const vocab = new Map(tokens.map((token, id) => [token, id]));
  const chosen = new Set(special.values());
  const added = tokens.flatMap((content, id) => {
    const type = types?.[id];
    if (type !== CONTROL && type !== USER_DEFINED && !chosen.has(id)) return [];
    const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false };
    return [{ id, content, ...flags, special: type !== USER_DEFINED }];
  });
  const isByteLevel = kind === "gpt2";
  const pre = entries.text("ggml.pre") ?? "default";
  if (isByteLevel && !Object.hasOwn(SPLITS, pre)) {
    entries.refuse(
      `a pre-tokenizer of ${Object.keys(SPLITS).map(quote).join(", ")} is required, received ${quote(pre)}`,
    );
  }
  const addPrefix = entries.flag("add_space_prefix") ?? true;
  const unknown = special.get("unknown");
  const rules = isByteLevel ? { normalizer: null, ...byteLevelParts(SPLITS[pre]) } : {
    pre_tokenizer: null,
    ...sentencePieceParts(addPrefix),
  };
  const merges = isByteLevel
    ? entries.texts("merges")
    : mergesOf(tokens, entries.numbers("scores", tokens.length) ?? entries.refuse("it has no scores"));
  const addBos = entries.flag("add_bos_token") ?? (!isByteLevel || ADDS_BOS.has(pre));
  const addEos = entries.flag("add_eos_token") ?? false;
  const json = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: added,
    ...rules,
    post_processor: template(
      tokens,
      addBos ? special.get("bos") : undefined,
      addEos ? special.get("eos") : undefined,
    ),
    model: {
      type: "BPE",
      dropout: null,
      unk_token: isByteLevel || unknown === undefined ? null : tokens[unknown],
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: !isByteLevel,
      byte_fallback: !isByteLevel,
      ignore_merges: isByteLevel && IGNORES_MERGES.has(pre),
      vocab: Object.fromEntries(vocab),
      merges,
    },
  };
  return { json, config: configOf(metadata, tokens, special, entries.text("chat_template")) };
}

/** What is put around a text. */
function template(
  tokens: readonly string[],
  bos: number | undefined,
  eos: number | undefined,
): JsonObject | null {
  if (bos === undefined && eos === undefined) return null;
  const used = [bos, eos].filter((id) => id !== undefined);
  const piece = (id: number, type_id: number) => ({ SpecialToken: { id: tokens[id], type_id } });
  const around = (sequence: string, type_id: number) => [
    ...bos === undefined ? [] : [piece(bos, type_id)],
    { Sequence: { id: sequence, type_id } },
    ...eos === undefined ? [] : [piece(eos, type_id)],
  ];
  return {
    type: "TemplateProcessing",
    single: around("A", 0),
    pair: [...around("A", 0), ...around("B", 1)],
    special_tokens: Object.fromEntries(
      used.map((id) => [tokens[id], { id: tokens[id], ids: [id], tokens: [tokens[id]] }]),
    ),
  };
}

function configOf(
  metadata: Metadata,
  tokens: readonly string[],
  special: ReadonlyMap<string, number>,
  chatTemplate: string | undefined,
): JsonObject {
  const names = { bos: "bos_token", eos: "eos_token", unknown: "unk_token", padding: "pad_token" } as const;
  const length = metadata.get(`${String(metadata.get("general.architecture"))}.context_length`);
  return {
    ...Object.fromEntries([...special].map(([name, id]) => [names[name as keyof typeof names], tokens[id]])),
    ...(typeof length === "number" ? { model_max_length: length } : {}),
    ...(chatTemplate === undefined ? {} : { chat_template: chatTemplate }),
    clean_up_tokenization_spaces: false,
  };
}
