/**
 * Matrix product through workgroup memory, for hardware: a workgroup computes a (lanesM tileM) x (lanesN tileN) block
 * of y, and loads tileK steps of both operands at a time into shared tiles, both with K as the slow dimension, so that
 * every thread reads its rows and columns of a step as vec4f. Operands whose rows run along K are transposed on the
 * way, in 4x4 blocks held by one thread. A thread's tile is made of 4x4 groups spread over the block, which keeps
 * neighbouring threads on neighbouring banks.
 * @module
 */
import { groupsFor } from "./kernel_spec.ts";
import {
  MATMUL_PARAMS,
  matmulBuffers,
  type MatmulKernel,
  matmulName,
  type MatmulOptions,
  usesNativeHalf,
} from "./matmul_options.ts";
import { extensionText } from "./matmul_register.ts";
import {
  batchOffsets,
  component,
  matmulDeclarations,
  matmulEpilogue,
  range,
  type TilePlace,
} from "./matmul_text.ts";

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

/** Loads the 4x4 block `block` of a side: steps 4 kb to 4 kb + 3 of K, four rows or columns. */
function loadBlock(options: MatmulOptions, side: Side): string[] {
  const { tileK, anyK } = options;
  const { tile, size, vector, read } = side;
  const lines: string[] = [];
  const fourth = vector ? " / 4u" : "";
  if (side.alongK) {
    lines.push(`      let kb = block % ${tileK / 4}u;`, `      let xb = block / ${tileK / 4}u;`);
  } else {
    lines.push(`      let xb = block % ${size / 4}u;`, `      let kb = block / ${size / 4}u;`);
  }
  lines.push("      let k = step + kb * 4u;", `      let x = ${side.origin} + xb * 4u;`);
  const zero = "vec4f(0.0)";
  for (const n of range(4)) {
    let value: string;
    if (side.alongK) { // n numbers rows; four steps of K at once
      const at = `${side.base} + min(x + ${n}u, ${side.limit} - 1u) * (${side.stride}${fourth})`;
      const scalars = range(4).map((e) => read(`${at} + min(k + ${e}u, params.K - 1u)`));
      value = vector ? read(`${at} + k / 4u`) : `vec4f(${scalars.join(", ")})`;
      if (anyK) {
        const steps = range(4).map((e) => `k + ${e}u`).join(", ");
        value = `select(${zero}, ${value}, vec4u(${steps}) < vec4u(params.K))`;
      }
    } else { // n numbers steps of K; four columns at once
      const row = `${side.base} + ${
        anyK ? `min(k + ${n}u, params.K - 1u)` : `(k + ${n}u)`
      } * (${side.stride}${fourth})`;
      const scalars = range(4).map((e) => read(`${row} + min(x + ${e}u, ${side.limit} - 1u)`));
      value = vector ? read(`${row} + min(x / 4u, ${side.limit} / 4u - 1u)`) : `vec4f(${scalars.join(", ")})`;
      if (anyK) value = `select(${zero}, ${value}, k + ${n}u < params.K)`;
    }
    lines.push(`      let r${n} = ${value};`);
  }
  for (const n of range(4)) {
    const value = side.alongK ? `vec4f(${range(4).map((e) => `r${e}.${component(n)}`).join(", ")})` : `r${n}`;
    lines.push(`      ${tile}[(kb * 4u + ${n}u) * ${size / 4}u + xb] = ${value};`);
  }
  return lines;
}

function sharedText(options: MatmulOptions): string {
  const { tileM, tileN, tileK, lanesM, lanesN, layout, vector } = options;
  const [blockM, blockN] = [tileM * lanesM, tileN * lanesN];
  const threads = lanesM * lanesN;
  const place: TilePlace = { rowStride: 4 * lanesM, columnStride: 4 * lanesN };
  const [blocksA, blocksB] = [blockM * tileK / 16, blockN * tileK / 16];
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
  return `${matmulDeclarations(options)}
var<workgroup> tileA: array<vec4f, ${tileK * blockM / 4}>; // [${tileK}, ${blockM}]: steps of K, rows of y
var<workgroup> tileB: array<vec4f, ${tileK * blockN / 4}>; // [${tileK}, ${blockN}]: steps of K, columns of y

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let firstRow = group.y * ${blockM}u;
  let firstColumn = group.x * ${blockN}u;
  let laneM = lane / ${lanesN}u;
  let laneN = lane % ${lanesN}u;
  let row = firstRow + laneM * 4u;
  let col = firstColumn + laneN * 4u;
${batchOffsets(options)}
${accumulators.join("\n")}
  for (var step = 0u; step < params.K; step += ${tileK}u) {
    for (var slot = lane; slot < ${blocksA + blocksB}u; slot += ${threads}u) {
      if (slot < ${blocksA}u) {
      let block = slot;
${loadBlock(options, left).join("\n")}
      } else {
      let block = slot - ${blocksA}u;
${loadBlock(options, right).join("\n")}
      }
    }
    workgroupBarrier(); // both tiles are complete
    for (var k = 0u; k < ${tileK}u; k++) {
${groupsM.map((g) => `      let x${g} = tileA[k * ${blockM / 4}u + ${g * lanesM}u + laneM];`).join("\n")}
${groupsN.map((j) => `      let w${j} = tileB[k * ${blockN / 4}u + ${j * lanesN}u + laneN];`).join("\n")}
${fma.join("\n")}
    }
    workgroupBarrier(); // nobody reads the tiles any more
  }
${extensionText(options, place)}
${matmulEpilogue(options, place)}
}
`;
}

/** The kernel through workgroup memory; tileM, tileN and tileK are multiples of 4. */
export function matmulSharedKernel(options: MatmulOptions): MatmulKernel {
  return {
    name: matmulName(options),
    wgsl: sharedText(options),
    buffers: matmulBuffers(options),
    params: MATMUL_PARAMS,
    features: usesNativeHalf(options) ? ["shader-f16"] : [],
    tuning: {},
    grid: ({ M, N, batch }) => [
      groupsFor(N, options.tileN * options.lanesN),
      groupsFor(M, options.tileM * options.lanesM),
      batch,
    ],
  };
}
