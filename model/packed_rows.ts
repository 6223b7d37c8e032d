/**
 * Packed rows: several documents in one row that do not see each other, told by ids of sequences, or by positions that
 * restart, as in `transformers`' padding-free batches (`DataCollatorWithFlattening`).
 * @module
 */

import {
  type Device,
  type Documents,
  documentsOf,
  positionsInDocuments,
  showShape,
  Tensor,
} from "../autograd/mod.ts";
import { checkStepInput } from "../autograd/step_inputs.ts";
import { checkRows, type DecoderInputs, rowsOf, toIdTensor, type TokenIds } from "./inputs.ts";

/** Ids of sequences lie below this. */
const SEQUENCE_IDS = 2 ** 31 - 1;

/** How rows are packed: what says so, and how many positions their longest document has, as far as the host knows. */
export interface Packing {
  readonly by: "positions" | "sequences";
  /** 0 where the positions are given, and checked by themselves. */
  readonly longest: number;
}

/** Tokens of the longest document. @throws {RangeError} where an id comes back after another one */
function longestDocument(rows: readonly (readonly number[])[]): number {
  let longest = 0;
  rows.forEach((row, b) => {
    const ended = new Set<number>();
    let begin = 0;
    row.forEach((id, i) => {
      if (id !== row[begin]) {
        ended.add(row[begin]);
        begin = i;
      }
      if (ended.has(id)) {
        throw new RangeError(
          `Cannot use sequenceIds: tokens of a document must be neighbours, received ${id} again at [${b}, ${i}]`,
        );
      }
      longest = Math.max(longest, i - begin + 1);
    });
  });
  return longest;
}

function checkSequenceIds(ids: TokenIds, batch: number, length: number): number {
  const shape = ids instanceof Tensor ? ids.shape : checkRows("sequenceIds", ids);
  if (shape.length !== 2 || shape[0] !== batch && shape[0] !== 1 || shape[1] !== length) {
    throw new TypeError(
      `Cannot use sequenceIds: the shape of inputIds [${batch}, ${length}] is required, received ${
        showShape(shape)
      }`,
    );
  }
  if (!(ids instanceof Tensor)) return longestDocument(ids);
  checkStepInput(ids, "sequenceIds of neighbours", (values) => void longestDocument(rowsOf(values, length)));
  return length;
}

const goesOn = (rows: readonly (readonly number[])[]) =>
  rows.every((row) => row.every((position, i) => i === 0 || position === row[i - 1] + 1));

const restarts = (rows: readonly (readonly number[])[]) =>
  rows.some((row) => row.some((position, i) => i > 0 && position === 0));

/**
 * Whether rows are packed, from what the host knows. Positions say so as in `transformers`: where there is no mask and
 * nothing before the rows, every position that does not follow the last one begins a document. What a tensor holds is
 * not known, so its positions may.
 * @throws {TypeError} if packed rows are joined to a cache, a prefix or virtual tokens, or ids are of another shape
 * @throws {RangeError} if an id of a sequence comes back after another one
 */
export function packingOf(inputs: DecoderInputs, batch: number, length: number): Packing | null {
  const { sequenceIds, positionIds, attentionMask, useCache, pastKeyValues } = inputs;
  const before = inputs.prefixKeyValues ? "a prefix" : inputs.promptEmbeds ? "virtual tokens" : null;
  const joined = before ?? (useCache || pastKeyValues ? "a cache" : null);
  const refuse = (what: string) => {
    throw new TypeError(
      `Cannot pack documents into rows by ${what}: a forward of whole rows is required, received ${joined}`,
    );
  };
  if (sequenceIds) {
    if (joined) refuse("sequenceIds");
    const longest = checkSequenceIds(sequenceIds, batch, length);
    return { by: "sequences", longest: positionIds ? 0 : longest };
  }
  if (!positionIds || attentionMask) return null;
  const known = positionIds instanceof Tensor ? null : positionIds;
  if (joined) return known && restarts(known) ? refuse("positionIds that restart") : null;
  return known && goesOn(known) ? null : { by: "positions", longest: 0 };
}

/** What `packRows` is made from: positions that were given [B, T] or [1, T], and a mask [B, T]. */
export interface RowParts {
  readonly inputs: DecoderInputs;
  readonly positions: Tensor | null;
  readonly mask: Tensor | null;
  readonly rows: number;
  readonly device: Device;
}

/** The documents of rows, their mask in them, and the positions of their tokens, int32 [B, T] or [1, T]. */
export function packRows(
  { by }: Packing,
  { inputs, positions, mask, rows, device }: RowParts,
): { documents: Documents; positions: Tensor } {
  const ids = by === "positions"
    ? positions!
    : toIdTensor("sequenceIds", inputs.sequenceIds!, SEQUENCE_IDS, device);
  const documents = documentsOf(ids, { by, rows, attentionMask: mask });
  return { documents, positions: positions ?? positionsInDocuments(documents) };
}
