/**
 * How the state of an optimizer lies on the device: numbers for each element of its tensors, as float32 here, as 8-bit codes
 * in `_code_layout.ts`.
 * @module
 */

import type { SlotPack } from "./_slot_packs.ts";

/** A byte range of a launch's state. */
export interface StateRange {
  readonly offset: number;
  readonly bytes: number;
}

/** One way to keep it. `block` numbers the kinds of numbers that a rule keeps: 0 for m, 1 for v. */
export interface StateLayout {
  /** 32-bit words of a launch's state. */
  words(pack: SlotPack, blocks: number): number;
  /** Parameters of its kernel beside `row`. */
  params(pack: SlotPack, blocks: number): Readonly<Record<string, number>>;
  /** Where the numbers of a piece, the pack's `slot`-th, lie. */
  ranges(pack: SlotPack, slot: number, blocks: number, block: number): StateRange[];
  /** The bytes of those ranges as numbers. */
  decode(bytes: readonly Uint8Array<ArrayBuffer>[], block: number): Float32Array<ArrayBuffer>;
  /** Numbers as the bytes of those ranges. */
  encode(values: Float32Array<ArrayBuffer>, block: number): Uint8Array<ArrayBuffer>[];
}

/** The bytes of numbers. */
export const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array<ArrayBuffer>) =>
  new Uint8Array(buffer, byteOffset, byteLength);
/** Numbers from their bytes. A copy: what was read may begin at any byte. */
export const floatsOf = (bytes: Uint8Array<ArrayBuffer>) => new Float32Array(bytes.slice().buffer);

/** float32 [blocks, 4 total]. */
export const floatLayout: StateLayout = {
  words: ({ total }, blocks) => blocks * 4 * total,
  params: ({ total }, blocks): Record<string, number> => blocks > 1 ? { total } : {},
  ranges: ({ total, pieces }, slot, _blocks, block) => [
    { offset: 16 * (block * total + pieces[slot].base), bytes: 4 * pieces[slot].size },
  ],
  decode: ([bytes]) => floatsOf(bytes),
  encode: (values) => [bytesOf(values)],
};
