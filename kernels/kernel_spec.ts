/**
 * The form of a kernel: one complete WGSL compute program with its buffers, parameters and tunable constants, as
 * plain data. `gpu/` compiles and dispatches it; nothing here touches a device.
 * @module
 */

/**
 * Workgroup counts `[x]`, `[x, y]` or `[x, y, z]` of one dispatch.
 *
 * @example
 * ```ts
 * import type { Grid } from "@peft/webgpu/gpu";
 *
 * const TILE = 16; // rows and columns of the result that a workgroup computes
 * const grid = ({ M, N }: { M: number; N: number }): Grid => [Math.ceil(N / TILE), Math.ceil(M / TILE)];
 * console.log(grid({ M: 100, N: 768 })); // [ 48, 7 ]
 * ```
 */
export type Grid = readonly [x: number, y?: number, z?: number];

/**
 * How a kernel uses one of its storage buffers.
 *
 * @example
 * ```ts
 * import type { BufferAccess, KernelSpec } from "@peft/webgpu/gpu";
 *
 * const access: BufferAccess = "read_write"; // as var<storage, read_write> in the program
 * const outputsOf = ({ buffers }: KernelSpec) => Object.keys(buffers).filter((name) => buffers[name] === access);
 * console.log(outputsOf({ buffers: { x: "read", y: "read_write" } } as unknown as KernelSpec)); // [ "y" ]
 * ```
 */
export type BufferAccess = "read" | "read_write";

/**
 * WGSL type of one field of the uniform `Params` struct.
 *
 * @example
 * ```ts
 * import type { KernelSpec, ParamType } from "@peft/webgpu/gpu";
 *
 * const params: KernelSpec<"x", "size" | "eps">["params"] = { size: "u32", eps: "f32" };
 * const types: ParamType[] = Object.values(params);
 * console.log(types); // [ "u32", "f32" ]: the fields of the struct Params, in order
 * ```
 */
export type ParamType = "u32" | "i32" | "f32";

/**
 * One WGSL compute program. Its entry point is `main`. Storage buffers are `@group(0) @binding(i)` in the order of
 * `buffers`; when `params` is not empty, `var<uniform> params: Params` is the binding after the last buffer, its
 * fields in the order of `params`; each entry of `tuning` is an `override` constant of the same name.
 *
 * A kernel whose grid is `[x]` alone numbers its workgroups `wid.x + wid.y * nwg.x` (`@builtin(workgroup_id)`,
 * `@builtin(num_workgroups)`) and guards its stores, because a count above the device's limit per dimension (65,535)
 * is folded into `[x, y]`.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import type { KernelSpec } from "@peft/webgpu/gpu";
 *
 * const count: KernelSpec<"y", "size", never> = {
 *   name: "count",
 *   wgsl: `struct Params { size: u32 }
 * @group(0) @binding(0) var<storage, read_write> y: array<f32>;
 * @group(0) @binding(1) var<uniform> params: Params;
 * @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
 *   if (id.x < params.size) { y[id.x] = f32(id.x); }
 * }`,
 *   buffers: { y: "read_write" },
 *   params: { size: "u32" },
 *   tuning: {},
 *   grid: ({ size }) => [Math.ceil(size / 64)],
 * };
 * const device = await initDevice(), y = { buffer: device.acquire(12), offset: 0, size: 12 };
 * device.dispatch(count, { y }, { size: 3 });
 * console.log(new Float32Array((await device.read(y)).buffer)); // [0, 1, 2]
 * ```
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

/** Keeps kernels by name, so that each is made once, when it is first asked for. */
export function madeOnce<Kernel>(): (name: string, make: () => Kernel) => Kernel {
  const kernels = new Map<string, Kernel>();
  return (name, make) => {
    let kernel = kernels.get(name);
    if (!kernel) kernels.set(name, kernel = make());
    return kernel;
  };
}
