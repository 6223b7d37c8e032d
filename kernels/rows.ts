/**
 * What kernels that work row by row share: normalisation, softmax and the matrix decompositions.
 *
 * Variants: "thread" gives each thread a row, without barriers (software adapters); "workgroup" gives each workgroup
 * a row and reduces as a tree (hardware, where neighbouring threads must read neighbouring words). Both come over
 * vec4f for widths that are a multiple of 4 and over f32 for others.
 * @module
 */

import { defineKernel, type KernelDefinition } from "./define_kernel.ts";
import { groupsFor, type KernelSpec } from "./kernel_spec.ts";
import { MAIN, THREAD, workgroupReduceSnippet } from "./snippets.ts";

/** How rows are divided among threads. */
export type RowVariant = "thread" | "workgroup";

/** What a row kernel's text needs to know of its variant. */
interface RowText {
  readonly name: string;
  readonly cell: "vec4f" | "f32";
  readonly width: 1 | 4;
  /** Threads of a workgroup. */
  readonly workgroupSize: number;
  /** What the body calls. */
  readonly functions: string;
  /** Start of main: defines `row`, `lane` and `step`, and ends threads that have no row. */
  readonly open: string;
  /** WGSL that sums `v` over the row's invocations. */
  readonly sum: (v: string) => string;
  /** WGSL that takes the maximum of `v` over the row's invocations. */
  readonly max: (v: string) => string;
  /** Adds the components of a cell. */
  readonly flat: (v: string) => string;
  readonly grid: (rows: number, workgroupSize: number) => readonly [number];
}

/** Text pieces of a kernel that works row by row. */
export function rowText(variant: RowVariant, width: 1 | 4): RowText {
  const thread = variant === "thread";
  return {
    name: `${thread ? "Thread" : "Workgroup"}${width === 4 ? "Vec4" : ""}`,
    cell: width === 4 ? "vec4f" : "f32",
    width,
    workgroupSize: thread ? 16 : 128,
    functions: thread ? "" : workgroupReduceSnippet,
    open: thread
      ? `let row = ${THREAD};
  let lane = 0u;
  let step = 1u;
  if (row >= params.rows) { return; }`
      : `let row = wid.x + wid.y * nwg.x;
  let lane = lid.x;
  let step = WORKGROUP_SIZE;
  if (row >= params.rows) { return; } // of a folded grid, and uniform: all threads of a workgroup leave`,
    sum: (v) => thread ? v : `groupSum(lane, ${v})`,
    max: (v) => thread ? v : `groupMax(lane, ${v})`,
    flat: (v) => width === 4 ? `dot(${v}, vec4f(1.0))` : v,
    grid: (rows, workgroupSize) => [thread ? groupsFor(rows, workgroupSize) : rows],
  };
}

/** What a kernel that works row by row is made of. */
interface RowDefinition<Buffers extends string, Params extends string, Tuning extends string>
  extends Pick<KernelDefinition<Buffers, "rows" | Params, Tuning>, "name" | "buffers" | "params"> {
  /** Constants besides the size of a workgroup. */
  readonly tuning?: Readonly<Record<Tuning, number>>;
  /** WGSL of functions that the body calls. */
  readonly functions?: string;
  /** WGSL statements for row `row` of `params.rows`: an invocation takes `lane`, `lane + step`, … of its cells. */
  readonly body: string;
}

/** The kernel of a variant; its name ends in the variant's. */
export function rowKernel<Buffers extends string, Params extends string, Tuning extends string = never>(
  text: RowText,
  { name, buffers, params, tuning, functions = "", body }: RowDefinition<Buffers, Params, Tuning>,
): KernelSpec<Buffers, "rows" | Params, "WORKGROUP_SIZE" | Tuning> {
  return defineKernel({
    name: `${name}${text.name}`,
    buffers,
    params,
    tuning: { WORKGROUP_SIZE: text.workgroupSize, ...tuning } as Record<"WORKGROUP_SIZE" | Tuning, number>,
    grid: (values, sizes) => text.grid(values["rows"], sizes["WORKGROUP_SIZE"]),
    program: /* wgsl */ `${text.functions}${functions}
${MAIN}
  ${text.open}
  ${body.trim()}
}
`,
  });
}

/** A kernel of each variant. */
export type RowFamily<K> = Readonly<Record<RowVariant, K>>;
/** A kernel of each variant and width of a cell: over f32 (1) and over vec4f (4). */
export type WideRowFamily<K> = RowFamily<Readonly<Record<1 | 4, K>>>;

/** The two kernels that a function of the variant makes. */
export function rowFamily<K>(make: (variant: RowVariant) => K): RowFamily<K> {
  return { thread: make("thread"), workgroup: make("workgroup") };
}

/** The four kernels that a function of variant and width makes. */
export function wideRowFamily<K>(make: (variant: RowVariant, width: 1 | 4) => K): WideRowFamily<K> {
  return {
    thread: { 1: make("thread", 1), 4: make("thread", 4) },
    workgroup: { 1: make("workgroup", 1), 4: make("workgroup", 4) },
  };
}
