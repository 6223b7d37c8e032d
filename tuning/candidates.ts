/**
 * The variants of a kernel family that are worth timing for a shape: what `tuneKernels` chooses from. Every one computes the
 * same result up to rounding; which is fastest depends on the adapter.
 * @module
 */
import type { AdapterFacts } from "../kernels/adapter_kind.ts";
import { type AttentionChoice, selectAttention } from "../kernels/attention.ts";
import { formatNamed } from "../kernels/weights/mod.ts";
import { type MatmulShape, type MatmulTile, selectMatmul } from "../kernels/matmul_select.ts";

/** What the lists depend on: the kind of adapter and its optional features. */
export interface CandidateTarget {
  readonly profile: AdapterFacts;
  /** Optional WebGPU features of the device. */
  readonly features: ReadonlySet<string>;
}

type Grid = readonly [tileM: number, tileN: number, lanesM: number, lanesN: number, lanesK?: number];

const register = ([tileM, tileN, lanesM, lanesN, lanesK = 1]: Grid): MatmulTile => ({
  variant: "register",
  tileM,
  tileN,
  lanesM,
  lanesN,
  lanesK,
  tileK: 4,
});

const shared = ([tileM, tileN, lanesM, lanesN, tileK = 16]: Grid): MatmulTile => ({
  variant: "shared",
  tileM,
  tileN,
  lanesM,
  lanesN,
  lanesK: 1,
  tileK,
});

/** The name of a choice, such as `register 8x16 of 1x8`: threads' tile, then threads of a workgroup. */
export function tileName(tile: MatmulTile): string {
  const size = `${tile.tileM}x${tile.tileN}` + (tile.variant === "shared" ? `x${tile.tileK}` : "");
  const lanes = `${tile.lanesM}x${tile.lanesN}` + (tile.lanesK > 1 ? `x${tile.lanesK}` : "");
  const ahead = tile.ahead ? " ahead" : "";
  return `${tile.variant} ${size} of ${lanes}${ahead}${tile.broadcast ? " subgroup" : ""}${
    tile.scalar ? " scalar" : ""
  }${tile.nativeHalf ? " f16" : ""}`;
}

function registerTiles({ kind }: AdapterFacts, { M, N, K }: MatmulShape): readonly Grid[] {
  if (N <= 16 && M > N) { // threads along the rows
    const width = N <= 4 ? 4 : N <= 8 ? 8 : 16;
    const tiles: Grid[] = [[8, width, 8, 1], [4, width, 8, 1], [2, width, 8, 1], [8, 4, 8, 1]];
    if (kind === "hardware") tiles.push([2, width, 32, 1], [4, width, 8, 1, 8]);
    if (K >= 256) tiles.push([2, width, 8, 1, 16], [1, width, 8, 1, 8]);
    return tiles;
  }
  if (M <= 4) { // matrix times vector
    const tiles: Grid[] = [[M, 8, 1, 8], [M, 4, 1, 8], [M, 16, 1, 8], [M, 8, 1, 16], [M, 4, 1, 16, 4]];
    tiles.push([M, 4, 1, 16, 16]);
    if (kind === "hardware") tiles.push([M, 4, 1, 64], [M, 4, 1, 8, 32], [M, 8, 1, 8, 16]);
    return tiles;
  }
  const tiles: Grid[] = [[8, 8, 1, 8], [8, 16, 1, 8], [4, 16, 1, 8], [8, 8, 8, 1], [4, 8, 1, 8]];
  if (M <= 64) tiles.push([8, 4, 1, 16, 8]);
  tiles.push([8, 4, 1, 16]);
  if (kind === "software" && M >= 16) tiles.push([16, 16, 1, 8], [16, 16, 2, 4]);
  if (kind === "hardware") tiles.push([8, 8, 8, 8], [4, 8, 8, 8], [4, 4, 8, 8], [8, 4, 4, 32]);
  return tiles;
}

function sharedTiles({ kind }: AdapterFacts, { M, N }: MatmulShape): readonly Grid[] {
  if (M <= 4 || N <= 16) return [];
  const tiles: Grid[] = [[4, 4, 16, 16, 32]];
  if (M >= 32) tiles.push([8, 8, 16, 16, 16]);
  if (kind === "hardware") {
    tiles.push([8, 8, 8, 16, 16], [8, 4, 16, 16, 16], [4, 4, 8, 16, 32], [8, 8, 8, 8, 32]);
  }
  return tiles;
}

/** Tiles for threads of one subgroup. */
function subgroupTiles({ subgroupSize: threads }: AdapterFacts, { M, N }: MatmulShape): MatmulTile[] {
  if (threads === 0) return [];
  const tiles: Grid[] = N <= 16 && M > N ? [[8, N <= 4 ? 4 : N <= 8 ? 8 : 16, threads, 1]] : [
    [8, 8, 1, threads],
    ...(M > 8 ? [[16, 8, 1, threads]] as Grid[] : []),
    ...(M > 16 ? [[32, 8, 1, threads], [16, 16, 1, threads]] as Grid[] : []),
  ];
  return tiles.map((tile) => ({ ...register(tile), broadcast: true }));
}

/** The matrix product variants for a shape; the fixed table's is the first. */
export function matmulCandidates(target: CandidateTarget, shape: MatmulShape): MatmulTile[] {
  const fixed = selectMatmul(target.profile, shape);
  const tiles = [
    fixed,
    ...registerTiles(target.profile, shape).map(register),
    ...subgroupTiles(target.profile, shape),
    ...sharedTiles(target.profile, shape).map(shared).flatMap((tile) => [tile, { ...tile, ahead: true }]),
    { ...fixed, scalar: true },
  ];
  const native = formatNamed(shape.weight ?? "f32").native;
  if (native && (!native.feature || target.features.has(native.feature.device))) {
    tiles.push({ ...fixed, nativeHalf: true });
  }
  return [...new Map(tiles.map((tile) => [tileName(tile), tile])).values()];
}

/** The name of a choice, such as `tile rows 8/8/8 of 8`: forward, dq and dk dv rows, then threads of a workgroup. */
export function attentionChoiceName({ variant, rows, WORKGROUP_SIZE }: AttentionChoice): string {
  return `${variant} rows ${rows.forward}/${rows.backwardQuery}/${rows.backwardKeyValue} of ${WORKGROUP_SIZE}`;
}

/** The attention variants for a number of queries; the fixed table's is the first. */
export function attentionCandidates(facts: AdapterFacts, Tq: number): AttentionChoice[] {
  const choice = (variant: AttentionChoice["variant"], rows: number, keys: number, size: number) => ({
    variant,
    rows: { forward: rows, backwardQuery: rows, backwardKeyValue: keys },
    WORKGROUP_SIZE: size,
  });
  const { kind } = facts;
  const choices = [
    selectAttention(facts, Tq),
    choice("tile", 8, 8, 8),
    choice("tile", 8, 8, 4),
    choice("tile", 8, 8, 16),
    choice("registers", 1, 1, kind === "software" ? 8 : 64),
  ];
  if (Tq === 1) choices.push(choice("tile", 1, 8, 8), choice("tile", 1, 8, 4), choice("tile", 1, 8, 16));
  if (kind === "hardware") {
    choices.push(
      choice("tile", 8, 8, 32),
      choice("registers", 1, 1, 32),
      choice("registers", 1, 1, 128),
      choice("registers", 2, 2, 64),
      choice("registers", 1, 2, 64),
    );
  }
  return [...new Map(choices.map((each) => [attentionChoiceName(each), each])).values()];
}
