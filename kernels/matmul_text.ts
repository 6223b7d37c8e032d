/**
 * The pieces of WGSL that all matrix product kernels share: bindings, batch offsets, and the epilogue that turns a
 * thread's accumulators into y.
 * @module
 */
import type { BufferDeclaration } from "./define_kernel.ts";
import { type MatmulKernel, type MatmulOptions, readingOfB, spreadsTable } from "./matmul_options.ts";
import { FUSED_ACTIVATIONS, type FusedActivation } from "./fused_activations.ts";
import { bufferNames, formatNamed, loadFunction } from "./weights/mod.ts";

/** The numbers from 0 to count - 1. */
export function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}

/** Component `index` of a vec4f. */
export function component(index: number): string {
  return "xyzw"[index];
}

/** The buffers of b: those of its format, and what they are. */
function buffersOfB(options: MatmulOptions): Record<string, BufferDeclaration> {
  const format = formatNamed(options.weight);
  const types = readingOfB(options).types(options.vector.b ? 4 : 1);
  const shape = options.layout === "nt" ? "[batch, N, K], rows of ldb" : "[batch, K, N], rows of ldb";
  const names = bufferNames(format, "b");
  return Object.fromEntries(names.map((name, place): [string, BufferDeclaration] => {
    const notes = [place === 0 ? shape : "", format.buffers[place].note].filter((note) => note !== "");
    return [name, `read ${types[place]} // ${notes.join(", ")}`];
  }));
}

/** The buffers of a program. */
export function matmulBuffers(options: MatmulOptions): MatmulKernel["declared"] {
  const { extension, layout, vector } = options;
  const [a, u, y] = [vector.a, vector.extension, vector.y].map((wide) => wide ? "vec4f" : "f32");
  return {
    a: layout === "tn"
      ? `read ${a} // [batch, K, M], rows of lda`
      : `read ${a} // [batch, M, K], rows of lda`,
    ...buffersOfB(options),
    u: extension !== "none" && `read ${u} // [M, R]`,
    v: extension === "nt" ? `read ${u} // [N, R]` : extension === "nn" && `read ${y} // [R, N], rows of ldv`,
    bias: options.bias && `read ${y} // [N]`,
    residual: options.residual && `read ${y} // [M, N], rows of ldc`,
    gate: Boolean(options.gated) && `read ${y} // [M, N], rows of ldc: the argument of the activation`,
    preActivation: options.preActivation &&
      `read_write ${y} // [M, N], rows of ldc: the argument of the activation, or what the gate multiplies`,
    y: `read_write ${y} // [batch, M, N], rows of ldc`,
  };
}

function activationOf({ activation }: MatmulOptions): FusedActivation | null {
  return activation === "none" ? null : FUSED_ACTIVATIONS[activation];
}

/** `enable` directives of the program. */
export function matmulDirectives(options: MatmulOptions): string[] {
  const { feature } = readingOfB(options);
  return [...feature ? [`enable ${feature.wgsl};`] : [], ...options.broadcast ? ["enable subgroups;"] : []];
}

/** The functions that read b, which is called `name`. */
export function readerOfB(options: MatmulOptions, name: string): string {
  const width = options.vector.b ? 4 : 1;
  return loadFunction(formatNamed(options.weight), readingOfB(options), name, width, spreadsTable(options));
}

/** The functions of the activation. */
export function activationFunctions(options: MatmulOptions): string {
  return activationOf(options)?.functions ?? "";
}

/** `batchA`, `batchB`, `batchY`: where this product's operands begin, in units of the buffers' elements. */
export function batchOffsets(options: MatmulOptions): string {
  const { vector } = options;
  return `
  let product = params.batchFirst + group.z;
  let outer = product / params.batchInner;
  let inner = product % params.batchInner;
  let batchA = (outer * params.aOuter + inner * params.aInner)${vector.a ? " / 4u" : ""};
  let batchB = (outer * params.bOuter + inner * params.bInner)${vector.b ? " / 4u" : ""};
  let batchY = product * params.yBatch${vector.y ? " / 4u" : ""};`;
}

/**
 * Where the rows and columns of a thread's tile lie from its `row` and `col` on: groups of four neighbours, of columns
 * perhaps more, one group `rowStride` or `columnStride` after the other.
 */
export interface TilePlace {
  readonly rowStride: number;
  /** Neighbouring columns of a group: 4, or a multiple of it. */
  readonly columnGroup: number;
  readonly columnStride: number;
}

/** A tile in one piece. */
export const CONTIGUOUS: TilePlace = { rowStride: 4, columnGroup: 4, columnStride: 4 };

/** Offset of row i of the tile. */
export const rowOffset = (place: TilePlace, i: number) => (i >> 2) * place.rowStride + (i & 3);
/** Offset of column c of the tile. */
export const columnOffset = ({ columnGroup, columnStride }: TilePlace, c: number) =>
  Math.floor(c / columnGroup) * columnStride + c % columnGroup;
/** The same in WGSL. */
export const columnOffsetText = ({ columnGroup, columnStride }: TilePlace, c: string) =>
  columnGroup === columnStride ? c : `(${c}) / ${columnGroup}u * ${columnStride}u + (${c}) % ${columnGroup}u`;

/**
 * Writes the accumulators `acc<i>_<j>` (row i of the tile, its columns 4 j to 4 j + 3) through the epilogue: alpha, old
 * y, bias, activation or gate, residual. Rows and columns outside of y are not written.
 */
export function matmulEpilogue(options: MatmulOptions, place: TilePlace): string {
  const { vector, tileM, tileN } = options;
  const groups = range(tileN / 4);
  const lines: string[] = [];
  const fourth = vector.y ? " / 4u" : "";
  lines.push(`  let ldc = params.ldc${fourth};`);
  const column = (c: number) => columnOffset(place, c);
  const guard = (c: number) => `col + ${column(c)}u < params.N`;
  // Reads past N are clamped, not branched around: what they give is not stored.
  if (options.bias) {
    for (const j of groups) {
      const parts = range(4).map((e) => `bias[min(col + ${column(4 * j + e)}u, params.N - 1u)]`);
      const value = vector.y
        ? `bias[min((col + ${column(4 * j)}u) / 4u, params.N / 4u - 1u)]`
        : `vec4f(${parts.join(", ")})`;
      lines.push(`  let bias${j} = ${value};`);
    }
  }
  const activation = activationOf(options);
  const first = activation && options.preActivation ? "preActivation" : "y";
  const [argument, factor] = options.gated ? ["gate[at]", ` * ${first}[at]`] : [`${first}[at]`, ""];
  for (const i of range(tileM)) {
    const row = `row + ${rowOffset(place, i)}u`;
    lines.push(`  if (${row} < params.M) {`);
    lines.push(`    let at = batchY + (${row}) * ldc + col${fourth};`);
    for (const j of groups) {
      const value = `params.alpha * acc${i}_${j}` + (options.bias ? ` + bias${j}` : "");
      const put = (c: number, index: number, what: string) => {
        const old = options.accumulate ? ` + y[at + ${index}u]` : "";
        const residual = options.residual && !activation ? ` + residual[at + ${index}u]` : "";
        lines.push(`    if (${guard(c)}) { ${first}[at + ${index}u] = ${what}${old}${residual}; }`);
      };
      if (vector.y) {
        put(4 * j, column(4 * j) / 4, value);
      } else {
        lines.push(`    let z${j} = ${value};`);
        for (const e of range(4)) put(4 * j + e, column(4 * j + e), `z${j}.${component(e)}`);
      }
    }
    lines.push("  }");
  }
  if (activation) {
    // A rolled loop over what this thread has just written: the activation appears once in the compiled program
    // instead of once per element.
    const residual = options.residual ? " + residual[at]" : "";
    const c = `col + ${columnOffsetText(place, vector.y ? "4u * j" : "j")}`;
    lines.push(`  for (var i = 0u; i < ${tileM}u; i++) {`);
    lines.push(`    let r = row + i / 4u * ${place.rowStride}u + i % 4u;`);
    lines.push(`    for (var j = 0u; j < ${vector.y ? tileN / 4 : tileN}u; j++) {`);
    lines.push(`      let c = ${c};`);
    lines.push("      if (r < params.M && c < params.N) {");
    lines.push(`        let at = batchY + r * ldc + c${fourth};`);
    lines.push(
      `        y[at] = ${vector.y ? activation.four : activation.one}(${argument})${factor}${residual};`,
    );
    lines.push("      }\n    }\n  }");
  }
  return lines.join("\n");
}
