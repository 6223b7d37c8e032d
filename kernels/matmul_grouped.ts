/**
 * The loop over K of register-tiled products whose right operand is in a format of few bits: what neighbours of b share is
 * read once. Where rows of b run along K, groups are taken in pieces, each word of codes once, in the order in which they
 * lie; where they run along the threads, four steps of K at a time, each with one scale for the tile's columns, or, in
 * products of few rows, with a group of columns for each thread.
 * @module
 */
import { type MatmulOptions, readingOfB, sharedSide } from "./matmul_options.ts";
import { columnOffset, component, range, rowOffset, type TilePlace } from "./matmul_text.ts";
import { shareItems } from "./subgroup_items.ts";
import type { SharedPart } from "./weights/mod.ts";

/** What neighbours of b share, where the kernel reads it once for all of them; null: not. */
export function sharedOfB(options: MatmulOptions): SharedPart | null {
  const { shared } = readingOfB(options);
  const { variant, layout, vector, grouped, tileN } = options;
  if (!shared || variant !== "register" || !vector.b) return null;
  if (layout === "nt" || grouped) return grouped ? shared : null;
  return layout === "nn" && tileN <= 16 && shared.elements % tileN === 0 ? shared : null;
}

/** Rows of a, which run along K: where they lie, and statements that read four steps of each as `x<i>`. */
function rowsOfA(options: MatmulOptions, place: TilePlace) {
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
    return { places: names, read, names };
  }
  const { places, reads, item } = shareItems(threads, "a", tileM, (i) => at(`row + ${i}`));
  const read = (quad: string) => [
    ...reads((first) => four(first, quad)),
    ...range(tileM).map((i) => `      let x${i} = ${item(i)};`),
  ];
  return { places, read, names };
}

/** acc += four steps of K: rows `x<i>` of a, and `w(s, j)` of step s and columns 4 j to 4 j + 3. */
function accumulate({ tileM, tileN }: MatmulOptions, w: (s: number, j: number) => string): string[] {
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

/** y = a [M, K] b [N, K]^T: groups of b's rows in pieces. */
function alongRows(options: MatmulOptions, { pieces }: SharedPart, place: TilePlace): string {
  const { tileN, lanesK } = options;
  const { places, read } = rowsOfA(options, place);
  const quads = pieces.elements / 4;
  const columns = range(tileN);
  const [from, by] = lanesK > 1 ? ["laneK", `${lanesK}u`] : ["0u", "1u"];
  const piece = (c: number, t: number) => pieces.quads === 1 ? `p${c}` : `p${c}[${t}]`;
  return `${places.join("\n")}
${
    columns.map((c) =>
      `  let b${c} = batchB + min(col + ${columnOffset(place, c)}u, params.N - 1u) * (params.ldb / 4u);`
    ).join("\n")
  }
  for (var g = ${from}; g < params.K / ${pieces.elements}u; g += ${by}) {
    let first = g * ${quads}u;
${columns.map((c) => `    let s${c} = group_b(b${c} + first);`).join("\n")}
    for (var p = 0u; p < ${quads / pieces.quads}u; p++) {
${columns.map((c) => `      let p${c} = piece_b(b${c} + first, p, s${c});`).join("\n")}
${
    range(pieces.quads).map((t) => {
      const quad = `first + ${pieces.place[0]}u * p + ${pieces.place[1] * t}u`;
      return `      {
${read(quad).join("\n")}
${
        range(4).flatMap((s) =>
          range(tileN / 4).map((j) =>
            `      let w${s}_${j} = vec4f(${
              range(4).map((e) => `${piece(4 * j + e, t)}.${component(s)}`).join(", ")
            });`
          )
        ).join("\n")
      }
${accumulate(options, (s, j) => `w${s}_${j}`).join("\n")}
      }`;
    }).join("\n")
  }
    }
  }`;
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
      `      let p${p} = piece_b(first, ${p}u, s);`,
      ...range(pieces.quads).flatMap((t) => {
        const j = p * pieces.place[0] + t * pieces.place[1];
        const w = pieces.quads === 1 ? `p${p}` : `p${p}[${t}]`;
        return range(tileM).map((i) => `      acc${i}_${j} = fma(vec4f(${x(i)}), ${w}, acc${i}_${j});`);
      }),
    ]),
  ];
  const lines = [
    ...places,
    `  let b0 = batchB + min(col, params.N - ${pieces.elements}u) / 4u;`,
    `  for (var k4 = ${from}; k4 < params.K / 4u; k4 += ${by}) {`,
    ...read("k4"),
    // unrolled: a driver that ends loops after some iterations counts those of inner ones
    ...range(4).flatMap((
      e,
    ) => ["    {", ...step(`(k4 * 4u + ${e}u)`, (i) => `x${i}.${component(e)}`), "    }"]),
    "  }",
  ];
  if (anyK) { // the last one to three steps
    const [first, turn] = lanesK > 1 ? [" + laneK", `${lanesK}u`] : ["", "1u"];
    if (places !== names) lines.push(...names);
    lines.push(
      `  for (var k = params.K / 4u * 4u${first}; k < params.K; k += ${turn}) {`,
      ...step("k", (i) => vector.a ? `a[a${i} + k / 4u][k % 4u]` : `a[a${i} + k]`),
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
