/**
 * Prompts of a generation: rows of ids, or texts, padded on the left.
 * @module
 */

import { Tensor } from "../../autograd/mod.ts";
import { checkOptions } from "../../options/names.ts";
import { checkRows, type DecoderInputs, type TokenIds, toMaskRows } from "../inputs.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";

/**
 * Prompts: texts, rows of token ids, or what a tokenizer returns. Rows of ids must have one length and be padded on the
 * left; texts are padded here.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import type { GenerateInputs } from "@peft/webgpu/model";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const prompts: GenerateInputs = { inputIds: [[0, 5, 6], [7, 8, 9]], attentionMask: [[0, 1, 1], [1, 1, 1]] };
 * console.log((await model.generate(prompts, { maxNewTokens: 2, eosTokenId: null })).map((row) => row.length)); // [ 5, 5 ]
 * ```
 */
export type GenerateInputs = string | readonly string[] | readonly (readonly number[])[] | {
  /** [B, T] on the host. */
  readonly inputIds?: TokenIds;
  /** Texts in place of ids. */
  readonly text?: string | readonly string[];
  /** [B, T], 1 for tokens and 0 for padding. */
  readonly attentionMask?: readonly (readonly number[])[] | Tensor;
  /** Virtual tokens before every row: see `DecoderInputs`. */
  readonly promptEmbeds?: Tensor;
  /** Virtual keys and values before every row: see `DecoderInputs`. */
  readonly prefixKeyValues?: readonly Tensor[];
};

const INPUT_NAMES = ["inputIds", "text", "attentionMask", "promptEmbeds", "prefixKeyValues"];

/** Prompts as rows of ids. */
export interface Prompts {
  /** [B][T] */
  readonly rows: number[][];
  /** [B][T], or null where every token counts. */
  readonly mask: readonly (readonly number[])[] | null;
  /** Virtual tokens, if any. */
  readonly virtual: Pick<DecoderInputs, "promptEmbeds" | "prefixKeyValues">;
}

/** The form that every other form of prompts is brought to. */
type Given = Exclude<GenerateInputs, string | readonly unknown[]>;

function isTexts(inputs: unknown): inputs is string | readonly string[] {
  return typeof inputs === "string" ||
    (Array.isArray(inputs) && inputs.length > 0 && inputs.every((text) => typeof text === "string"));
}

/** Ids of texts, with shorter rows padded on the left. @throws {TypeError} without a tokenizer, or for an empty text */
function encode(
  texts: readonly string[],
  tokenizer: Tokenizer | undefined,
  pad: number,
): Pick<Prompts, "rows" | "mask"> {
  if (!tokenizer) {
    throw new TypeError(
      "Cannot generate from text: the option tokenizer is required, such as await AutoTokenizer.fromPretrained(…), received none",
    );
  }
  const rows = texts.map((text) => tokenizer.encode(text));
  const empty = rows.findIndex(({ length }) => length === 0);
  if (empty >= 0) {
    throw new TypeError(
      `Cannot generate: a text of at least one token is required, received ${JSON.stringify(texts[empty])}`,
    );
  }
  const longest = Math.max(...rows.map(({ length }) => length));
  const fill = (row: number[], value: number) => new Array<number>(longest - row.length).fill(value);
  if (rows.every(({ length }) => length === longest)) return { rows, mask: null };
  return {
    rows: rows.map((row) => [...fill(row, pad), ...row]),
    mask: rows.map((row) => [...fill(row, 0), ...row.map(() => 1)]),
  };
}

/**
 * Prompts as rows of ids and of a mask.
 * @param pad the token that pads shorter texts
 * @throws {TypeError} for anything that is not a form of prompts
 */
export function readPrompts(inputs: GenerateInputs, tokenizer: Tokenizer | undefined, pad: number): Prompts {
  const given: Given = isTexts(inputs)
    ? { text: inputs }
    : Array.isArray(inputs)
    ? { inputIds: inputs as number[][] }
    : inputs as Given;
  checkOptions("generate", given, INPUT_NAMES, "input");
  const { inputIds, text, attentionMask, promptEmbeds, prefixKeyValues } = given ?? {};
  const virtual = { promptEmbeds, prefixKeyValues };
  if (text !== undefined) {
    if (!isTexts(text)) throw new TypeError(`Cannot generate: text must be a string or strings`);
    return { ...encode([text].flat(), tokenizer, pad), virtual };
  }
  if (inputIds === undefined) {
    throw new TypeError("Cannot generate: a text, rows of token ids or { inputIds } are required");
  }
  if (inputIds instanceof Tensor || attentionMask instanceof Tensor) {
    throw new TypeError(
      "Cannot generate: inputIds and attentionMask on the host (number[][]) are required, received a tensor",
    );
  }
  const [batch, length] = checkRows("inputIds", inputIds);
  const mask = attentionMask ? toMaskRows(attentionMask, batch, length) : null;
  const padded = mask?.findIndex((row) => row[length - 1] === 0) ?? -1;
  if (padded >= 0) {
    throw new RangeError(
      `Cannot generate: prompts must be padded on the left (tokenizer.paddingSide = "left"), row ${padded} ends in padding`,
    );
  }
  return { rows: inputIds.map((row) => [...row]), mask, virtual };
}

/** Positions that skip padding: cumulative sum of the mask minus 1, 0 for padding. */
export function positionsOf(mask: readonly (readonly number[])[]): number[][] {
  return mask.map((row) => {
    let count = 0;
    return row.map((value) => value === 0 ? 0 : count++);
  });
}

/** Number of virtual tokens before every row. */
export function virtualCount({ promptEmbeds, prefixKeyValues }: Prompts["virtual"]): number {
  return promptEmbeds?.shape[0] ?? prefixKeyValues?.[0].shape[0] ?? 0;
}
