/**
 * Which matrix product kernel serves which adapter and shape. One place, so that a tuner can replace its answers.
 * @module
 */
import type { MatmulLayout, MatmulOptions } from "./matmul_options.ts";

/** What the choice depends on. */
export interface MatmulShape {
  readonly layout: MatmulLayout;
  readonly M: number;
  readonly N: number;
  readonly K: number;
  readonly batch: number;
}

/** The tile shape of a kernel. */
export type MatmulTile = Pick<
  MatmulOptions,
  "variant" | "tileM" | "tileN" | "lanesM" | "lanesN" | "tileK"
>;

function register(tileM: number, tileN: number, lanesM: number, lanesN: number): MatmulTile {
  return { variant: "register", tileM, tileN, lanesM, lanesN, tileK: 4 };
}

/** The tile for a product on an adapter; `isFallback` tells a software adapter. */
export function selectMatmul(device: { readonly isFallback: boolean }, shape: MatmulShape): MatmulTile {
  return device.isFallback ? selectForSoftware(shape) : selectForHardware(shape);
}

/** 8 threads a workgroup fill one vector of the software adapter; a thread's tile is what its loads are shared by. */
function selectForSoftware({ M, N }: MatmulShape): MatmulTile {
  if (N <= 16 && M > N) return register(4, N <= 4 ? 4 : N <= 8 ? 8 : 16, 8, 1);
  if (M <= 4) return register(M, 4, 1, 8);
  return register(8, 8, 1, 8);
}

function selectForHardware({ M, N }: MatmulShape): MatmulTile {
  if (N <= 16 && M > N) return register(2, N <= 4 ? 4 : N <= 8 ? 8 : 16, 64, 1);
  if (M <= 4) return register(M, 4, 1, 64);
  return register(4, 4, 8, 8);
}
