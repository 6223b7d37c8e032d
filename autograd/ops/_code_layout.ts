/**
 * The state of an optimizer as 8-bit codes with a scale for each block.
 * @module
 */

import { BLOCK_VECTORS } from "../../kernels/adamw_8bit.ts";
import { decodeDynamic, encodeDynamic } from "../../kernels/dynamic_codes.ts";
import { bytesOf, floatsOf, type StateLayout } from "./_slot_layout.ts";
import type { Piece, SlotPack } from "./_slot_packs.ts";

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
