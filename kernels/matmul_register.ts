/**
 * Matrix product without shared tiles and without barriers: each thread keeps a tileM x tileN tile of y in registers
 * and walks over K in steps of 4. On software adapters a barrier costs more than re-reading from the cache, and the
 * 8x8 tile reaches 2.5 times the rate of a shared-memory tile there; skinny products (N or M up to 16) and
 * matrix-vector products are the same program with its threads along the long side. Where such a product is too small
 * to fill hardware, `lanesK` threads share a tile's steps of K and add up once at the end (split K).
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
import { shareItems } from "./subgroup_items.ts";
import { decodedLoop, decodedPlace, decodesTogether } from "./matmul_decoded.ts";
import { groupedLoop } from "./matmul_grouped.ts";

/** One loop over the shared dimension: the product itself, or the extension's R columns. */
interface Loop {
  readonly layout: "nn" | "nt" | "tn";
  /** Names of the left and right buffers as functions of an index. */
  readonly left: (index: string) => string;
  readonly right: (index: string) => string;
  readonly vectorLeft: boolean;
  readonly vectorRight: boolean;
  /** Prefix of this loop's own names, and the WGSL of its length and row lengths. */
  readonly prefix: string;
  readonly length: string;
  readonly leftStride: string;
  readonly rightStride: string;
  readonly leftBase: string;
  readonly rightBase: string;
  readonly anyLength: boolean;
}

/** One loop over the shared dimension, four steps at a time, and where needed the last one to three steps. */
function loopText(options: MatmulOptions, loop: Loop, place: TilePlace): string {
  const { tileM, tileN, lanesM, lanesN, lanesK } = options;
  const threads = lanesM * lanesN;
  const { layout, prefix: p, vectorLeft, vectorRight } = loop;
  const shared = sharedSide(options);
  const row = (i: number) => `row + ${rowOffset(place, i)}u`;
  const col = (c: number) => `col + ${columnOffset(place, c)}u`;
  const leftGroups = range(Math.ceil(tileM / 4));
  const rightGroups = range(tileN / 4);
  const k = `${p}k4`;
  const lines: string[] = [];
  lines.push(`  let ${p}lda = ${loop.leftStride}${vectorLeft ? " / 4u" : ""};`);
  lines.push(`  let ${p}ldb = ${loop.rightStride}${vectorRight ? " / 4u" : ""};`);

  // Where the tile's rows and columns begin. Rows and columns past the end repeat the last one: their sums are not
  // stored, and a clamped read costs less than a branch.
  const leftRow = (at: string) => `${loop.leftBase} + min(${at}, params.M - 1u)`;
  const leftFour = (at: string) => `${loop.leftBase} + min((${at}) / 4u, params.M / 4u - 1u)`;
  const rightRow = (at: string) => `${loop.rightBase} + min(${at}, params.N - 1u)`;
  const rightFour = (at: string) => `${loop.rightBase} + min((${at}) / 4u, params.N / 4u - 1u)`;
  const leftPlaces = layout === "tn" && vectorLeft
    ? leftGroups.map((g) => `  let ${p}a${g} = ${leftFour(row(4 * g))};`)
    : range(tileM).map((i) => `  let ${p}a${i} = ${leftRow(row(i))}${layout === "tn" ? "" : ` * ${p}lda`};`);
  const rightPlaces = layout !== "nt" && vectorRight
    ? rightGroups.map((j) => `  let ${p}b${j} = ${rightFour(col(4 * j))};`)
    : range(tileN).map((c) => `  let ${p}b${c} = ${rightRow(col(c))}${layout === "nt" ? ` * ${p}ldb` : ""};`);

  // Four steps of a row that runs along K, or step s of four neighbouring rows.
  const leftAlong = (at: string) =>
    vectorLeft
      ? loop.left(`${at} + ${k}`)
      : `vec4f(${range(4).map((s) => loop.left(`${at} + ${k} * 4u + ${s}u`)).join(", ")})`;
  const rightAlong = (at: string) =>
    vectorRight
      ? loop.right(`${at} + ${k}`)
      : `vec4f(${range(4).map((s) => loop.right(`${at} + ${k} * 4u + ${s}u`)).join(", ")})`;
  const step = (s: number) => `(${k} * 4u + ${s}u)`;
  const leftAcross = (s: number, g: number) => {
    if (vectorLeft) return loop.left(`${p}a${g} + ${step(s)} * ${p}lda`);
    const one = (i: number) => i < tileM ? loop.left(`${p}a${i} + ${step(s)} * ${p}lda`) : "0.0";
    return `vec4f(${range(4).map((e) => one(4 * g + e)).join(", ")})`;
  };
  const rightAcross = (s: number, j: number) =>
    vectorRight
      ? loop.right(`${p}b${j} + ${step(s)} * ${p}ldb`)
      : `vec4f(${range(4).map((e) => loop.right(`${p}b${4 * j + e} + ${step(s)} * ${p}ldb`)).join(", ")})`;

  // What all threads need is loaded once between them: rows along K, or (step, four neighbours) across it.
  const across = (count: number, item: string) => [`${item} % ${count}u`, `${item} / ${count}u`];
  const shareLeft = () => {
    if (shared !== "left") return null;
    if (layout !== "tn") {
      const { reads, ...rows } = shareItems(
        threads,
        `${p}a`,
        tileM,
        (i) => `${leftRow(`row + ${i}`)} * ${p}lda`,
      );
      return { ...rows, reads: reads(leftAlong) };
    }
    if (!vectorLeft || tileM % 4 !== 0) return null;
    const { reads, ...groups } = shareItems(threads, `${p}a`, tileM, (i) => {
      const [g, s] = across(tileM / 4, i);
      return `${leftFour(`row + 4u * (${g})`)} + (${s}) * ${p}lda`;
    });
    return { ...groups, reads: reads((at) => loop.left(`${at} + ${k} * 4u * ${p}lda`)) };
  };
  const shareRight = () => {
    if (shared !== "right") return null;
    if (layout === "nt") {
      const { reads, ...rows } = shareItems(
        threads,
        `${p}b`,
        tileN,
        (c) => `${rightRow(`col + ${columnOffsetText(place, c)}`)} * ${p}ldb`,
      );
      return { ...rows, reads: reads(rightAlong) };
    }
    if (!vectorRight) return null;
    const { reads, ...groups } = shareItems(threads, `${p}b`, tileN, (i) => {
      const [j, s] = across(tileN / 4, i);
      return `${rightFour(`col + ${columnOffsetText(place, `4u * (${j})`)}`)} + (${s}) * ${p}ldb`;
    });
    return { ...groups, reads: reads((at) => loop.right(`${at} + ${k} * 4u * ${p}ldb`)) };
  };
  const [sharedLeft, sharedRight] = [shareLeft(), shareRight()];

  // Steps of K nested in one expression: accumulators are read and written once per turn of the loop.
  const accumulate = (
    steps: number,
    left: (s: number, i: number) => string,
    right: (s: number, j: number) => string,
  ) => {
    for (const i of range(tileM)) {
      for (const j of rightGroups) {
        const sum = range(steps).reduce(
          (inner, s) => `fma(vec4f(${left(s, i)}), ${right(s, j)}, ${inner})`,
          `acc${i}_${j}`,
        );
        lines.push(`    acc${i}_${j} = ${sum};`);
      }
    }
  };

  lines.push(...sharedLeft?.places ?? leftPlaces, ...sharedRight?.places ?? rightPlaces);
  const [from, by] = lanesK > 1 ? ["laneK", `${lanesK}u`] : ["0u", "1u"];
  lines.push(`  for (var ${k} = ${from}; ${k} < ${loop.length} / 4u; ${k} += ${by}) {`);
  lines.push(...sharedLeft?.reads ?? [], ...sharedRight?.reads ?? []);
  if (layout !== "tn") {
    for (const i of range(tileM)) {
      lines.push(`    let x${i} = ${sharedLeft?.item(i) ?? leftAlong(`${p}a${i}`)};`);
    }
  }
  if (layout === "nt") {
    for (const c of range(tileN)) {
      lines.push(`    let w${c} = ${sharedRight?.item(c) ?? rightAlong(`${p}b${c}`)};`);
    }
  }
  for (const s of range(4)) {
    if (layout === "tn") {
      for (const g of leftGroups) {
        const value = sharedLeft?.item(s * leftGroups.length + g) ?? leftAcross(s, g);
        lines.push(`    let x${s}_${g} = ${value};`);
      }
    }
    for (const j of rightGroups) {
      const value = layout === "nt"
        ? `vec4f(${range(4).map((e) => `w${4 * j + e}.${component(s)}`).join(", ")})`
        : sharedRight?.item(s * rightGroups.length + j) ?? rightAcross(s, j);
      lines.push(`    let w${s}_${j} = ${value};`);
    }
  }
  accumulate(
    4,
    (s, i) => layout === "tn" ? `x${s}_${i >> 2}.${component(i & 3)}` : `x${i}.${component(s)}`,
    (s, j) => `w${s}_${j}`,
  );
  lines.push("  }");

  if (loop.anyLength) {
    // The last one to three steps, one at a time, each thread for itself.
    if (sharedLeft) lines.push(...leftPlaces);
    if (sharedRight) lines.push(...rightPlaces);
    const [first, turn] = lanesK > 1 ? [" + laneK", `${lanesK}u`] : ["", "1u"];
    lines.push(`  for (var k = ${loop.length} / 4u * 4u${first}; k < ${loop.length}; k += ${turn}) {`);
    const left = (i: number) =>
      layout === "tn" ? (vectorLeft ? `x${i >> 2}.${component(i & 3)}` : `x${i}`) : `x${i}`;
    if (layout === "tn" && vectorLeft) {
      for (const g of leftGroups) lines.push(`    let x${g} = ${loop.left(`${p}a${g} + k * ${p}lda`)};`);
    } else {
      for (const i of range(tileM)) {
        const value = layout === "tn"
          ? loop.left(`${p}a${i} + k * ${p}lda`)
          : vectorLeft
          ? `${loop.left(`${p}a${i} + k / 4u`)}[k % 4u]`
          : loop.left(`${p}a${i} + k`);
        lines.push(`    let x${i} = ${value};`);
      }
    }
    for (const j of rightGroups) {
      const at = (c: number) =>
        layout === "nt"
          ? vectorRight ? `${loop.right(`${p}b${c} + k / 4u`)}[k % 4u]` : loop.right(`${p}b${c} + k`)
          : loop.right(`${p}b${c} + k * ${p}ldb`);
      const value = layout !== "nt" && vectorRight
        ? loop.right(`${p}b${j} + k * ${p}ldb`)
        : `vec4f(${range(4).map((e) => at(4 * j + e)).join(", ")})`;
      lines.push(`    let w${j} = ${value};`);
    }
    accumulate(1, (_, i) => left(i), (_, j) => `w${j}`);
    lines.push("  }");
  }
  return lines.join("\n");
}

/** The accumulators continue over the R columns of u; empty without an extension. */
export function extensionText(options: MatmulOptions, place: TilePlace): string {
  const { extension, vector } = options;
  if (extension === "none") return "";
  const loop = loopText(options, {
    layout: extension,
    left: (index) => `u[${index}]`,
    right: (index) => `v[${index}]`,
    vectorLeft: vector.extension,
    vectorRight: extension === "nt" ? vector.extension : vector.y,
    prefix: "e",
    length: "params.R",
    leftStride: "params.R",
    rightStride: extension === "nt" ? "params.R" : "params.ldv",
    leftBase: "0u",
    rightBase: "0u",
    anyLength: !vector.extension,
  }, place);
  return `  // The accumulators continue over the R columns of u.\n${loop}`;
}

/** The threads of a tile add up their partial sums; the first one continues. */
function sumOverLanes({ tileM, tileN, lanesK, broadcast }: MatmulOptions): string {
  const cells = range(tileM).flatMap((i) => range(tileN / 4).map((j) => `${i}_${j}`));
  if (broadcast) { // one tile: in the order of the lanes, through registers
    const sum = (cell: string) =>
      range(lanesK).map((k) => `subgroupBroadcast(acc${cell}, ${k}u)`).join(" + ");
    return [...cells.map((cell) => `  acc${cell} = ${sum(cell)};`), "  if (laneK > 0u) { return; }"].join(
      "\n",
    );
  }
  const write = cells.map((cell, n) => `  partial[lane * ${cells.length}u + ${n}u] = acc${cell};`);
  const add = cells.map((cell, n) => `    acc${cell} += partial[other * ${cells.length}u + ${n}u];`);
  return `${write.join("\n")}
  workgroupBarrier(); // every partial sum is written
  if (laneK > 0u) { return; }
  for (var k = 1u; k < ${lanesK}u; k++) {
    let other = lane + k * laneStep;
${add.join("\n")}
  }`;
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
    left: (index) => `a[${index}]`,
    right: (index) => `loadB(${index})`,
    vectorLeft: vector.a,
    vectorRight: vector.b,
    prefix: "",
    length: "params.K",
    leftStride: "params.lda",
    rightStride: "params.ldb",
    leftBase: "batchA",
    rightBase: "batchB",
    anyLength: options.anyK,
  }, place);
  // Tiles whose columns lie in runs take turns.
  const between = place.columnStride / place.columnGroup;
  const columnOfTile = (tile: string) =>
    between === 1
      ? `${tile} * ${tileN}u`
      : `${tile} / ${between}u * ${between * tileN}u + ${tile} % ${between}u * ${place.columnGroup}u`;
  const threads = lanesM * lanesN * lanesK;
  // Neighbouring threads read neighbouring addresses: steps of K where rows of b run along K, else columns.
  const lanes = lanesK === 1
    ? "  let tile = lane;"
    : options.layout === "nt"
    ? `  let laneStep = 1u;\n  let laneK = lane % ${lanesK}u;\n  let tile = lane / ${lanesK}u;`
    : `  let laneStep = ${lanesM * lanesN}u;\n  let laneK = lane / laneStep;\n  let tile = lane % laneStep;`;
  return {
    threads,
    memory: lanesK > 1 && !broadcast
      ? [`var<workgroup> partial: array<vec4f, ${threads * tileM * tileN / 4}>;`]
      : [],
    body:
      `  // Threads are numbered along x alone: software adapters fill their vector lanes from that dimension.
${lanes}
  let row = (group.y * ${lanesM}u + tile / ${lanesN}u) * ${tileM}u;
  let col = ${columnOfTile(`(group.x * ${lanesN}u + tile % ${lanesN}u)`)};
${spreadsTable(options) ? "  start_b(lane);" : ""}
${lanesK > 1 || broadcast ? "" : "  if (row >= params.M || col >= params.N) { return; }"}
${batchOffsets(options)}
${accumulators.join("\n")}
${main}
${extensionText(options, place)}
${lanesK > 1 ? sumOverLanes(options) : ""}
${matmulEpilogue(options, place)}`,
  };
}
