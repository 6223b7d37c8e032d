/**
 * An example as text, in pieces that are learned or only read: for logs, reports and previews.
 * @module
 */

import type { Example } from "./example.ts";

/** A piece of an example's text. */
export interface ExamplePiece {
  /** Its text. */
  readonly text: string;
  /** Whether it is learned. */
  readonly learned: boolean;
}

/** Pieces of an example, neighbours of a kind together. */
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
