/**
 * A tokenizer as the metadata of a GGUF file. Source: gguf-py's constants, llama.cpp's conversion/base.py.
 *
 * @module
 */
import { memoryFolder, readAll } from "../../io/open_file.ts";
import type { GgufOut } from "../../io/gguf_writer.ts";
import { CONTRACTIONS, CONTROL, GPT2_PATTERN, SPLITS, USER_DEFINED } from "./gguf_vocabulary.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** llama.cpp's other types of token. */
const NORMAL = 1;
const UNKNOWN = 2;
const UNUSED = 5;
const BYTE = 6;

/** What is read of tokenizer.json. */
interface TokenizerJson {
  readonly added_tokens?: readonly { id: number; content: string; special: boolean }[];
  readonly pre_tokenizer: Part | null;
  readonly normalizer: Part | null;
  readonly post_processor: unknown;
  readonly model: {
    readonly type: string;
    readonly vocab: Readonly<Record<string, number>>;
    readonly merges: readonly (string | readonly [string, string])[];
    readonly unk_token?: string | null;
    readonly byte_fallback?: boolean;
  };
}

/** A normalizer or pre-tokenizer. */
interface Part {
  readonly type: string;
  readonly pretokenizers?: readonly Part[];
  readonly normalizers?: readonly Part[];
  readonly pattern?: { readonly Regex?: string };
  readonly individual_digits?: boolean;
  readonly use_regex?: boolean;
}

function refuse(problem: string): never {
  throw new TypeError(`Cannot export the tokenizer: ${problem}`);
}

/** The patterns that a pre-tokenizer splits with, as `SPLITS` has them; undefined for other parts. */
function patternsOf(part: Part | null): string[] | undefined {
  if (part === null) return [];
  if (part.type === "Sequence") {
    const all = part.pretokenizers!.map(patternsOf);
    return all.includes(undefined) ? undefined : all.flat() as string[];
  }
  if (part.type === "ByteLevel") return part.use_regex === false ? [] : [GPT2_PATTERN];
  if (part.type === "Digits" && part.individual_digits) return ["\\p{N}"];
  const regex = part.type === "Split" ? part.pattern?.Regex : undefined;
  return regex === undefined ? undefined : [regex.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)", CONTRACTIONS)];
}

/** llama.cpp's name of a pre-tokenizer. */
function preOf(part: Part | null): string {
  const patterns = JSON.stringify(patternsOf(part));
  const known = Object.keys(SPLITS).filter((name) => name !== "default");
  return known.find((name) => JSON.stringify(SPLITS[name]) === patterns) ??
    refuse(`llama.cpp has a pre-tokenizer of none of ${known.join(", ")}: this one splits otherwise`);
}

/** Scores that lead SentencePiece's merging to the merges' order: the earlier a token is made, the higher. */
function scoresOf(tokens: readonly string[], merges: readonly (readonly [string, string])[]): number[] {
  const ranks = new Map<string, number>();
  for (const [rank, pair] of merges.entries()) {
    const token = pair.join("");
    if (!ranks.has(token)) ranks.set(token, rank);
  }
  return tokens.map((token) => -(ranks.get(token) ?? merges.length));
}

/** Whether a text gets a token put before it, or after it. */
function adds(tokenizer: Tokenizer, id: number | null, side: "first" | "last"): boolean {
  const ids = tokenizer.encode("a");
  return id !== null && ids.length > 1 && ids.at(side === "first" ? 0 : -1) === id;
}

/**
 * The entries `tokenizer.ggml.…` and `tokenizer.chat_template`.
 * @param vocabSize rows of the model's embedding; ids without a token are written as unused ones
 * @throws {TypeError} for a tokenizer that llama.cpp has none of
 */
export async function writeGgufVocabulary(
  tokenizer: Tokenizer | undefined,
  vocabSize: number,
): Promise<[string, GgufOut][]> {
  if (tokenizer === undefined) return [["tokenizer.ggml.model", { string: "no_vocab" }]];
  const folder = memoryFolder();
  await tokenizer.savePretrained(folder);
  const file = await readAll((await folder.open("tokenizer.json"))!);
  const json: TokenizerJson = JSON.parse(new TextDecoder().decode(file));
  const { model } = json;
  if (model.type !== "BPE") refuse(`byte-pair encoding is required, received ${model.type}`);
  if (tokenizer.vocabSize > vocabSize) {
    refuse(`the model has ${vocabSize} tokens, the tokenizer ${tokenizer.vocabSize}`);
  }
  const tokens = Array.from({ length: vocabSize }, (_, id) => `[PAD${id}]`);
  const types = new Array<number>(vocabSize).fill(UNUSED);
  for (const [token, id] of Object.entries(model.vocab)) {
    tokens[id] = token;
    types[id] = token === model.unk_token
      ? UNKNOWN
      : model.byte_fallback && /^<0x[0-9A-F]{2}>$/.test(token)
      ? BYTE
      : NORMAL;
  }
  for (const { id, content, special } of json.added_tokens ?? []) {
    tokens[id] = content;
    if (types[id] !== UNKNOWN) types[id] = special ? CONTROL : USER_DEFINED;
  }
  const merges = model.merges.map((merge) =>
    (typeof merge === "string" ? merge.split(" ") : merge) as [string, string]
  );
  const { bosTokenId: bos, eosTokenId: eos, padTokenId: pad, chatTemplate } = tokenizer;
  const ids = Object.entries({ bos, eos, padding: pad }).filter((entry): entry is [string, number] =>
    entry[1] !== null
  );
  const unknown = types.indexOf(UNKNOWN);
  const prepends = JSON.stringify(json.normalizer ?? null).includes('"Prepend"');
  return [
    ...(model.byte_fallback
      ? [
        ["tokenizer.ggml.model", { string: "llama" }],
        ["tokenizer.ggml.pre", { string: "default" }],
        ["tokenizer.ggml.scores", { f32s: scoresOf(tokens, merges) }],
        ["tokenizer.ggml.add_space_prefix", { bool: prepends }],
      ] as [string, GgufOut][]
      : [
        ["tokenizer.ggml.model", { string: "gpt2" }],
        ["tokenizer.ggml.pre", { string: preOf(json.pre_tokenizer) }],
        ["tokenizer.ggml.merges", { strings: merges.map((pair) => pair.join(" ")) }],
      ] as [string, GgufOut][]),
    ["tokenizer.ggml.tokens", { strings: tokens }],
    ["tokenizer.ggml.token_type", { i32s: types }],
    ...ids.map(([name, id]): [string, GgufOut] => [`tokenizer.ggml.${name}_token_id`, { u32: id }]),
    ...(unknown < 0 ? [] : [["tokenizer.ggml.unknown_token_id", { u32: unknown }] as [string, GgufOut]]),
    ["tokenizer.ggml.add_bos_token", { bool: adds(tokenizer, bos, "first") }],
    ["tokenizer.ggml.add_eos_token", { bool: adds(tokenizer, eos, "last") }],
    ...(chatTemplate ? [["tokenizer.chat_template", { string: chatTemplate }] as [string, GgufOut]] : []),
  ];
}
