/**
 * The tile of a matrix product's kernel, and what the choice of it depends on (matmul_select.ts).
 * @module
 */
import type { MatmulLayout, MatmulOptions, MatmulWeightFormat } from "./matmul_options.ts";

/** What the choice depends on. */
export interface MatmulShape {
  /** Layouts of the operands. */
  readonly layout: MatmulLayout;
  /** Rows of y. */
  readonly M: number;
  /** Columns of y. */
  readonly N: number;
  /** Size that is summed over. */
  readonly K: number;
  /** Products in the launch. */
  readonly batch: number;
  /** Storage of the right operand; default f32. */
  readonly weight?: MatmulWeightFormat;
}

/** What a choice decides: the tile shape of a kernel, and how it reads its operands. */
export interface MatmulTile extends
  Pick<
    MatmulOptions,
    | "variant"
    | "tileM"
    | "tileN"
    | "lanesM"
    | "lanesN"
    | "lanesK"
    | "tileK"
    | "ahead"
    | "nativeHalf"
    | "broadcast"
  > {
  /** One number per access, also where four neighbours could be read at once; default false. */
  readonly scalar?: boolean;
}

/** A tile in registers. */
export function register(
  tileM: number,
  tileN: number,
  lanesM: number,
  lanesN: number,
  lanesK = 1,
): MatmulTile {
  return { variant: "register", tileM, tileN, lanesM, lanesN, lanesK, tileK: 4 };
}

/** The same where the threads of a workgroup are one subgroup. */
export function broadcast(tileM: number, tileN: number, lanesM: number, lanesN: number): MatmulTile {
  return { ...register(tileM, tileN, lanesM, lanesN), broadcast: true };
}

/** Columns of a tile for a product of few columns. */
export const narrow = (N: number) => N <= 4 ? 4 : N <= 8 ? 8 : 16;
