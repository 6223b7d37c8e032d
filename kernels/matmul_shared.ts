/**
 * Matrix product through workgroup memory, for hardware: a workgroup computes a (lanesM tileM) x (lanesN tileN) block
 * of y, and loads tileK steps of both operands at a time into shared tiles, both with K as the slow dimension, so that
 * every thread reads its rows and columns of a step as vec4f. Operands whose rows run along K are transposed on the
 * way, in 4x4 blocks held by one thread. A thread's tile is made of 4x4 groups spread over the block, which keeps
 * neighbouring threads on neighbouring banks. With `ahead` the next tiles are read from memory while this step's are
 * multiplied (double buffering in registers: no more workgroup memory, and the wait for memory is hidden).
 * @module
 */
import type { MatmulOptions, MatmulProgram } from "./matmul_options.ts";
import { extensionText } from "./matmul_register.ts";
import { batchOffsets, component, matmulEpilogue, range, type TilePlace } from "./matmul_text.ts";

/** One operand on its way to shared memory. */
interface Side {
  readonly tile: string;
  /** Whether rows run along K (a of nn and nt, b of nt). */
  readonly alongK: boolean;
  readonly vector: boolean;
  readonly read: (index: string) => string;
  readonly base: string;
  readonly stride: string;
  /** Size of the block's other dimension, where it begins, and the matrix's size there. */
  readonly size: number;
  readonly origin: string;
  readonly limit: string;
}

/** The place of the 4x4 block `block` of a side in its tile: steps 4 kb to 4 kb + 3 of K, four rows or columns. */
function placeBlock({ alongK, size }: Side, tileK: number): string[] {
  const [fast, slow, count] = alongK ? ["kb", "xb", tileK / 4] : ["xb", "kb", size / 4];
  return [`let ${fast} = block % ${count}u;`, `let ${slow} = block / ${count}u;`];
}

/** Reads the four vectors of a block, beginning with K's step `step`, into the names that `target` gives. */
function readBlock(
  { anyK }: MatmulOptions,
  { alongK, vector, read, base, stride, origin, limit }: Side,
  step: string,
  target: (n: number) => string,
): string[] {
  const lines = [`let k = ${step} + kb * 4u;`, `let x = ${origin} + xb * 4u;`];
  const fourth = vector ? " / 4u" : "";
  const zero = "vec4f(0.0)";
  for (const n of range(4)) {
    let value: string;
    if (alongK) { // n numbers rows; four steps of K at once
      const at = `${base} + min(x + ${n}u, ${limit} - 1u) * (${stride}${fourth})`;
      const scalars = range(4).map((e) => read(`${at} + min(k + ${e}u, params.K - 1u)`));
      value = vector ? read(`${at} + k / 4u`) : `vec4f(${scalars.join(", ")})`;
      if (anyK) {
        const steps = range(4).map((e) => `k + ${e}u`).join(", ");
        value = `select(${zero}, ${value}, vec4u(${steps}) < vec4u(params.K))`;
      }
    } else { // n numbers steps of K; four columns at once
      const row = `${base} + ${
        anyK ? `min(k + ${n}u, params.K - 1u)` : `(k + ${n}u)`
      } * (${stride}${fourth})`;
      const scalars = range(4).map((e) => read(`${row} + min(x + ${e}u, ${limit} - 1u)`));
      value = vector ? read(`${row} + min(x / 4u, ${limit} / 4u - 1u)`) : `vec4f(${scalars.join(", ")})`;
      if (anyK) value = `select(${zero}, ${value}, k + ${n}u < params.K)`;
    }
    lines.push(`${target(n)} = ${value};`);
  }
  return lines;
}

/** Writes the four vectors of a block into the side's tile, K as the slow dimension. */
function writeBlock({ tile, alongK, size }: Side, source: (n: number) => string): string[] {
  return range(4).map((n) => {
    const value = alongK
      ? `vec4f(${range(4).map((e) => `${source(e)}.${component(n)}`).join(", ")})`
      : source(n);
    return `${tile}[(kb * 4u + ${n}u) * ${size / 4}u + xb] = ${value};`;
  });
}

/** The loop over K: tiles are loaded, and multiplied once they are complete. */
function stepsText(options: MatmulOptions, left: Side, right: Side, multiply: string): string {
  const { tileK, lanesM, lanesN } = options;
  const threads = lanesM * lanesN;
  const blocksA = left.size * tileK / 16;
  const blocks = blocksA + right.size * tileK / 16;
  const eachSide = (body: (side: Side) => string[]) => {
    const of = (side: Side) => [...placeBlock(side, tileK), ...body(side)].join("\n        ");
    return `if (slot < ${blocksA}u) {
        let block = slot;
        ${of(left)}
      } else {
        let block = slot - ${blocksA}u;
        ${of(right)}
      }`;
  };
  if (!options.ahead) {
    const load = eachSide((side) => [
      ...readBlock(options, side, "step", (n) => `let r${n}`),
      ...writeBlock(side, (n) => `r${n}`),
    ]);
    return `  for (var step = 0u; step < params.K; step += ${tileK}u) {
    for (var slot = lane; slot < ${blocks}u; slot += ${threads}u) {
      ${load}
    }
    workgroupBarrier(); // both tiles are complete
${multiply}
    workgroupBarrier(); // nobody reads the tiles any more
  }`;
  }
  // A thread's blocks of the next tiles travel in registers while this step's tiles are multiplied.
  const slots = range(Math.ceil(blocks / threads));
  const each = (body: (side: Side, name: (n: number) => string) => string[]) =>
    slots.map((s) => {
      const whole = (s + 1) * threads <= blocks;
      const text = eachSide((side) => body(side, (n) => `ahead${s}_${n}`));
      return `    {
      let slot = lane + ${s * threads}u;
      ${whole ? text : `if (slot < ${blocks}u) {\n      ${text}\n      }`}
    }`;
    }).join("\n");
  const fetch = (step: string) => each((side, name) => readBlock(options, side, step, name));
  return `${slots.flatMap((s) => range(4).map((n) => `  var ahead${s}_${n} = vec4f();`)).join("\n")}
${fetch("0u")}
  for (var step = 0u; step < params.K; step += ${tileK}u) {
${each((side, name) => writeBlock(side, name))}
    workgroupBarrier(); // both tiles are complete
    let next = step + ${tileK}u;
    if (next < params.K) {
${fetch("next")}
    }
${multiply}
    workgroupBarrier(); // nobody reads the tiles any more
  }`;
}

/** The threads of a workgroup, their tiles and what they do; tileM, tileN and tileK are multiples of 4. */
export function sharedProgram(options: MatmulOptions): MatmulProgram {
  const { tileM, tileN, tileK, lanesM, lanesN, layout, vector } = options;
  const [blockM, blockN] = [tileM * lanesM, tileN * lanesN];
  const threads = lanesM * lanesN;
  const place: TilePlace = { rowStride: 4 * lanesM, columnGroup: 4, columnStride: 4 * lanesN };
  const left: Side = {
    tile: "tileA",
    alongK: layout !== "tn",
    vector: vector.a,
    read: (index) => `a[${index}]`,
    base: "batchA",
    stride: "params.lda",
    size: blockM,
    origin: "firstRow",
    limit: "params.M",
  };
  const right: Side = {
    tile: "tileB",
    alongK: layout === "nt",
    vector: vector.b,
    read: (index) => `loadB(${index})`,
    base: "batchB",
    stride: "params.ldb",
    size: blockN,
    origin: "firstColumn",
    limit: "params.N",
  };
  const groupsM = range(tileM / 4);
  const groupsN = range(tileN / 4);
  const accumulators = range(tileM).flatMap((i) => groupsN.map((j) => `  var acc${i}_${j} = vec4f();`));
  const fma = range(tileM).flatMap((i) =>
    groupsN.map((j) =>
      `      acc${i}_${j} = fma(vec4f(x${i >> 2}.${component(i & 3)}), w${j}, acc${i}_${j});`
    )
  );
  const multiply = `    for (var k = 0u; k < ${tileK}u; k++) {
${groupsM.map((g) => `      let x${g} = tileA[k * ${blockM / 4}u + ${g * lanesM}u + laneM];`).join("\n")}
${groupsN.map((j) => `      let w${j} = tileB[k * ${blockN / 4}u + ${j * lanesN}u + laneN];`).join("\n")}
${fma.join("\n")}
    }`;
  return {
    threads,
    memory: [
      `var<workgroup> tileA: array<vec4f, ${
        tileK * blockM / 4
      }>; // [${tileK}, ${blockM}]: steps of K, rows of y`,
      `var<workgroup> tileB: array<vec4f, ${
        tileK * blockN / 4
      }>; // [${tileK}, ${blockN}]: steps of K, columns of y`,
    ],
    body: `  let firstRow = group.y * ${blockM}u;
  let firstColumn = group.x * ${blockN}u;
  let laneM = lane / ${lanesN}u;
  let laneN = lane % ${lanesN}u;
  let row = firstRow + laneM * 4u;
  let col = firstColumn + laneN * 4u;
${batchOffsets(options)}
${accumulators.join("\n")}
${stepsText(options, left, right, multiply)}
${extensionText(options, place)}
${matmulEpilogue(options, place)}`,
  };
}
