/**
 * Which matrix product kernel serves which shape on hardware; other adapters have no need of the file.
 * @module
 */
import { type MatmulShape, type MatmulTile, narrow, register } from "./matmul_tile.ts";

function shared(tileM: number, tileN: number, lanesM: number, lanesN: number, tileK: number): MatmulTile {
  return { variant: "shared", tileM, tileN, lanesM, lanesN, lanesK: 1, tileK };
}

/** Not measured on hardware yet. Workgroup memory stays within WebGPU's default of 16 KiB. */
export function selectForHardware({ M, N, K, batch }: MatmulShape): MatmulTile {
  if (N <= 16 && M > N) return register(2, narrow(N), 8, 1, K >= 256 ? 16 : 1);
  if (M <= 4) return register(M, 4, 1, 16, 16);
  if (M <= 16) return register(8, 4, 1, 16, K >= 256 ? 8 : 1);
  const groups = Math.ceil(M / 128) * Math.ceil(N / 128) * batch;
  if (groups >= 64) return shared(8, 8, 16, 16, 16);
  return shared(4, 4, 16, 16, 32);
}
