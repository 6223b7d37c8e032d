/**
 * LoRA with a different adapter for each sample of a batch, in one launch:
 *   y[row] = act(x W + s_i B_i A_i x + s_i c_i + bias) + residual, i the adapter of the row's sample, c_i B's own bias.
 * y already holds x W. A workgroup takes a few rows of one sample, so that its adapter, and with it every loop bound,
 * is the same for all its threads; A_i x stays in workgroup memory. Sums run in the order of the matmul kernels, so
 * that a row is what its adapter alone would give. The idea of one launch for all adapters: Punica (Chen et al. 2023,
 * arXiv:2310.18547) and S-LoRA (Sheng et al. 2023, arXiv:2311.03285).
 * @module
 */
import { defineKernel } from "./define_kernel.ts";
import { groupsFor, type KernelSpec, madeOnce } from "./kernel_spec.ts";
import { FUSED_ACTIVATIONS, type FusedActivationName } from "./fused_activations.ts";

/** What the program does besides adding the adapters' change. */
export interface MixedLoraOptions {
  /** Four neighbours at once: sizes in and out divisible by 4. */
  readonly wide: boolean;
  /** Rows of y a workgroup computes. */
  readonly tileRows: number;
  /** y += bias [out]. */
  readonly bias: boolean;
  /** y = f(y). */
  readonly activation: FusedActivationName | "none";
  /** y += residual [rows, out], after the activation. */
  readonly residual: boolean;
}

/** A kernel of the family: its buffers depend on the options. */
export type MixedLoraKernel = KernelSpec<
  string,
  "samples" | "rowsPerSample" | "inFeatures" | "outFeatures" | "maxRank",
  "WORKGROUP_SIZE" | "COLUMNS"
>;

/** Numbers that say where a sample's adapter is: rank, where A, B and B's bias begin, the scaling's bits, 3 unused. */
export const PLACE_WORDS = 8;
/** The bias offset of an adapter without one. */
export const NO_BIAS = 0xffffffff;
/** Ranks of one pass: what workgroup memory holds of A x, for 8 rows 2 KiB. */
const RANKS = 64;

/** u = scaling A x: a thread takes a few rows and two ranks at a time (one of each where there is one row). */
function productText(wide: boolean, tileRows: number): string {
  const [rows, ranks] = tileRows === 1 ? [[0], [0]] : [[0, 1, 2, 3], [0, 1]];
  const cells = rows.flatMap((i) => ranks.map((r) => ({ i, r, sum: `sum${i}_${r}` })));
  const step = (sum: string, p: string, q: string) =>
    wide
      ? `fma(${p}.w, ${q}.w, fma(${p}.z, ${q}.z, fma(${p}.y, ${q}.y, fma(${p}.x, ${q}.x, ${sum}))))`
      : `fma(${p}, ${q}, ${sum})`;
  const lines = (of: (string | string[])[]) => of.flat().map((line) => `      ${line}`).join("\n");
  // Rows and ranks past the end repeat the last one; their results are not stored, or not read.
  return /* wgsl */ `
    let pairs = (width + ${ranks.length - 1}u) / ${ranks.length}u;
    for (var i = lane; i < ${tileRows / rows.length}u * pairs; i += WORKGROUP_SIZE) {
      let tileRow = i / pairs * ${rows.length}u;
      let tileRank = i % pairs * ${ranks.length}u;
${lines(rows.map((r) => `let at${r} = (row + min(tileRow + ${r}u, count - 1u)) * ldx;`))}
${
    lines(ranks.map((r) =>
      `let start${r} = beginA${wide ? " / 4u" : ""} + (r0 + min(tileRank + ${r}u, width - 1u)) * ldx;`
    ))
  }
${lines(cells.map(({ sum }) => `var ${sum} = 0.0;`))}
      for (var k = 0u; k < ldx; k++) {
${lines(rows.map((r) => `  let p${r} = x[at${r} + k];`))}
${lines(ranks.map((r) => `  let q${r} = a[start${r} + k];`))}
${lines(cells.map(({ i, r, sum }) => `  ${sum} = ${step(sum, `p${i}`, `q${r}`)};`))}
      }
${
    lines(cells.map(({ i, r, sum }) =>
      `u[(tileRow + ${i}u) * ${RANKS}u + min(tileRank + ${r}u, ${RANKS - 1}u)] = scaling * ${sum};`
    ))
  }
    }`;
}

/** Columns a workgroup may compute where a driver ends loops after `iterations`: a multiple of 4. */
export function mixedLoraColumns(
  { inFeatures, maxRank, wide }: {
    readonly inFeatures: number;
    readonly maxRank: number;
    readonly wide: boolean;
  },
  iterations: number,
): number {
  if (iterations === Infinity) return Infinity;
  const width = wide ? 4 : 1;
  const passes = Math.max(1, Math.ceil(maxRank / RANKS));
  const turns = iterations - passes * (inFeatures / width + 8); // left for columns, after A x of each pass
  return Math.max(1, Math.floor(turns / (maxRank + 2 * passes))) * 64 * width; // 64 threads share them
}

function programText({ wide, tileRows, bias, activation, residual }: MixedLoraOptions): string {
  const fused = activation === "none" ? null : FUSED_ACTIVATIONS[activation];
  const [type, width] = wide ? ["vec4f", 4] : ["f32", 1];
  const rows = Array.from({ length: tileRows }, (_, i) => i);
  const fourth = wide ? " / 4u" : "";
  const products = productText(wide, tileRows);
  const column = (offset: string, stride: string) =>
    wide ? `vec4f(${[0, 1, 2, 3].map((e) => `b[${offset} + ${e}u${stride}]`).join(", ")})` : `b[${offset}]`;
  return /* wgsl */ `
${fused?.functions ?? ""}
var<workgroup> u: array<f32, ${tileRows * RANKS}>; // scaling A x of the tile's rows, ${RANKS} ranks at a time

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let place = group.z * ${PLACE_WORDS}u;
  let rank = places[place];
  let beginA = places[place + 1u];
  let beginB = places[place + 2u];
  let beginBias = places[place + 3u];
  let scaling = bitcast<f32>(places[place + 4u]);
  let first = group.y * ${tileRows}u;
  let count = min(${tileRows}u, params.rowsPerSample - first);
  let row = group.z * params.rowsPerSample + first;
  let ldx = params.inFeatures${fourth};
  let ldy = params.outFeatures${fourth};
  for (var r0 = 0u; r0 == 0u || r0 < params.maxRank; r0 += ${RANKS}u) {
    let width = min(${RANKS}u, max(rank, r0) - r0); // 0 where this adapter has no more ranks
${products}
    workgroupBarrier(); // u is complete
    for (var c = lane; c < COLUMNS / ${width}u; c += WORKGROUP_SIZE) {
      let col = group.x * COLUMNS + c * ${width}u;
      if (col < params.outFeatures) {
        let at = row * ldy + col${fourth};
${rows.map((i) => `        var acc${i} = y[at + min(${i}u, count - 1u) * ldy];`).join("\n")}
        for (var r = 0u; r < width; r++) {
          let v = ${column("beginB + col * rank + r0 + r", " * rank")};
${rows.map((i) => `          acc${i} = fma(${type}(u[${i * RANKS}u + r]), v, acc${i});`).join("\n")}
        }
        if (r0 + ${RANKS}u >= params.maxRank) {
          var own = ${type}();
          if (beginBias != ${NO_BIAS}u) { own = scaling * ${column("beginBias + col", "")}; }
${rows.map((i) => `          acc${i} += own${bias ? ` + bias[col${fourth}]` : ""};`).join("\n")}
${fused ? rows.map((i) => `          acc${i} = ${wide ? fused.four : fused.one}(acc${i});`).join("\n") : ""}
${
    residual
      ? rows.map((i) => `          acc${i} += residual[at + min(${i}u, count - 1u) * ldy];`).join("\n")
      : ""
  }
        }
${rows.map((i) => `        if (${i}u < count) { y[at + ${i}u * ldy] = acc${i}; }`).join("\n")}
      }
    }
    workgroupBarrier(); // u may be overwritten
  }
}
`;
}

const made = madeOnce<MixedLoraKernel>();

/** The kernel for these options, made once. */
export function mixedLoraKernel(options: MixedLoraOptions): MixedLoraKernel {
  const { wide, tileRows, bias, activation, residual } = options;
  const name = ["mixedLora", wide ? "vec4" : "scalar", `${tileRows}rows`]
    .concat(bias ? "bias" : [], activation === "none" ? [] : FUSED_ACTIVATIONS[activation].label)
    .concat(residual ? "residual" : []).join(".");
  const type = wide ? "vec4f" : "f32";
  return made(name, () =>
    defineKernel({
      name,
      program: programText(options),
      buffers: {
        x: `read ${type} // [samples rowsPerSample, in]`,
        places:
          `read u32 // [samples, ${PLACE_WORDS}]: rank, begin of A, of B, of B's bias, bits of the scaling`,
        a: `read ${type} // the adapters' A [rank, in], one after the other`,
        b: "read f32 // their B [out, rank] and biases [out]",
        bias: bias && `read ${type} // [out]`,
        residual: residual && `read ${type} // [samples rowsPerSample, out]`,
        y: `read_write ${type} // [samples rowsPerSample, out]: x W before`,
      },
      params: { samples: "u32", rowsPerSample: "u32", inFeatures: "u32", outFeatures: "u32", maxRank: "u32" },
      tuning: { WORKGROUP_SIZE: 64, COLUMNS: 512 }, // COLUMNS of y a workgroup computes, a multiple of 4
      grid: ({ samples, rowsPerSample, outFeatures }, { COLUMNS }) => [
        groupsFor(outFeatures, COLUMNS),
        groupsFor(rowsPerSample, tileRows),
        samples,
      ],
    }));
}

/** Every option once, for the checks that walk all kernels. */
export function mixedLoraKernels(): MixedLoraKernel[] {
  const plain = { bias: false, activation: "none" as const, residual: false };
  return [
    ...[true, false].flatMap((wide) => [1, 8].map((tileRows) => ({ ...plain, wide, tileRows, bias: true }))),
    { wide: true, tileRows: 8, bias: true, activation: "gelu_new" as const, residual: false },
    { wide: false, tileRows: 8, bias: false, activation: "gelu_new" as const, residual: true },
    { wide: true, tileRows: 8, bias: true, activation: "none" as const, residual: true },
    { ...plain, wide: true, tileRows: 8 },
  ].map(mixedLoraKernel);
}
