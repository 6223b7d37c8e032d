/**
 * Checks the contents of a `tokenizer.json` from an untrusted source. The package that reads it afterwards accepts any id,
 * allocates memory up to the greatest one, and runs any pattern.
 *
 * @module
 */
import type { JsonObject } from "../../io/json.ts";
import { quote } from "../../io/relative_path.ts";

/** Greater ids are refused; the largest published vocabularies have about a million tokens. */
const MAX_ID = 2 ** 22 - 1;

const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function received(value: unknown): string {
  if (typeof value === "number") return String(value);
  if (typeof value === "string") return quote(value);
  return value === null ? "null" : Array.isArray(value) ? "an array" : `a ${typeof value}`;
}

function checkId(id: unknown, token: string): void {
  if (Number.isInteger(id) && (id as number) >= 0 && (id as number) <= MAX_ID) return;
  throw new RangeError(
    `the id of token ${quote(token)} must be an integer from 0 to ${MAX_ID}, received ${received(id)}`,
  );
}

/** Checks the vocabulary of Unigram: [token, score] at its id. */
function checkScoredTokens(vocab: readonly unknown[]): void {
  vocab.forEach((row, id) => {
    const valid = Array.isArray(row) && typeof row[0] === "string" && Number.isFinite(row[1]);
    if (valid) return;
    throw new TypeError(
      `entry ${id} of the vocabulary must be a token with its score, received ${received(row)}`,
    );
  });
  if (vocab.length > MAX_ID + 1) {
    throw new RangeError(`at most ${MAX_ID + 1} tokens are allowed, received ${vocab.length}`);
  }
}

function checkVocabulary(vocab: unknown): void {
  if (Array.isArray(vocab)) return checkScoredTokens(vocab);
  if (!isObject(vocab)) throw new TypeError(`a vocabulary is required, received ${received(vocab)}`);
  for (const [token, id] of Object.entries(vocab)) checkId(id, token);
}

function checkMerges(merges: unknown): void {
  if (!Array.isArray(merges)) {
    throw new TypeError(`a list of merges is required, received ${received(merges)}`);
  }
  merges.forEach((merge, i) => {
    const pair = typeof merge === "string" ? merge.split(" ") : merge;
    if (Array.isArray(pair) && pair.length >= 2 && pair.every((part) => typeof part === "string")) return;
    throw new TypeError(`merge ${i} must be two tokens, received ${received(merge)}`);
  });
}

function checkAddedTokens(tokens: unknown): void {
  if (!Array.isArray(tokens)) {
    throw new TypeError(`a list of added tokens is required, received ${received(tokens)}`);
  }
  for (const token of tokens) {
    const content = isObject(token) ? token.content : undefined;
    if (typeof content !== "string" || content === "") {
      throw new TypeError(`an added token must have a text, received ${received(content)}`);
    }
    checkId((token as JsonObject).id, content);
  }
}

/** Checks every length in the steps of a tokenizer, at any depth; gives their patterns. */
function checkSteps(step: unknown): string[] {
  if (Array.isArray(step)) return step.flatMap(checkSteps);
  if (!isObject(step)) return [];
  const patterns: string[] = [];
  for (const [key, value] of Object.entries(step)) {
    if (key === "Regex") {
      if (typeof value !== "string") {
        throw new TypeError(`a pattern must be a text, received ${received(value)}`);
      }
      patterns.push(value);
      continue;
    }
    if (
      step.type === "FixedLength" && key === "length" && !(Number.isInteger(value) && (value as number) > 0)
    ) {
      throw new RangeError(`the length of pieces must be a positive integer, received ${received(value)}`);
    }
    patterns.push(...checkSteps(value));
  }
  return patterns;
}

/** Checks that no pattern can take exponential time. */
async function checkPatterns(patterns: readonly string[]): Promise<void> {
  const { patternDefect } = await import("./pattern_safety.ts");
  for (const pattern of patterns) {
    const defect = patternDefect(pattern);
    if (defect !== undefined) {
      throw new RangeError(`pattern ${quote(pattern)} may run without end: ${defect}`);
    }
  }
}

/**
 * Checks the contents of `tokenizer.json`.
 *
 * @throws {TypeError} for a value of the wrong kind, {RangeError} for an id or length out of range and for a pattern
 * whose time could be exponential
 */
export async function checkTokenizerJson(json: JsonObject): Promise<void> {
  const { model, added_tokens: added, normalizer, pre_tokenizer: preTokenizer, decoder } = json;
  if (!isObject(model)) throw new TypeError(`a model is required, received ${received(model)}`);
  checkVocabulary(model.vocab);
  if (model.merges !== undefined) checkMerges(model.merges);
  if (added !== undefined && added !== null) checkAddedTokens(added);
  const patterns = checkSteps([normalizer, preTokenizer, decoder, json.post_processor]);
  if (patterns.length > 0) await checkPatterns(patterns); // not every tokenizer has one
}
