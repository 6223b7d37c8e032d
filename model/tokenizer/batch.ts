/**
 * From texts to one batch: truncation, padding, attention mask.
 *
 * @module
 */
import { quote } from "../../io/relative_path.ts";
import { checkOptions } from "../../options/names.ts";
import type { TokenizerCore } from "./core.ts";
import { checkSide, type PaddingSide, type TokenizerSettings } from "./settings.ts";

/**
 * Options of a tokenizer call: Hugging Face's, in camelCase.
 *
 * @example
 * ```ts
 * import { AutoTokenizer } from "@peft/webgpu";
 * import type { EncodeOptions } from "@peft/webgpu/tokenizer";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const options: EncodeOptions = { truncation: true, maxLength: 3 };
 * console.log(tokenizer("Once upon a time there was a dog", options).inputIds[0].length); // 3
 * ```
 */
export interface EncodeOptions {
  /** true or "longest": to the longest row; "max_length": to `maxLength`; default false. */
  padding?: boolean | "longest" | "max_length";
  /** Cut rows to `maxLength`; default: only when `maxLength` is given without padding, as transformers does. */
  truncation?: boolean;
  /** Length in tokens for truncation and "max_length"; default: the model's. */
  maxLength?: number;
  /** Side of the padding; default the tokenizer's. */
  paddingSide?: PaddingSide;
  /** Add the vocabulary's own template, such as a beginning token; default true. */
  addSpecialTokens?: boolean;
}

/**
 * Token ids and attention mask (1 token, 0 padding), one row per text.
 *
 * @example
 * ```ts
 * import { AutoTokenizer, type Encoding } from "@peft/webgpu";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * tokenizer.padTokenId = tokenizer.eosTokenId;
 * const { inputIds, attentionMask }: Encoding = tokenizer(["Once upon a time", "One day"], { padding: true });
 * console.log(inputIds[1].length === inputIds[0].length, attentionMask); // true, with zeros after "One day"
 * ```
 */
export interface Encoding {
  /** Token ids, [B][T]; rows differ in length without padding. */
  inputIds: number[][];
  /** 1 where `inputIds` is a token, 0 where it is padding. */
  attentionMask: number[][];
}

const OPTION_NAMES = [
  "padding",
  "truncation",
  "maxLength",
  "paddingSide",
  "addSpecialTokens",
] as const satisfies readonly (keyof EncodeOptions)[];
const PADDINGS: readonly unknown[] = [true, false, "longest", "max_length"];

function lengthLimit(options: EncodeOptions, settings: TokenizerSettings, action: string): number {
  const limit = options.maxLength ?? settings.modelMaxLength;
  if (Number.isSafeInteger(limit) && limit > 0) return limit;
  const received = options.maxLength === undefined ? "none, and the tokenizer has no default" : limit;
  throw new RangeError(`Cannot ${action}: maxLength must be a positive integer, received ${received}`);
}

/** Cuts a row to `limit` tokens at its end, keeping what the template adds before and after the text. */
function cut(core: TokenizerCore, text: string, ids: number[], limit: number): number[] {
  const plain = core.encode(text, false);
  const added = ids.length - plain.length;
  let before = 0;
  while (before < added && !plain.every((id, i) => ids[before + i] === id)) before++;
  if (added <= 0 || added > limit) return ids.slice(0, limit);
  const kept = plain.slice(0, limit - added);
  return [...ids.slice(0, before), ...kept, ...ids.slice(before + plain.length)];
}

/**
 * Encodes texts to one batch.
 *
 * @throws {TypeError} when a text is not a string, or for an option that does not exist; RangeError when a length is not
 * positive, an option is none of its choices, or padding is asked for and the tokenizer has no padding token.
 */
export function encodeBatch(
  core: TokenizerCore,
  settings: TokenizerSettings,
  texts: readonly string[],
  options: EncodeOptions,
): Encoding {
  checkOptions("tokenize", options, OPTION_NAMES);
  const { padding = false, maxLength, paddingSide = settings.paddingSide } = options;
  if (!PADDINGS.includes(padding)) {
    throw new RangeError(
      `Cannot tokenize: padding must be true, false, "longest" or "max_length", received ${
        quote(String(padding))
      }`,
    );
  }
  checkSide(paddingSide);
  const truncation = options.truncation ?? (maxLength !== undefined && padding === false);
  const limit = truncation ? lengthLimit(options, settings, "truncate") : Infinity;
  const inputIds = texts.map((text) => {
    if (typeof text !== "string") {
      throw new TypeError(
        `Cannot tokenize: a string or a list of strings is required, received ${typeof text}`,
      );
    }
    const ids = core.encode(text, options.addSpecialTokens ?? true);
    return ids.length <= limit ? ids : cut(core, text, ids, limit);
  });
  if (padding === false) return { inputIds, attentionMask: inputIds.map((row) => row.map(() => 1)) };
  const width = padding === "max_length" ? lengthLimit(options, settings, "pad") : null;
  return padRows(inputIds, settings.padTokenId, width, paddingSide);
}

/** Fills rows up to `width` tokens (null: those of the longest). */
function padRows(
  inputIds: number[][],
  padTokenId: number | null,
  given: number | null,
  side: PaddingSide,
): Encoding {
  if (padTokenId === null) {
    throw new RangeError(
      "Cannot pad the batch: a padding token is required, received a tokenizer without one; " +
        "set tokenizer.padTokenId = tokenizer.eosTokenId",
    );
  }
  const width = given ?? inputIds.reduce((longest, row) => Math.max(longest, row.length), 0);
  const pad = (row: number[], value: number): number[] => {
    const fill = new Array<number>(Math.max(0, width - row.length)).fill(value);
    return side === "left" ? [...fill, ...row] : [...row, ...fill];
  };
  return {
    inputIds: inputIds.map((row) => pad(row, padTokenId)),
    attentionMask: inputIds.map((row) => pad(row.map(() => 1), 0)),
  };
}
