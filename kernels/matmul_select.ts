/**
 * Which matrix product kernel serves which adapter and shape. One place, so that picks by measurement (`tuning/`) can replace its answers.
 * @module
 */
import type { AdapterFacts } from "./adapter_kind.ts";
import { formatNamed, isCompact } from "./weights/mod.ts";
import { DECODED_COLUMNS, DECODING_THREADS } from "./matmul_options.ts";
import { selectForHardware } from "./matmul_select_hardware.ts";
import { broadcast, type MatmulShape, type MatmulTile, narrow, register } from "./matmul_tile.ts";

export type { MatmulShape, MatmulTile } from "./matmul_tile.ts";

/** The tile for a product on a kind of adapter. */
export function selectMatmul({ kind, subgroupSize }: AdapterFacts, shape: MatmulShape): MatmulTile {
  return kind === "hardware"
    ? selectForHardware(shape)
    : subgroupSize > 1
    ? selectForSubgroups(shape, subgroupSize)
    : selectForSoftware(shape);
}

/** Eight tiles of 16 or 32 rows and 16 columns: side by side, or in two rows where fewer of them then lie past the end. */
function wide(M: number, N: number, rows: 16 | 32 = 16): MatmulTile {
  const tiles = (lanesM: number, lanesN: number) =>
    Math.ceil(M / rows / lanesM) * lanesM * Math.ceil(N / 16 / lanesN) * lanesN;
  return tiles(2, 4) < 0.95 * tiles(1, 8) ? register(rows, 16, 2, 4) : register(rows, 16, 1, 8);
}

/**
 * 8 threads per workgroup fill one vector of the software adapter; a thread's loads serve its whole tile. Larger
 * tiles are faster (8x8 to 16x16: 1.3 to 1.6 times, on both software adapters) but take longer to compile (0.2 s to
 * 0.7 s), which the smallest products do not make up for. Measured figures: docs/tuning.md.
 */
function selectForSoftware({ layout, M, N, K, weight = "f32" }: MatmulShape): MatmulTile {
  if (N <= 16 && M > N) return register(M >= 128 ? 8 : 4, narrow(N), 8, 1);
  // A row of b that lies along the threads is shorter in a compact format: twice the columns for each thread.
  const format = formatNamed(weight);
  const group = format.reading.shared?.pieces;
  const compact = isCompact(format);
  if (M === 1 && layout === "nn" && group) return register(1, group.elements, 1, 8);
  if (M <= 4) {
    return register(M, N <= 16 ? 4 : layout !== "nt" && compact && N >= 512 ? 16 : 8, 1, 8);
  }
  const work = M * N * K;
  if (N > 512 || N >= 128 && N % 64 === 0) {
    // Tiles of 16 rows are 1.3 times as fast as tiles of 8; the rows they compute beyond M must not cost more.
    const fits = Math.ceil(M / 16) * 16 <= 1.3 * Math.ceil(M / 8) * 8;
    // A weight of few bits is decoded for each tile: 32 rows are 1.1 to 1.7 times as fast, but compile in twice the time.
    if (group && M >= 256 && work >= 2 ** 28 && fits) return wide(M, N, 32);
    if (work >= 2 ** 22 && fits) return wide(M, N);
    if (work >= 2 ** 23 && (N > 512 || N % 128 === 0)) return register(8, 16, 1, 8);
  }
  return register(8, 8, 1, 8);
}

/**
 * The threads of a workgroup are one subgroup. What a thread loads for itself alone sets the time, so tiles are tall: 32 x 8
 * takes half the time of 16 x 16 without a subgroup, and two thirds of its time to compile.
 */
function selectForSubgroups(shape: MatmulShape, threads: number): MatmulTile {
  const { layout, M, N, K } = shape;
  // A left operand along the threads is handed on four rows at a time.
  const fits = layout !== "tn" || M % 4 === 0;
  if (N <= 16 && M > N) return broadcast(M >= 128 ? 8 : 4, narrow(N), threads, 1);
  const decoded = formatNamed(shape.weight ?? "f32").reading.shared;
  if (M === 1 && layout === "nn" && decoded) {
    return { ...register(1, decoded.pieces.elements, 1, 1, threads), broadcast: true };
  }
  if (M <= 4 && layout === "nt" && decoded) return broadcast(M, threads < 8 ? 8 : 4, 1, threads);
  if (M <= 4 || !fits) return selectForSoftware(shape);
  const work = M * N * K;
  if (M <= 8 || work < 2 ** 22) return broadcast(8, 8, 1, threads);
  if (decoded && layout === "nn" && M > 16 && K % 4 === 0 && threads === DECODING_THREADS) {
    return broadcast(4, DECODED_COLUMNS, threads, 1);
  }
  return broadcast(M <= 16 ? 16 : 32, 8, 1, threads);
}
