/**
 * The loop over K of register-tiled products whose right operand is in a format of few bits: what neighbours of b share is
 * read once. Where rows of b run along K, groups are taken in pieces, each word of codes once, in the order in which they
 * lie; where they run along the threads, four steps of K at a time, each with one scale for the tile's columns, or, in
 * products of few rows, with a group of columns for each thread.
 * @module
 */
import { type MatmulOptions, sharedSide, spreadsTable } from "./matmul_options.ts";
import { columnOffset, component, range, rowOffset, type TilePlace } from "./matmul_text.ts";
import { shareItems } from "./subgroup_items.ts";
import type { SharedPart } from "./weights/mod.ts";

/** Most rows of a tile for which several pieces are unrolled: more make the program too long. */
const FEW_ROWS = 4;

/**
 * Threads of a subgroup from which on the quads of a piece take turns: with all of them in one body the program leaves a
 * processor's instruction cache. Processors of narrower vectors have no shifts by numbers that vary.
 */
const ROLLED_THREADS = 8;

/** Rows of a, which run along K: where they lie, and statements that read four steps of each as `x<i>`. */
export function rowsOfA(options: MatmulOptions, place: TilePlace) {
  const { tileM, lanesM, lanesN, vector } = options;
  const threads = lanesM * lanesN;
  const at = (row: string) => `batchA + min(${row}, params.M - 1u) * (params.lda${vector.a ? " / 4u" : ""})`;
  const names = range(tileM).map((i) => `  let a${i} = ${at(`row + ${rowOffset(place, i)}u`)};`);
  const four = (first: string, quad: string) =>
    vector.a
      ? `a[${first} + ${quad}]`
      : `vec4f(${range(4).map((s) => `a[${first} + 4u * (${quad}) + ${s}u]`).join(", ")})`;
  if (sharedSide(options) !== "left") {
    const read = (quad: string) => range(tileM).map((i) => `      let x${i} = ${four(`a${i}`, quad)};`);
    return { places: names, read, names, four };
  }
  const { places, reads, item } = shareItems(threads, "a", tileM, (i) => at(`row + ${i}`));
  const read = (quad: string) => [
    ...reads((first) => four(first, quad)),
    ...range(tileM).map((i) => `      let x${i} = ${item(i)};`),
  ];
  return { places, read, names, four };
}

/** acc += four steps of K: rows `x<i>` of a, and `w(s, j)` of step s and columns 4 j to 4 j + 3. */
export function accumulate({ tileM, tileN }: MatmulOptions, w: (s: number, j: number) => string): string[] {
  return range(tileM).flatMap((i) =>
    range(tileN / 4).map((j) => {
      const sum = range(4).reduce(
        (inner, s) => `fma(vec4f(x${i}.${component(s)}), ${w(s, j)}, ${inner})`,
        `acc${i}_${j}`,
      );
      return `      acc${i}_${j} = ${sum};`;
    })
  );
}

/** Quads along K that products of few rows take at once, those of whole pieces: more than a few do not stay in the cache. */
const QUADS_OF_TURN = 8;

/**
 * A loop of `count` steps, `by` at a time, at least one turn. It ends after its body: on software adapters a loop that
 * ends before it runs its body once more, for no thread.
 */
function turns(name: string, count: number, by: number, body: readonly string[]): string[] {
  if (count === by) return ["    {", `    let ${name} = 0u;`, ...body, "    }"];
  return [
    `    var ${name} = 0u;`,
    "    loop {",
    ...body,
    `      ${name} += ${by}u;`,
    `      if (${name} >= ${count}u) { break; }`,
    "    }",
  ];
}

/** Few rows of a: where they lie, and the quads of the pieces from `p` on: statements that read them, and their names. */
function piecesOfA(options: MatmulOptions, { pieces }: SharedPart, place: TilePlace) {
  const { tileM, lanesM, lanesN } = options;
  const { names: places, four } = rowsOfA(options, place);
  const [ofPiece, ofQuad] = pieces.place;
  const shared = sharedSide(options) === "left";
  // Item t + quads * piece; in a subgroup each thread loads its share of them for all.
  const quad = (i: string) =>
    `first + ${ofPiece}u * (p + (${i}) / ${pieces.quads}u) + ${ofQuad}u * ((${i}) % ${pieces.quads}u)`;
  const rows = range(tileM).map((i) => {
    if (shared) {
      const { places, reads, item } = shareItems(lanesM * lanesN, `x${i}`, QUADS_OF_TURN, quad);
      return { read: [...places, ...reads((at) => four(`a${i}`, `(${at})`))], item };
    }
    const read = range(QUADS_OF_TURN).map((n) =>
      `    let x${i}_${n} = ${four(`a${i}`, `(${quad(`${n}u`)})`)};`
    );
    return { read, item: (n: number) => `x${i}_${n}` };
  });
  return { places, read: rows.flatMap(({ read }) => read), item: (i: number, n: number) => rows[i].item(n) };
}

/** y = a [M, K] b [N, K]^T: groups of b's rows in pieces. */
function alongRows(options: MatmulOptions, shared: SharedPart, place: TilePlace): string {
  const { tileM, tileN, lanesK } = options;
  const { pieces } = shared;
  const columns = range(tileN);
  const few = tileM <= FEW_ROWS;
  /** Quad t of the pieces p, with the statements that give its steps of a. */
  const quad = (p: string, t: string, x: readonly string[]) => [
    ...x,
    ...columns.map((c) => `      let q${c} = quad_b(p${c}, s${c}, ${p}, ${t});`),
    ...range(4).flatMap((s) =>
      range(tileN / 4).map((j) =>
        `      let w${s}_${j} = vec4f(${range(4).map((e) => `q${4 * j + e}.${component(s)}`).join(", ")});`
      )
    ),
    ...accumulate(options, (s, j) => `w${s}_${j}`),
  ];
  const words = (n: number) => columns.map((c) => `      let p${c} = piece_b(b${c} + first, p, ${n}u);`);
  const turn = few ? QUADS_OF_TURN / pieces.quads : 1;
  const body = () => {
    if (!few) {
      const { places, read } = rowsOfA(options, place);
      const at = (t: string) => `first + ${pieces.place[0]}u * p + ${pieces.place[1]}u * ${t}`;
      const rolled = sharedSide(options) === "left" && options.lanesN >= ROLLED_THREADS;
      const each = rolled
        ? turns("t", pieces.quads, 1, quad("p", "t", read(at("t"))))
        : range(pieces.quads).flatMap((
          t,
        ) => ["      {", ...quad("p", `${t}u`, read(at(`${t}u`))), "      }"]);
      return { places, lines: [...words(0), ...each] };
    }
    // Unrolled, so that a word in which two pieces lie is read once.
    const { places, read, item } = piecesOfA(options, shared, place);
    const x = (n: number, t: number) =>
      range(tileM).map((i) => `      let x${i} = ${item(i, n * pieces.quads + t)};`);
    const each = range(turn).flatMap((n) => [
      "    {",
      ...words(n),
      ...range(pieces.quads).flatMap((t) => ["      {", ...quad(`p + ${n}u`, `${t}u`, x(n, t)), "      }"]),
      "    }",
    ]);
    return { places, lines: [...read, ...each] };
  };
  const { places, lines } = body();
  const [from, by] = lanesK > 1 ? ["laneK", `${lanesK}u`] : ["0u", "1u"];
  return [
    ...places,
    ...columns.map((c) =>
      `  let b${c} = batchB + min(col + ${columnOffset(place, c)}u, params.N - 1u) * (params.ldb / 4u);`
    ),
    `  for (var g = ${from}; g < params.K / ${pieces.elements}u; g += ${by}) {`,
    `    let first = g * ${pieces.elements / 4}u;`,
    ...columns.map((c) => `    let s${c} = group_b(b${c} + first);`),
    ...turns("p", pieces.elements / 4 / pieces.quads, turn, lines),
    "  }",
  ].join("\n");
}

/** y = a [M, K] b [K, N]: one scale for the columns of a tile, in each step of K. */
function acrossRows(options: MatmulOptions, place: TilePlace): string {
  const { tileM, tileN, lanesK, anyK } = options;
  const { places, read, names } = rowsOfA(options, place);
  const groups = range(tileN / 4);
  const [from, by] = lanesK > 1 ? ["laneK", `${lanesK}u`] : ["0u", "1u"];
  const step = (s: string, name: string) => [
    `      let r${name} = ${s} * (params.ldb / 4u);`,
    `      let s${name} = shared_b(b0 + r${name});`,
    ...groups.map((j) => `      let w${name}_${j} = four_b(b${j} + r${name}, s${name});`),
  ];
  const lines = [
    ...places,
    ...groups.map((j) =>
      `  let b${j} = batchB + min((col + ${columnOffset(place, 4 * j)}u) / 4u, params.N / 4u - 1u);`
    ),
    `  for (var k4 = ${from}; k4 < params.K / 4u; k4 += ${by}) {`,
    ...read("k4"),
    ...range(4).flatMap((s) => step(`(k4 * 4u + ${s}u)`, String(s))),
    ...accumulate(options, (s, j) => `w${s}_${j}`),
    "  }",
  ];
  if (anyK) { // the last one to three steps, one at a time
    const [first, turn] = lanesK > 1 ? [" + laneK", `${lanesK}u`] : ["", "1u"];
    const one = (i: number) => options.vector.a ? `a[a${i} + k / 4u][k % 4u]` : `a[a${i} + k]`;
    if (places !== names) lines.push(...names);
    lines.push(
      `  for (var k = params.K / 4u * 4u${first}; k < params.K; k += ${turn}) {`,
      ...step("k", ""),
      ...range(tileM).flatMap((i) =>
        groups.map((j) => `      acc${i}_${j} = fma(vec4f(${one(i)}), w_${j}, acc${i}_${j});`)
      ),
      "  }",
    );
  }
  return lines.join("\n");
}

/** y = a [M, K] b [K, N] of few rows: a thread's columns are a group of b's row, taken in pieces. */
function alongColumns(options: MatmulOptions, { pieces }: SharedPart, place: TilePlace): string {
  const { tileM, lanesK, anyK, vector } = options;
  const { places, read, names } = rowsOfA(options, place);
  const [from, by] = lanesK > 1 ? ["laneK", `${lanesK}u`] : ["0u", "1u"];
  const step = (k: string, x: (i: number) => string) => [
    `      let first = b0 + ${k} * (params.ldb / 4u);`,
    "      let s = group_b(first);",
    ...range(pieces.elements / 4 / pieces.quads).flatMap((p) => [
      `      let p${p} = piece_b(first, 0u, ${p}u);`,
      ...range(pieces.quads).flatMap((t) => {
        const j = p * pieces.place[0] + t * pieces.place[1];
        return [
          `      let q${j} = quad_b(p${p}, s, ${p}u, ${t}u);`,
          ...range(tileM).map((i) => `      acc${i}_${j} = fma(vec4f(${x(i)}), q${j}, acc${i}_${j});`),
        ];
      }),
    ]),
  ];
  // Where the lanes hold a table between them, none of them ends before the others.
  const together = lanesK > 1 && spreadsTable(options);
  const loop = together
    ? [
      `  for (var turn = 0u; turn < params.K / 4u; turn += ${lanesK}u) {`,
      "    let lives = turn + laneK < params.K / 4u;",
      "    let k4 = select(0u, turn + laneK, lives);",
    ]
    : [`  for (var k4 = ${from}; k4 < params.K / 4u; k4 += ${by}) {`];
  const own = (x: string) => together ? `select(0.0, ${x}, lives)` : x;
  const lines = [
    ...places,
    `  let b0 = batchB + min(col, params.N - ${pieces.elements}u) / 4u;`,
    ...loop,
    ...read("k4"),
    // unrolled: a driver that ends loops after some iterations counts those of inner ones
    ...range(4).flatMap((
      e,
    ) => ["    {", ...step(`(k4 * 4u + ${e}u)`, (i) => own(`x${i}.${component(e)}`)), "    }"]),
    "  }",
  ];
  if (anyK) { // the last one to three steps
    const [first, turn] = lanesK > 1 ? [" + laneK", `${lanesK}u`] : ["", "1u"];
    if (places !== names) lines.push(...names);
    const end = together
      ? [
        "  {",
        "    let lives = params.K / 4u * 4u + laneK < params.K;",
        "    let k = select(0u, params.K / 4u * 4u + laneK, lives);",
      ]
      : [`  for (var k = params.K / 4u * 4u${first}; k < params.K; k += ${turn}) {`];
    lines.push(
      ...end,
      ...step("k", (i) => own(vector.a ? `a[a${i} + k / 4u][k % 4u]` : `a[a${i} + k]`)),
      "  }",
    );
  }
  return lines.join("\n");
}

/** The main loop over K, by what neighbours of b share. */
export function groupedLoop(options: MatmulOptions, shared: SharedPart, place: TilePlace): string {
  if (options.layout === "nt") return alongRows(options, shared, place);
  return options.grouped ? alongColumns(options, shared, place) : acrossRows(options, place);
}
