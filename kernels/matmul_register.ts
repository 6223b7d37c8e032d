/**
 * Matrix product without shared tiles and without barriers: each thread keeps a tileM x tileN tile of y in registers
 * and walks over K in steps of 4. On software adapters a barrier costs more than re-reading from the cache, and the
 * 8x8 tile reaches 2.5 times the rate of a shared-memory tile there; skinny products (N or M up to 16) and
 * matrix-vector products are the same program with its threads along the long side. Where such a product is too small
 * to fill hardware, `lanesK` threads share a tile's steps of K and add up once at the end (matmul_split_k.ts).
 * @module
 */
import {
  type MatmulOptions,
  type MatmulProgram,
  sharedOfB,
  sharedSide,
  spreadsTable,
} from "./matmul_options.ts";
import {
  groupsOf,
  lastStepReads,
  type Operand,
  placesOf,
  readAcross,
  readAlong,
  sharedReads,
  type TileSide,
} from "./matmul_operand.ts";
import {
  batchOffsets,
  columnOffset,
  columnOffsetText,
  component,
  CONTIGUOUS,
  matmulEpilogue,
  range,
  rowOffset,
  type TilePlace,
} from "./matmul_text.ts";
import { decodedLoop, decodedPlace, decodesTogether } from "./matmul_decoded.ts";
import { groupedLoop } from "./matmul_grouped.ts";
import { splitK } from "./matmul_split_k.ts";

/** One loop over the shared dimension: the product itself, or the extension's R columns. */
interface Loop {
  readonly layout: "nn" | "nt" | "tn";
  readonly left: Operand;
  readonly right: Operand;
  /** Prefix of this loop's own names, and the WGSL of its length. */
  readonly prefix: string;
  readonly length: string;
  readonly anyLength: boolean;
}

/** The operands of a loop in the tile of one thread. */
function tileSides({ tileM, tileN }: MatmulOptions, loop: Loop, place: TilePlace): [TileSide, TileSide] {
  const { layout, prefix } = loop;
  return [{
    ...loop.left,
    along: layout !== "tn",
    count: tileM,
    bound: "M",
    at: (i) => `row + ${rowOffset(place, i)}u`,
    atText: (i) => `row + ${i}`,
    name: `${prefix}a`,
    value: "x",
    ld: `${prefix}lda`,
  }, {
    ...loop.right,
    along: layout === "nt",
    count: tileN,
    bound: "N",
    at: (c) => `col + ${columnOffset(place, c)}u`,
    atText: (c) => `col + ${columnOffsetText(place, c)}`,
    name: `${prefix}b`,
    value: "w",
    ld: `${prefix}ldb`,
  }];
}

/** One loop over the shared dimension, four steps at a time, and where needed the last one to three steps. */
function loopText(options: MatmulOptions, loop: Loop, place: TilePlace): string {
  const { lanesM, lanesN, lanesK } = options;
  const [left, right] = tileSides(options, loop, place);
  const k = `${loop.prefix}k4`;
  const side = sharedSide(options);
  const share = (each: TileSide) => sharedReads(each, lanesM * lanesN, k);
  const [sharedLeft, sharedRight] = [
    side === "left" ? share(left) : null,
    side === "right" ? share(right) : null,
  ];
  const [from, by] = lanesK > 1 ? ["laneK", `${lanesK}u`] : ["0u", "1u"];
  return [
    ...[left, right].map(({ ld, stride, vector }) => `  let ${ld} = ${stride}${vector ? " / 4u" : ""};`),
    ...sharedLeft?.places ?? placesOf(left),
    ...sharedRight?.places ?? placesOf(right),
    `  for (var ${k} = ${from}; ${k} < ${loop.length} / 4u; ${k} += ${by}) {`,
    ...sharedLeft?.reads ?? [],
    ...sharedRight?.reads ?? [],
    ...readAlong(left, k, sharedLeft),
    ...readAlong(right, k, sharedRight),
    ...range(4).flatMap((s) => [
      ...left.along ? [] : readAcross(left, s, k, sharedLeft),
      ...right.along
        ? groupsOf(right).map((j) => {
          const step = range(4).map((e) => `w${4 * j + e}.${component(s)}`);
          return `    let w${s}_${j} = vec4f(${step.join(", ")});`;
        })
        : readAcross(right, s, k, sharedRight),
    ]),
    ...accumulation(
      options,
      4,
      (s, i) => left.along ? `x${i}.${component(s)}` : `x${s}_${i >> 2}.${component(i & 3)}`,
      (s, j) => `w${s}_${j}`,
    ),
    "  }",
    ...loop.anyLength
      ? lastSteps(options, loop, [left, right], [
        ...sharedLeft ? placesOf(left) : [],
        ...sharedRight ? placesOf(right) : [],
      ])
      : [],
  ].join("\n");
}

/** Steps of K nested in one expression: accumulators are read and written once per turn of the loop. */
function accumulation(
  { tileM, tileN }: MatmulOptions,
  steps: number,
  left: (s: number, i: number) => string,
  right: (s: number, j: number) => string,
): string[] {
  return range(tileM).flatMap((i) =>
    range(tileN / 4).map((j) => {
      const sum = range(steps).reduce(
        (inner, s) => `fma(vec4f(${left(s, i)}), ${right(s, j)}, ${inner})`,
        `acc${i}_${j}`,
      );
      return `    acc${i}_${j} = ${sum};`;
    })
  );
}

/** The steps that four do not divide; `places` are those that the loop before them had no need of. */
function lastSteps(
  options: MatmulOptions,
  { length }: Loop,
  [left, right]: readonly [TileSide, TileSide],
  places: readonly string[],
): string[] {
  const { lanesK } = options;
  const [first, turn] = lanesK > 1 ? [" + laneK", `${lanesK}u`] : ["", "1u"];
  const values = lastStepReads(left, right);
  return [
    ...places,
    `  for (var k = ${length} / 4u * 4u${first}; k < ${length}; k += ${turn}) {`,
    ...values.reads,
    ...accumulation(options, 1, (_, i) => values.left(i), (_, j) => values.right(j)),
    "  }",
  ];
}

/** The accumulators continue over the R columns of u; empty without an extension. */
export function extensionText(options: MatmulOptions, place: TilePlace): string {
  const { extension, vector } = options;
  if (extension === "none") return "";
  const loop = loopText(options, {
    layout: extension,
    left: { read: (index) => `u[${index}]`, vector: vector.extension, base: "0u", stride: "params.R" },
    right: {
      read: (index) => `v[${index}]`,
      vector: extension === "nt" ? vector.extension : vector.y,
      base: "0u",
      stride: extension === "nt" ? "params.R" : "params.ldv",
    },
    prefix: "e",
    length: "params.R",
    anyLength: !vector.extension,
  }, place);
  return `  // The accumulators continue over the R columns of u.\n${loop}`;
}

/** The threads of a workgroup and what they do. */
export function registerProgram(options: MatmulOptions): MatmulProgram {
  const { tileM, tileN, lanesM, lanesN, lanesK, vector, broadcast } = options;
  const accumulators = range(tileM).flatMap((i) =>
    range(tileN / 4).map((j) => `  var acc${i}_${j} = vec4f();`)
  );
  const shared = sharedOfB(options);
  const together = shared !== null && decodesTogether(options);
  const place = together ? decodedPlace(shared) : CONTIGUOUS;
  const loop = together ? decodedLoop : groupedLoop;
  const main = shared ? loop(options, shared, place) : loopText(options, {
    layout: options.layout,
    left: { read: (index) => `a[${index}]`, vector: vector.a, base: "batchA", stride: "params.lda" },
    right: { read: (index) => `loadB(${index})`, vector: vector.b, base: "batchB", stride: "params.ldb" },
    prefix: "",
    length: "params.K",
    anyLength: options.anyK,
  }, place);
  // Tiles whose columns lie in runs take turns.
  const between = place.columnStride / place.columnGroup;
  const columnOfTile = (tile: string) =>
    between === 1
      ? `${tile} * ${tileN}u`
      : `${tile} / ${between}u * ${between * tileN}u + ${tile} % ${between}u * ${place.columnGroup}u`;
  const split = lanesK > 1 ? splitK(options) : null;
  return {
    threads: lanesM * lanesN * lanesK,
    memory: split?.memory ?? [],
    body:
      `  // Threads are numbered along x alone: software adapters fill their vector lanes from that dimension.
${split?.lanes ?? "  let tile = lane;"}
  let row = (group.y * ${lanesM}u + tile / ${lanesN}u) * ${tileM}u;
  let col = ${columnOfTile(`(group.x * ${lanesN}u + tile % ${lanesN}u)`)};
${spreadsTable(options) ? "  start_b(lane);" : ""}
${split || broadcast ? "" : "  if (row >= params.M || col >= params.N) { return; }"}
${batchOffsets(options)}
${accumulators.join("\n")}
${main}
${extensionText(options, place)}
${split?.sum ?? ""}
${matmulEpilogue(options, place)}`,
  };
}
