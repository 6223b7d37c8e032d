/**
 * The form of a kernel: one complete WGSL compute program with its buffers, parameters and tunable constants, as
 * plain data. `gpu/` compiles and dispatches it; nothing here touches a device.
 * @module
 */

/** Workgroup counts `[x]`, `[x, y]` or `[x, y, z]` of one dispatch. */
export type Grid = readonly [x: number, y?: number, z?: number];

/** How a kernel uses one of its storage buffers. */
export type BufferAccess = "read" | "read_write";

/** WGSL type of one field of the uniform `Params` struct. */
export type ParamType = "u32" | "i32" | "f32";

/**
 * One WGSL compute program. Its entry point is `main`. Storage buffers are `@group(0) @binding(i)` in the order of
 * `buffers`; when `params` is not empty, `var<uniform> params: Params` is the binding after the last buffer, its
 * fields in the order of `params`; each entry of `tuning` is an `override` constant of the same name.
 *
 * A kernel whose grid is `[x]` alone numbers its workgroups `wid.x + wid.y * nwg.x` (`@builtin(workgroup_id)`,
 * `@builtin(num_workgroups)`) and guards its stores, because a count above the device's limit per dimension (65,535)
 * is folded into `[x, y]`.
 */
export interface KernelSpec<
  Buffers extends string = string,
  Params extends string = string,
  Tuning extends string = string,
> {
  /** Unique name: the label of every GPU object made from it, and part of the pipeline cache's key. */
  readonly name: string;
  /** The complete program. */
  readonly wgsl: string;
  /** Storage buffers in binding order. */
  readonly buffers: Readonly<Record<Buffers, BufferAccess>>;
  /** Fields of the uniform `Params` struct, in order; `{}` where there are none. */
  readonly params: Readonly<Record<Params, ParamType>>;
  /** Default values of the `override` constants. */
  readonly tuning: Readonly<Record<Tuning, number>>;
  /** WGSL features the program needs, such as `"shader-f16"`. */
  readonly features?: readonly string[];
  /** Workgroups to launch for these parameters. */
  grid(params: Readonly<Record<Params, number>>, tuning: Readonly<Record<Tuning, number>>): Grid;
}

/** Groups of `size` that cover `count` items. */
export function groupsFor(count: number, size: number): number {
  return Math.ceil(count / size);
}
