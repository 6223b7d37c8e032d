/**
 * What a matrix product kernel can be asked to do: layouts, operand formats, epilogues and tile shapes, with the
 * buffers and parameters that follow from them. The programs are in matmul_register.ts and matmul_shared.ts.
 * @module
 */
import { FUSED_ACTIVATIONS, type FusedActivationName } from "./fused_activations.ts";
import type { BufferDeclaration } from "./define_kernel.ts";
import type { KernelSpec, ParamType } from "./kernel_spec.ts";
import {
  formatNamed,
  type SharedPart,
  TABLE_THREADS,
  type WeightFormatName,
  type WeightReading,
} from "./weights/mod.ts";

/**
 * `nn`: [M, K] x [K, N]; `nt`: [M, K] x [N, K]; `tn`: [K, M] x [K, N].
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { matmul, Tensor } from "@peft/webgpu/tensor";
 * import { type MatmulLayout, recordShapes } from "@peft/webgpu/tuning";
 *
 * const [q, k] = [Tensor.from([[1, 0]], { device: await initDevice() }), Tensor.from([[1, 2], [3, 4]])];
 * const shapes = await recordShapes(q.device, () => matmul(q, k, { transposeB: true }));
 * const layouts: MatmulLayout[] = shapes.flatMap((shape) => shape.kind === "matmul" ? shape.layout : []);
 * console.log(layouts); // [ "nt" ]
 * ```
 */
export type MatmulLayout = "nn" | "nt" | "tn";

/**
 * Storage of the right operand.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { cast, linear, Tensor } from "@peft/webgpu/tensor";
 * import { type MatmulWeightFormat, recordShapes } from "@peft/webgpu/tuning";
 *
 * const x = Tensor.from([[1, 2]], { device: await initDevice() }), half = cast(Tensor.from([[3, 4]]), "float16");
 * const shapes = await recordShapes(x.device, () => linear(x, half, null));
 * const formats: MatmulWeightFormat[] = shapes.flatMap((shape) => shape.kind === "matmul" ? shape.weight : []);
 * console.log(formats); // [ "f16" ]
 * ```
 */
export type MatmulWeightFormat = WeightFormatName;

/**
 * The accumulator continues over R more columns before the epilogue (LoRA):
 * `nt` adds u [M, R] times v [N, R] transposed (peft's lora_B), `nn` adds u [M, R] times v [R, N] (peft's lora_A).
 */
export type MatmulExtension = "none" | "nn" | "nt";

/** Which accesses read or write four neighbours at once; each needs its row lengths and offsets divisible by 4. */
export interface MatmulVectorAccess {
  /** Rows of a. */
  readonly a: boolean;
  /** Rows of b. */
  readonly b: boolean;
  /** Rows of y, of `residual`, `gate` and `preActivation`, and the bias. */
  readonly y: boolean;
  /** Rows of u and, for `nt`, of v (R divisible by 4). */
  readonly extension: boolean;
}

/** One kernel of the family. */
export interface MatmulOptions {
  /** `register`: no shared memory, no barriers. `shared`: workgroup tiles for hardware. */
  readonly variant: "register" | "shared";
  /** Layouts of a and b. */
  readonly layout: MatmulLayout;
  /** Storage of b. */
  readonly weight: MatmulWeightFormat;
  /** Reads b by the format's other way, if it has one: f16 as WGSL's own (feature "shader-f16"); the same numbers. */
  readonly nativeHalf?: boolean;
  /** Which accesses are four wide. */
  readonly vector: MatmulVectorAccess;
  /** Rows of y a thread computes. */
  readonly tileM: number;
  /** Columns of y a thread computes, a multiple of 4. */
  readonly tileN: number;
  /** Threads of a workgroup along the rows of y. */
  readonly lanesM: number;
  /** Threads of a workgroup along the columns of y. */
  readonly lanesN: number;
  /** Threads of a workgroup that share a tile's K steps between them and add up at the end (`register`; else 1). */
  readonly lanesK: number;
  /** K steps held in shared memory at a time (`shared` only). */
  readonly tileK: number;
  /** Reads the next step's tiles into registers while it multiplies (`shared` only); default false. */
  readonly ahead?: boolean;
  /**
   * The threads of a workgroup are one subgroup (`register`; feature "subgroups"): they load what all of them need once
   * between them, hold tables of a format in their registers, and add up without workgroup memory; default false.
   */
  readonly broadcast?: boolean;
  /** Whether K may be other than a multiple of 4 (`register`) or of `tileK` (`shared`). */
  readonly anyK: boolean;
  /**
   * Whether b is read in whole groups of neighbours that share a scale, in formats that have such: along K (`nt`, K
   * consists of them), or as columns (`nn`): `tileN` of them for each thread, or two units of 32 for all (`matmul_decoded.ts`);
   * default false.
   */
  readonly grouped?: boolean;
  /** The LoRA term. */
  readonly extension: MatmulExtension;
  /** y += bias [N]. */
  readonly bias: boolean;
  /** y = f(y). */
  readonly activation: FusedActivationName | "none";
  /** y = f(gate) y instead: the activation is of an operand [M, N]. */
  readonly gated?: boolean;
  /** Writes the argument of the activation, or what the gate multiplies, to a buffer of its own. */
  readonly preActivation: boolean;
  /** y += residual [M, N], after the activation. */
  readonly residual: boolean;
  /** y += what y held before, before bias and activation. */
  readonly accumulate: boolean;
}

/**
 * Parameters of every kernel of the family. Row lengths `lda`, `ldb`, `ldc` (also of residual, gate and preActivation) and
 * `ldv` (of v, `nn` extension) are in elements. A batch of `batch` = outer x `batchInner` products is laid out by
 * element strides; a stride of 0 broadcasts.
 */
export type MatmulParam =
  | "M"
  | "N"
  | "K"
  | "R"
  | "lda"
  | "ldb"
  | "ldc"
  | "ldv"
  | "batch"
  | "batchFirst"
  | "batchInner"
  | "aOuter"
  | "aInner"
  | "bOuter"
  | "bInner"
  | "yBatch"
  | "alpha";

/** A kernel of the family: its buffers depend on the options. */
export interface MatmulKernel extends KernelSpec<string, MatmulParam, never> {
  readonly options: MatmulOptions;
  /** WGSL type of an element of each buffer. */
  readonly elements: Readonly<Record<string, string>>;
  /** The buffers as the program declares them. */
  readonly declared: Readonly<Record<string, BufferDeclaration | false>>;
  /** What its threads do. */
  readonly program: MatmulProgram;
}

/** What a product's threads do, as WGSL. */
export interface MatmulProgram {
  /** Threads of a workgroup. */
  readonly threads: number;
  /** Declarations of workgroup memory. */
  readonly memory: readonly string[];
  /** Statements of a function of `group: vec3u`, the workgroup, and `lane: u32`, the thread in it. */
  readonly body: string;
}

/** The parameters of the family in the order of the uniform struct. */
export const MATMUL_PARAMS: Readonly<Record<MatmulParam, ParamType>> = {
  M: "u32",
  N: "u32",
  K: "u32",
  R: "u32",
  lda: "u32",
  ldb: "u32",
  ldc: "u32",
  ldv: "u32",
  batch: "u32",
  batchFirst: "u32",
  batchInner: "u32",
  aOuter: "u32",
  aInner: "u32",
  bOuter: "u32",
  bInner: "u32",
  yBatch: "u32",
  alpha: "f32",
};

/** How the program reads b. */
export function readingOfB({ weight, nativeHalf }: MatmulOptions): WeightReading {
  const { reading, native } = formatNamed(weight);
  return nativeHalf && native ? native : reading;
}

/** Whether the threads, which take every turn together, hold the table of b's format between them. */
export function spreadsTable(options: MatmulOptions): boolean {
  const { broadcast, layout, grouped, vector, lanesM, lanesN, lanesK } = options;
  const together = lanesK === 1 || (layout === "nn" && Boolean(grouped) && vector.b);
  return Boolean(broadcast && readingOfB(options).table) && together &&
    lanesM * lanesN * lanesK >= TABLE_THREADS;
}

/** Features the device must have. */
export function matmulFeatures(options: MatmulOptions): string[] {
  const { feature } = readingOfB(options);
  return [...feature ? [feature.device] : [], ...options.broadcast ? ["subgroups"] : []];
}

/** The kernel's name: every option that changes the program, so that it is also a key. Made for every launch. */
export function matmulName(options: MatmulOptions): string {
  const { variant, vector, extension, activation } = options;
  let name = `matmul.${variant}.${options.layout}.${
    readingOfB(options).name
  }.${options.tileM}x${options.tileN}`;
  if (variant === "shared") name += `x${options.tileK}`;
  name += `.wg${options.lanesM}x${options.lanesN}`;
  if (options.lanesK > 1) name += `x${options.lanesK}`;
  const vectors = (vector.a ? "a" : "") + (vector.b ? "b" : "") + (vector.y ? "y" : "") +
    (extension !== "none" && vector.extension ? "x" : "");
  name += vectors === "" ? ".scalar" : `.vec4${vectors}`;
  if (options.ahead) name += ".ahead";
  if (options.broadcast) name += ".broadcast";
  if (options.anyK) name += ".anyK";
  if (options.grouped) name += ".grouped";
  if (extension !== "none") name += `.lora_${extension}`;
  if (options.accumulate) name += ".accumulate";
  if (options.bias) name += ".bias";
  if (activation !== "none") name += `.${FUSED_ACTIVATIONS[activation].label}`;
  if (options.gated) name += ".gate";
  if (options.preActivation) name += ".pre";
  if (options.residual) name += ".residual";
  return name;
}

/** Whose rows or columns all threads have in common; null where each thread loads for itself. */
export function sharedSide({ broadcast, lanesM, lanesN, lanesK }: MatmulOptions): "left" | "right" | null {
  if (!broadcast || lanesK > 1) return null;
  return lanesM === 1 ? "left" : lanesN === 1 ? "right" : null;
}

/** What neighbours of b share, where the kernel reads it once for all of them; null: not. */
export function sharedOfB(options: MatmulOptions): SharedPart | null {
  const { shared } = readingOfB(options);
  const { variant, layout, vector, grouped, tileN } = options;
  if (!shared || variant !== "register" || !vector.b) return null;
  if (layout === "nt" || grouped) return grouped ? shared : null;
  return layout === "nn" && tileN <= 16 && shared.elements % tileN === 0 ? shared : null;
}

/** Columns of a tile whose threads decode b between them. */
export const DECODED_COLUMNS = 64;

/** Threads of such a subgroup: two to a step of K, one to each unit. */
export const DECODING_THREADS = 8;
