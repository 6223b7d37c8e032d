/**
 * Every default that depends on the adapter, in one object: callers ask `device.profile` instead of asking what the
 * adapter is. A new kind of adapter gets its own numbers here and nothing else changes.
 * @module
 */
import type { AdapterKind } from "../kernels/adapter_kind.ts";

/** Defaults for one adapter. */
export interface DeviceProfile {
  /**
   * Whether the adapter is software. The fixed tables of kernel variants (`selectMatmul`, `selectAttention`) have one
   * part for each kind, and `tuning/` times other variants.
   */
  readonly kind: AdapterKind;
  /**
   * Threads of a subgroup whose values kernels hand around, 0 where they do not: without the feature, and on hardware,
   * where it was not measured.
   */
  readonly subgroupSize: number;
  /**
   * Loop iterations that one invocation runs, all its loops together, before the driver ends them without an error:
   * 65,535 on Mesa's llvmpipe (`LP_MAX_TGSI_LOOP_ITERATIONS`), and on a software adapter that does not say what it is.
   * SwiftShader and hardware have no such limit: Infinity.
   */
  readonly maxLoopIterations: number;
  /** Estimated operations in one submission: about 100 ms on a small GPU, because watchdogs kill long submissions. */
  readonly submissionWork: number;
  /** Bytes of the logits that the fused head and its loss hold at a time in training. */
  readonly headChunkBytes: number;
  /**
   * Longest row that row kernels (normalisation, softmax) give to one thread, without barriers; a workgroup takes
   * longer ones. 0 where workgroups take all.
   */
  readonly longestThreadRow: number;
  /** The same for the columns of matrix decompositions; short enough for `maxLoopIterations`. */
  readonly longestThreadColumn: number;
  /** Most rows of products that share a launch with others of the same input: few where a launch costs little. */
  readonly jointRows: number;
  /** Columns of y for one workgroup of the mixed LoRA kernel; Infinity for all of them. */
  readonly mixedLoraColumns: number;
  /** Most tensors in one launch of an optimizer. */
  readonly optimizerSlots: number;
  /** Elements above which a tensor gets an optimizer's launch of its own. */
  readonly lonelyTensorSize: number;
  /**
   * Rows of the head are filled up to a multiple of this where it works on the rows with a label alone, so that batches
   * with about as many labels share a recorded step.
   */
  readonly labelRowStep: number;
  /** Bytes that the Trainer's recorded steps may keep beside the latest, for batches of several shapes. */
  readonly recordedBytes: number;
  /** Operations of one timed run when kernels are tuned: larger products are timed on part of their rows. */
  readonly tuningWork: number;
}

const BOTH = { submissionWork: 2e11, headChunkBytes: 32 * 2 ** 20 } as const;

const PROFILES: Readonly<Record<AdapterKind, Omit<DeviceProfile, "maxLoopIterations" | "subgroupSize">>> = {
  // Few cores, and a barrier costs more than reading again from the cache: threads that work on their own.
  software: {
    ...BOTH,
    kind: "software",
    longestThreadRow: 8192,
    longestThreadColumn: 16_384,
    // A token of a cached text: 1.03 to 1.12 times as fast. The programs of more rows take longer to compile (20 s for a
    // LoRA step of SmolLM2) than they save.
    jointRows: 1,
    mixedLoraColumns: Infinity,
    // Each slot beyond the first costs every element (4 slots on llvmpipe: 2 ns per element for AdamW, against 20 to
    // 50 us for a dispatch).
    optimizerSlots: 4,
    lonelyTensorSize: 20_000,
    labelRowStep: 1, // rows of a large vocabulary cost more than the host's part of a step
    recordedBytes: 0, // the host's part of a step is small beside the device's
    tuningWork: 3e8, // the parts of a product run one after the other anyway
  },
  // Many cores that wait for memory: neighbouring threads read neighbouring words, and launches are few.
  hardware: {
    ...BOTH,
    kind: "hardware",
    longestThreadRow: 0,
    longestThreadColumn: 0,
    jointRows: Infinity,
    mixedLoraColumns: 512,
    optimizerSlots: Infinity,
    lonelyTensorSize: Infinity,
    labelRowStep: 64,
    recordedBytes: 256 * 2 ** 20,
    tuningWork: Infinity,
  },
};

/** Rows of the tile that products of many rows take in subgroups: rows up to a multiple of it cost nothing. */
const SUBGROUP_TILE_ROWS = 32;

/** Names of software adapters, for runtimes that do not say whether theirs is one. */
const SOFTWARE_NAMES = /llvmpipe|swiftshader|basic render/i;

/** What an adapter's information names it, such as `llvmpipe (LLVM 15.0.6, 256 bits)`. */
export function adapterNameOf(info: GPUAdapterInfo | undefined): string {
  return [info?.description, info?.device, info?.vendor].find((name) => name) ?? "unknown adapter";
}

/** The kind of an adapter. @param isFallback what WebGPU says about it; undefined where the runtime says nothing */
export function adapterKindOf(adapterName: string, isFallback?: boolean): AdapterKind {
  return isFallback ?? SOFTWARE_NAMES.test(adapterName) ? "software" : "hardware";
}

/**
 * The defaults for an adapter.
 * @param adapterName such as `llvmpipe (LLVM 15.0.6, 256 bits)`
 * @param isFallback what WebGPU says about it; undefined where the runtime says nothing
 * @param subgroupSize threads of a subgroup that kernels may use, 0 for none
 */
export function deviceProfile(adapterName: string, isFallback?: boolean, subgroupSize = 0): DeviceProfile {
  const kind = adapterKindOf(adapterName, isFallback);
  const limited = /llvmpipe/i.test(adapterName) ||
    kind === "software" && !/swiftshader|basic render/i.test(adapterName);
  return {
    ...PROFILES[kind],
    subgroupSize,
    ...subgroupSize > 0 && { labelRowStep: SUBGROUP_TILE_ROWS },
    maxLoopIterations: limited ? 65535 : Infinity,
  };
}
