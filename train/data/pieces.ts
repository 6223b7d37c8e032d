/**
 * An example as text, in pieces that are learned or only read: for logs, reports and previews.
 * @module
 */

import type { Example } from "./example.ts";

/**
 * A piece of an example's text.
 *
 * @example
 * ```ts
 * import { AutoTokenizer } from "@peft/webgpu";
 * import { type ExamplePiece, piecesOf } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const show = ({ text, learned }: ExamplePiece) => learned ? `[${text}]` : text;
 * const inputIds = tokenizer.encode("Who? A dog."), labels = inputIds.map((id, i) => i < 2 ? -100 : id);
 * console.log(piecesOf({ inputIds, labels }, (ids) => tokenizer.decode(ids)).map(show).join(""));
 * ```
 */
export interface ExamplePiece {
  /** Its text. */
  readonly text: string;
  /** Whether it is learned. */
  readonly learned: boolean;
}

/**
 * Pieces of an example, neighbours of a kind together.
 *
 * @example
 * ```ts
 * import { AutoTokenizer } from "@peft/webgpu";
 * import { piecesOf } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const inputIds = tokenizer.encode("Who? A dog.");
 * const labels = inputIds.map((id, i) => i < 2 ? -100 : id);
 * for (const { text, learned } of piecesOf({ inputIds, labels }, (ids) => tokenizer.decode(ids))) console.log(text, learned);
 * ```
 */
export function piecesOf(
  { inputIds, labels = inputIds }: Example,
  decode: (ids: number[]) => string,
): ExamplePiece[] {
  const pieces: ExamplePiece[] = [];
  for (let from = 0, to = 0; from < inputIds.length; from = to) {
    const learned = labels[from] !== -100;
    while (to < inputIds.length && (labels[to] !== -100) === learned) to++;
    pieces.push({ text: decode(inputIds.slice(from, to)), learned });
  }
  return pieces;
}
