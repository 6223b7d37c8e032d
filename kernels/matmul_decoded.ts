/**
 * The loop over K of y = a [M, K] b [K, N] where b is in a format of few bits, and a subgroup's threads lie along the rows of
 * y: all of them need the same numbers of b, so each decodes its share of a step of four rows, in whole pieces, and hands
 * it on. A tile has two units of 32 neighbours, which lie in one group or in two.
 * @module
 */
import { DECODED_COLUMNS, type MatmulOptions, sharedSide } from "./matmul_options.ts";
import { CONTIGUOUS, range, type TilePlace } from "./matmul_text.ts";
import { accumulate, rowsOfA } from "./matmul_grouped.ts";
import type { Pieces, SharedPart } from "./weights/mod.ts";

/** Columns of a unit, those whose numbers one thread decodes in a row of b. */
const UNIT = 32;

/** Whether the threads decode b between them. */
export function decodesTogether(options: MatmulOptions): boolean {
  return Boolean(options.grouped) && options.layout === "nn" && sharedSide(options) === "right";
}

/** The quads of a tile in the order of their columns: unit, piece in the unit, quad of the piece, and how far they lie. */
function quadsOfTile({ elements, quads, place }: Pieces) {
  const pieces = UNIT / 4 / quads;
  const ofGroup = elements / 4 / quads;
  const all = range(DECODED_COLUMNS / UNIT).flatMap((unit) =>
    range(pieces).flatMap((n) =>
      range(quads).map((t) => {
        const p = unit * pieces + n;
        const at = Math.floor(p / ofGroup) * elements / 4 + p % ofGroup * place[0] + t * place[1];
        return { unit, n, t, at };
      })
    )
  );
  return all.sort((one, other) => one.at - other.at);
}

/** Where the columns of a tile lie: in one piece, or in runs between which there are those of other tiles. */
export function decodedPlace({ pieces }: SharedPart): TilePlace {
  const quads = quadsOfTile(pieces);
  const run = quads.findIndex(({ at }, j) => at !== j);
  return run < 0 ? CONTIGUOUS : { ...CONTIGUOUS, columnGroup: 4 * run, columnStride: 4 * quads[run].at };
}

/** The loop over K, a multiple of 4. */
export function decodedLoop(options: MatmulOptions, { pieces }: SharedPart, place: TilePlace): string {
  const each = UNIT / 4 / pieces.quads; // pieces of a unit
  const ofGroup = pieces.elements / UNIT; // units of a group
  const { places, read } = rowsOfA(options, place);
  return [
    ...places,
    `  let unit = min(group.x * 2u + lane % 2u, params.N / ${UNIT}u - 1u);`,
    `  let ownGroup = batchB + unit / ${ofGroup}u * ${pieces.elements / 4}u;`,
    `  let ownPiece = unit % ${ofGroup}u * ${each}u;`,
    "  for (var k4 = 0u; k4 < params.K / 4u; k4++) {",
    ...read("k4"),
    "    let first = ownGroup + (k4 * 4u + lane / 2u) * (params.ldb / 4u);",
    "    let s = group_b(first);",
    ...range(each).flatMap((n) => [
      `    let p${n} = piece_b(first, ownPiece, ${n}u);`,
      ...range(pieces.quads).map((t) => `    let q${n}_${t} = quad_b(p${n}, s, ownPiece + ${n}u, ${t}u);`),
    ]),
    ...range(4).flatMap((s) =>
      quadsOfTile(pieces).map(({ unit, n, t }, j) =>
        `    let w${s}_${j} = subgroupBroadcast(q${n}_${t}, ${2 * s + unit}u);`
      )
    ),
    ...accumulate(options, (s, j) => `w${s}_${j}`),
    "  }",
  ].join("\n");
}
