/**
 * Readings of formats whose numbers share something with their neighbours: scales, and codes in one word.
 * @module
 */

import { selectLevels, shuffleLevels } from "./snippets.ts";
import type { Pieces, SharedPart, WeightReading } from "./weight_format.ts";

/** The parts of a reading whose neighbours share something, as WGSL. */
export interface SharedReading extends Omit<SharedPart, "pieces"> {
  /** Part of the names of kernels. */
  readonly name: string;
  /** Type of an array element of each buffer; default u32. */
  readonly types?: readonly string[];
  /** Body of `shared_<buffer>(i: u32)`. */
  readonly read: (buffers: readonly string[]) => string;
  /** Body of `four_<buffer>(i: u32, s: <type>)`. */
  readonly four: (buffers: readonly string[]) => string;
  /** Functions that the bodies call. */
  readonly helpers?: (buffers: readonly string[]) => string;
  /** The numbers of codes of 4 bits, which the bodies take from `levels_<buffer>(codes: vec4u) -> vec4f`. */
  readonly levels?: readonly number[];
  /** The way along rows, with the bodies of `group_<buffer>`, `piece_<buffer>` and `quad_<buffer>`. */
  readonly pieces: Pieces & {
    readonly read: (buffers: readonly string[]) => string;
    readonly piece: (buffers: readonly string[]) => string;
    readonly quad: (buffers: readonly string[]) => string;
  };
}

/** A reading made of what neighbours share and the numbers by it. */
export function sharedReading(
  { name, types = ["u32"], elements, type, read, four, helpers, levels, pieces }: SharedReading,
): WeightReading {
  return {
    name,
    types: () => types,
    body: (width, [b]) =>
      width === 4
        ? `return four_${b}(i, shared_${b}(i));`
        : `let j = i >> 2u; return four_${b}(j, shared_${b}(j))[i & 3u];`,
    table: levels !== undefined,
    functions: (buffers, spread = false) => {
      const [b] = buffers;
      const table = levels
        ? spread ? shuffleLevels(`levels_${b}`, `start_${b}`, levels) : selectLevels(`levels_${b}`, levels)
        : "";
      return `${table}${helpers?.(buffers) ?? ""}
fn shared_${b}(i: u32) -> ${type} {
  ${read(buffers)}
}
fn four_${b}(i: u32, s: ${type}) -> vec4f {
  ${four(buffers)}
}
fn group_${b}(i: u32) -> ${pieces.type} {
  ${pieces.read(buffers)}
}
fn piece_${b}(i: u32, p: u32, n: u32) -> ${pieces.words} {
  ${pieces.piece(buffers)}
}
fn quad_${b}(w: ${pieces.words}, s: ${pieces.type}, p: u32, t: u32) -> vec4f {
  ${pieces.quad(buffers)}
}
`;
    },
    shared: { elements, type, pieces },
  };
}
