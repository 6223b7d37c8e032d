/**
 * tokenizer.json from a file that nobody vouches for.
 * @module
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { memoryFolder } from "../../../io/open_file.ts";
import { patternDefect } from "../../../model/tokenizer/pattern_safety.ts";
import { AutoTokenizer } from "../../../model/tokenizer/auto.ts";

/** A small byte-level vocabulary with some of its parts replaced. */
function folder(change: Record<string, unknown> = {}, model: Record<string, unknown> = {}) {
  const json = {
    version: "1.0",
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    model: { type: "BPE", vocab: { a: 0, b: 1, ab: 2 }, merges: ["a b"], ...model },
    ...change,
  };
  return memoryFolder({ "tokenizer.json": new TextEncoder().encode(JSON.stringify(json)) });
}

Deno.test("AutoTokenizer.fromPretrained() refuses ids, merges and added tokens that no vocabulary has, at once", async () => {
  const cases: [ReturnType<typeof folder>, string][] = [
    [folder({}, { vocab: { a: 0, b: 2 ** 31 } }), 'the id of token "b" must be an integer from 0 to 4194303'],
    [folder({}, { vocab: { a: -5 } }), "received -5"],
    [folder({}, { vocab: { a: 1.5 } }), "received 1.5"],
    [folder({}, { vocab: { a: "7" } }), 'received "7"'],
    [folder({}, { vocab: { a: null } }), "received null"],
    [folder({}, { vocab: null }), "a vocabulary is required, received null"],
    [folder({}, { type: "Unigram", vocab: [["a", 0], ["b"]] }), "entry 1 of the vocabulary must be a token"],
    [folder({}, { merges: ["a b", "ab"] }), "merge 1 must be two tokens"],
    [folder({}, { merges: [["a", 7]] }), "merge 0 must be two tokens"],
    [folder({ added_tokens: [{ id: 2 ** 31, content: "<s>" }] }), 'the id of token "<s>" must be'],
    [folder({ added_tokens: [{ id: 3, content: "" }] }), "an added token must have a text"],
    [folder({ added_tokens: {} }), "a list of added tokens is required"],
    [folder({ pre_tokenizer: { type: "FixedLength", length: 0 } }), "must be a positive integer, received 0"],
    [folder({ model: null }), "a model is required, received null"],
  ];
  for (const [given, message] of cases) {
    const start = performance.now();
    await assertRejects(() => AutoTokenizer.fromPretrained(given), Error, message);
    assert(performance.now() - start < 1000, message);
  }
});

Deno.test("AutoTokenizer.fromPretrained() refuses a pattern that backtracks without end, wherever it stands", async () => {
  const pattern = { Regex: "^(a+)+$" };
  const split = { type: "Split", pattern, behavior: "Isolated", invert: false };
  for (
    const change of [
      { pre_tokenizer: split },
      { pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "Sequence", pretokenizers: [split] }] } },
      { normalizer: { type: "Replace", pattern, content: "" } },
      { decoder: { type: "Replace", pattern, content: "" } },
    ]
  ) {
    await assertRejects(
      () => AutoTokenizer.fromPretrained(folder(change)),
      Error,
      'pattern "^(a+)+$" may run without end: a part that can match in several ways is repeated',
    );
  }
});

Deno.test("patternDefect() takes the patterns of published tokenizers", () => {
  const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
  for (
    const pattern of [
      String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`, // gpt2
      String
        .raw`${contractions}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`, // llama3
      String
        .raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+${contractions}?|\p{N}{1,3}`, // o200k
      String.raw`[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_${"`"}{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+`, // deepseek
      String.raw` ?[^(\s|[.,!?…。，、।۔،])]+`, // bloom
      String.raw`\d{1,3}(?=(?:\d{3})*\b)`,
      String.raw`<\|startoftext\|>|<\|endoftext\|>|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+`, // clip
      " ",
      String.raw`[\r\n]`,
    ]
  ) assertEquals(patternDefect(pattern), undefined, pattern);
});

Deno.test("patternDefect() refuses what can take exponential time, or memory", () => {
  for (
    const pattern of [
      "^(a+)+$",
      "[^](a+)+[^]$",
      "[[](a+)+[\\]]",
      "(?:a*)*",
      "(a|a)*$",
      "(a|ab){2,}",
      "(?:a?){30}a{30}",
      "((a{1,9}){1,9})x",
      "(?:[^x]+y?)*z",
      "a?".repeat(30) + "a".repeat(30),
      "a*a*a*a*b",
      "(?:(?:a{100}){100}){100}",
      String.raw`(a)\1+`,
      "(".repeat(60) + ")".repeat(60),
      "a".repeat(30_000),
      "(a",
      "[a",
      "a)",
    ]
  ) assert(patternDefect(pattern) !== undefined, pattern.slice(0, 40));
});

Deno.test("tokenizer.encode() leaves out what a vocabulary without an unknown token does not have", async () => {
  const tokenizer = await AutoTokenizer.fromPretrained(folder());
  assertEquals(tokenizer.encode("abxa"), [2, 0]);
});
