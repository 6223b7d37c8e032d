/**
 * Reductions of the middle axis of [outer, n, inner]. One thread reduces `chunk` elements of one column; longer axes
 * take several launches, a tree whose order is fixed, so the result is deterministic and its error grows with log n.
 * Barrier-free: software adapters are quick, and no invocation loops more than `chunk` times.
 * @module
 */

import { defineKernel } from "./define_kernel.ts";
import { groupsFor, type KernelSpec } from "./kernel_spec.ts";
import { MAIN, THREAD } from "./snippets.ts";

/** What is taken of an element `v`, and how two such values combine, in any order, as WGSL expressions. */
const reduceTable = {
  sum: { start: "0.0", take: "v", combine: "acc + v" },
  sumSquares: { start: "0.0", take: "v * v", combine: "acc + v" },
  max: {
    start: "bitcast<f32>(max(params.outer, 0xff800000u))", // -infinity, which WGSL does not allow as a constant
    take: "v",
    combine: "select(select(max(acc, v), v, isNan(v)), acc, isNan(acc))",
  },
} as const;

/** Name of a reduction. */
export type ReduceName = keyof typeof reduceTable;

/** x [outer, n, inner] -> y [outer, ceil(n / chunk), inner]. */
export type ReduceKernel = KernelSpec<
  "x" | "y",
  "outer" | "n" | "inner" | "chunk" | "scale",
  "WORKGROUP_SIZE"
>;

function reduceKernel(name: ReduceName): ReduceKernel {
  const { start, take, combine } = reduceTable[name];
  return defineKernel({
    name: `${name}Reduce`,
    buffers: {
      x: "read f32 // [outer, n, inner]",
      y: "read_write f32 // [outer, chunks, inner]",
    },
    params: { outer: "u32", n: "u32", inner: "u32", chunk: "u32", scale: "f32" },
    tuning: { WORKGROUP_SIZE: 64 },
    grid: ({ outer, n, inner, chunk }, { WORKGROUP_SIZE }) => [
      groupsFor(outer * groupsFor(n, chunk) * inner, WORKGROUP_SIZE),
    ],
    program: /* wgsl */ `
// Recognised by its bits: comparisons may assume that NaN does not occur.
fn isNan(v: f32) -> bool { return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u; }
fn take(v: f32) -> f32 { return ${take}; }
fn combine(acc: f32, v: f32) -> f32 { return ${combine}; }

${MAIN}
  let i = ${THREAD};
  let chunks = (params.n + params.chunk - 1u) / params.chunk;
  if (i >= params.outer * chunks * params.inner) { return; }
  let column = i % params.inner;
  let first = (i / params.inner) % chunks * params.chunk;
  let outer = i / (params.inner * chunks);
  let last = min(first + params.chunk, params.n);
  // Four chains side by side: shorter chains round less, and do not wait for each other.
  var a = f32(${start});
  var b = a;
  var c = a;
  var d = a;
  var at = (outer * params.n + first) * params.inner + column;
  var j = first;
  for (; j + 3u < last; j += 4u) {
    a = combine(a, take(x[at]));
    b = combine(b, take(x[at + params.inner]));
    c = combine(c, take(x[at + 2u * params.inner]));
    d = combine(d, take(x[at + 3u * params.inner]));
    at += 4u * params.inner;
  }
  for (; j < last; j++) {
    a = combine(a, take(x[at]));
    at += params.inner;
  }
  y[i] = combine(combine(a, b), combine(c, d)) * params.scale;
}
`,
  });
}

/** Kernel of each reduction. */
export const reduceKernels: Readonly<Record<ReduceName, ReduceKernel>> = {
  sum: reduceKernel("sum"),
  sumSquares: reduceKernel("sumSquares"),
  max: reduceKernel("max"),
};

/** What each thread begins with: element `i`, whose place in [outer, inner] is `column`. */
const EACH_ELEMENT = /* wgsl */ `
${MAIN}
  let i = ${THREAD};
  if (i >= params.outer * params.n * params.inner) { return; }
  let column = i / (params.n * params.inner) * params.inner + i % params.inner;`;
const ELEMENT_GRID = (
  { outer, n, inner }: { readonly outer: number; readonly n: number; readonly inner: number },
  { WORKGROUP_SIZE }: { readonly WORKGROUP_SIZE: number },
) => [groupsFor(outer * n * inner, WORKGROUP_SIZE)] as const;

/** hits = 1 where x equals the maximum y of its column, else 0; x [outer, n, inner], y [outer, inner]. */
export const maxReduceHits: KernelSpec<"x" | "y" | "hits", "outer" | "n" | "inner", "WORKGROUP_SIZE"> =
  defineKernel({
    name: "maxReduceHits",
    buffers: {
      x: "read f32 // [outer, n, inner]",
      y: "read f32 // [outer, inner]",
      hits: "read_write f32 // [outer, n, inner]",
    },
    params: { outer: "u32", n: "u32", inner: "u32" },
    tuning: { WORKGROUP_SIZE: 64 },
    grid: ELEMENT_GRID,
    program: /* wgsl */ `
${EACH_ELEMENT}
  hits[i] = select(0.0, 1.0, x[i] == y[column]);
}
`,
  });

/** hits become the gradient of x: each hit gets dy of its column, shared equally among the `ties` of the column. */
export const maxReduceShare: KernelSpec<"hits" | "ties" | "dy", "outer" | "n" | "inner", "WORKGROUP_SIZE"> =
  defineKernel({
    name: "maxReduceShare",
    buffers: {
      hits: "read_write f32 // [outer, n, inner]",
      ties: "read f32 // [outer, inner]: sum of hits, 0 where the maximum is NaN",
      dy: "read f32 // [outer, inner]",
    },
    params: { outer: "u32", n: "u32", inner: "u32" },
    tuning: { WORKGROUP_SIZE: 64 },
    grid: ELEMENT_GRID,
    program: /* wgsl */ `
${EACH_ELEMENT}
  hits[i] = select(0.0, dy[column] / max(ties[column], 1.0), hits[i] > 0.0);
}
`,
  });
