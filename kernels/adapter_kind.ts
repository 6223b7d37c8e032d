/**
 * The two kinds of adapter that the fixed tables of kernel variants tell apart.
 * @module
 */

/** `software` runs shaders on the CPU (llvmpipe, SwiftShader, WARP); `hardware` is a GPU. */
export type AdapterKind = "software" | "hardware";

/** Something that knows what it runs on: a device's profile. */
export interface AdapterFacts {
  readonly kind: AdapterKind;
  /** Threads of a subgroup whose values kernels hand around; 0 where they must not. */
  readonly subgroupSize: number;
}
