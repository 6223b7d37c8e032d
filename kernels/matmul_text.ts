/**
 * The pieces of WGSL that all matrix product kernels share: bindings, batch offsets, and the epilogue that turns a
 * thread's accumulators into y.
 * @module
 */
import { MATMUL_PARAMS, matmulBuffers, type MatmulOptions } from "./matmul_options.ts";
import { geluNewSnippet } from "./snippets.ts";

/** The numbers from 0 to count - 1. */
export function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}

/** Component `index` of a vec4f. */
export function component(index: number): string {
  return "xyzw"[index];
}

const SHAPES: Record<string, string> = {
  u: "[M, R]",
  bias: "[N]",
  residual: "[M, N], rows of ldc",
  preActivation: "[M, N], rows of ldc: the argument of gelu_new",
  y: "[batch, M, N], rows of ldc",
};

function shapeOf(name: string, options: MatmulOptions): string {
  if (name === "a") {
    return options.layout === "tn" ? "[batch, K, M], rows of lda" : "[batch, M, K], rows of lda";
  }
  if (name === "b") {
    const packed = options.weight === "f16" ? ", two halves a word" : "";
    return (options.layout === "nt" ? "[batch, N, K], rows of ldb" : "[batch, K, N], rows of ldb") + packed;
  }
  if (name === "v") return options.extension === "nt" ? "[N, R]" : "[R, N], rows of ldv";
  return SHAPES[name];
}

function elementType(name: string, options: MatmulOptions): string {
  const { vector } = options;
  if (name === "b" && options.weight === "f16") return vector.b ? "vec2u" : "u32";
  const wide = name === "a"
    ? vector.a
    : name === "b"
    ? vector.b
    : name === "u"
    ? vector.extension
    : name === "v"
    ? (options.extension === "nt" ? vector.extension : vector.y)
    : vector.y;
  return wide ? "vec4f" : "f32";
}

/** The uniform struct, the bindings and the functions that read packed halves. */
export function matmulDeclarations(options: MatmulOptions): string {
  const lines: string[] = ["struct Params {"];
  for (const [name, type] of Object.entries(MATMUL_PARAMS)) lines.push(`  ${name}: ${type},`);
  lines.push("}");
  const buffers = matmulBuffers(options);
  Object.entries(buffers).forEach(([name, access], index) => {
    const declaration = `var<storage, ${access}> ${name}: array<${elementType(name, options)}>;`;
    lines.push(`@group(0) @binding(${index}) ${declaration} // ${shapeOf(name, options)}`);
  });
  lines.push(`@group(0) @binding(${Object.keys(buffers).length}) var<uniform> params: Params;`);
  if (options.weight === "f16") {
    lines.push(
      options.vector.b
        ? "fn loadB(i: u32) -> vec4f { let w = b[i]; return vec4f(unpack2x16float(w.x), unpack2x16float(w.y)); }"
        : "fn loadB(i: u32) -> f32 { let w = unpack2x16float(b[i >> 1u]); return select(w.x, w.y, (i & 1u) == 1u); }",
    );
  } else {
    lines.push(`fn loadB(i: u32) -> ${options.vector.b ? "vec4f" : "f32"} { return b[i]; }`);
  }
  return lines.join("\n") + (options.gelu ? geluNewSnippet : "\n");
}

/** `batchA`, `batchB`, `batchY`: where this product's operands begin, in units of the buffers' elements. */
export function batchOffsets(options: MatmulOptions): string {
  const { vector } = options;
  return `
  let outer = group.z / params.batchInner;
  let inner = group.z % params.batchInner;
  let batchA = (outer * params.aOuter + inner * params.aInner)${vector.a ? " / 4u" : ""};
  let batchB = (outer * params.bOuter + inner * params.bInner)${vector.b ? " / 4u" : ""};
  let batchY = group.z * params.yBatch${vector.y ? " / 4u" : ""};`;
}

/**
 * Writes the accumulators `acc<i>_<j>` (row `row + i`, columns `col + 4 j` to `col + 4 j + 3`) through the epilogue:
 * alpha, old y, bias, activation, residual. Rows and columns outside of y are not written.
 */
export function matmulEpilogue(options: MatmulOptions, tileM: number, tileN: number): string {
  const { vector } = options;
  const groups = range(tileN / 4);
  const lines: string[] = [];
  const fourth = vector.y ? " / 4u" : "";
  lines.push(`  let ldc = params.ldc${fourth};`);
  const columns = vector.y ? range(tileN / 4) : range(tileN);
  const guard = (column: number) =>
    vector.y ? `col + ${4 * column}u < params.N` : `col + ${column}u < params.N`;
  // Reads past N are clamped, not branched around: what they give is not stored.
  if (options.bias) {
    if (vector.y) {
      for (const j of groups) lines.push(`  let bias${j} = bias[min(col / 4u + ${j}u, params.N / 4u - 1u)];`);
    } else {
      for (const j of groups) {
        const parts = range(4).map((e) => `bias[min(col + ${4 * j + e}u, params.N - 1u)]`);
        lines.push(`  let bias${j} = vec4f(${parts.join(", ")});`);
      }
    }
  }
  const first = options.gelu ? (options.preActivation ? "preActivation" : "y") : "y";
  for (const i of range(tileM)) {
    lines.push(`  if (row + ${i}u < params.M) {`);
    lines.push(`    let at = batchY + (row + ${i}u) * ldc + col${fourth};`);
    for (const j of groups) {
      const value = `params.alpha * acc${i}_${j}` + (options.bias ? ` + bias${j}` : "");
      if (vector.y) {
        const old = options.accumulate ? ` + y[at + ${j}u]` : "";
        const residual = options.residual && !options.gelu ? ` + residual[at + ${j}u]` : "";
        lines.push(`    if (${guard(j)}) { ${first}[at + ${j}u] = ${value}${old}${residual}; }`);
      } else {
        lines.push(`    let z${j} = ${value};`);
        for (const e of range(4)) {
          const c = 4 * j + e;
          const old = options.accumulate ? ` + y[at + ${c}u]` : "";
          const residual = options.residual && !options.gelu ? ` + residual[at + ${c}u]` : "";
          lines.push(
            `    if (${guard(c)}) { ${first}[at + ${c}u] = z${j}.${component(e)}${old}${residual}; }`,
          );
        }
      }
    }
    lines.push("  }");
  }
  if (options.gelu) {
    // A rolled loop over what this thread has just written: the activation appears once in the compiled program
    // instead of once an element.
    const residual = options.residual ? " + residual[at]" : "";
    lines.push(`  for (var i = 0u; i < min(${tileM}u, params.M - min(row, params.M)); i++) {`);
    lines.push(`    for (var j = 0u; j < ${columns.length}u; j++) {`);
    lines.push(`      if (col + j${vector.y ? " * 4u" : ""} < params.N) {`);
    lines.push(`        let at = batchY + (row + i) * ldc + col${fourth} + j;`);
    lines.push(`        y[at] = ${vector.y ? "geluNew4" : "geluNew"}(${first}[at])${residual};`);
    lines.push("      }\n    }\n  }");
  }
  return lines.join("\n");
}
