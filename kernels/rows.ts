/**
 * What kernels that work row by row share: normalisation, softmax and the matrix decompositions.
 *
 * Variants: "thread" gives each thread a row, without barriers (software adapters); "workgroup" gives each workgroup
 * a row and reduces as a tree (hardware, where neighbouring threads must read neighbouring words). Both come over
 * vec4f for widths that are a multiple of 4 and over f32 for others.
 * @module
 */

import { groupsFor } from "./kernel_spec.ts";
import { workgroupReduceSnippet } from "./snippets.ts";

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
      ? `let row = (wid.x + wid.y * nwg.x) * WORKGROUP_SIZE + lid.x;
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

/** Arguments of main that every row kernel takes. */
export const ROW_BUILTINS = `@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
  @builtin(local_invocation_id) lid: vec3u`;

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
