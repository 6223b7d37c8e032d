/**
 * How the state of an optimizer lies on the device: numbers for each element of its tensors, as float32 or as 8-bit codes
 * with a scale for each block.
 * @module
 */

import { BLOCK_VECTORS } from "../../kernels/adamw_8bit.ts";
import { decodeDynamic, encodeDynamic } from "../../kernels/dynamic_codes.ts";
import type { Piece, SlotPack } from "./_slot_packs.ts";

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

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array<ArrayBuffer>) =>
  new Uint8Array(buffer, byteOffset, byteLength);
/** A copy: what was read may begin at any byte. */
const floatsOf = (bytes: Uint8Array<ArrayBuffer>) => new Float32Array(bytes.slice().buffer);

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

/** Scales of a launch: as kernels/adamw_8bit.ts numbers them, each slot may begin a block. */
const scalesOf = ({ total, slots }: SlotPack) => Math.floor(total / BLOCK_VECTORS) + slots + 1;
const firstScale = ({ base }: Piece, slot: number) => Math.floor(base / BLOCK_VECTORS) + slot;

/** Codes [2, 4 total], a byte each, then scales, float32 [2, blocks]: the first signed, the second not. */
export const codeLayout: StateLayout = {
  words: (pack, blocks) => blocks * (pack.total + scalesOf(pack)),
  params: (pack) => ({ total: pack.total, blocks: scalesOf(pack) }),
  ranges(pack, slot, blocks, block) {
    const piece = pack.pieces[slot];
    const scales = blocks * pack.total + block * scalesOf(pack) + firstScale(piece, slot);
    return [
      { offset: 4 * (block * pack.total + piece.base), bytes: piece.size },
      { offset: 4 * scales, bytes: 4 * Math.ceil(piece.size / (4 * BLOCK_VECTORS)) },
    ];
  },
  decode: ([codes, scales], block) => decodeDynamic(codes, floatsOf(scales), block === 0),
  encode(values, block) {
    const { codes, scales } = encodeDynamic(values, block === 0);
    return [codes, bytesOf(scales)];
  },
};
