/**
 * What the attention kernels can be asked to do, and the pieces of WGSL that all three share: where a row lives, which
 * keys a query sees, and which probabilities dropout keeps.
 * @module
 */
import type { BufferDeclaration } from "./define_kernel.ts";
import type { KernelSpec, ParamType } from "./kernel_spec.ts";
import { philoxSnippet } from "./snippets.ts";

/** One kernel of the family. */
export interface AttentionKernelOptions {
  /**
   * `registers`: the head's channels in registers, for hardware. `tile`: a loop over them, for software adapters.
   * `subgroup`: a workgroup that is one subgroup owns the rows, for software adapters.
   */
  readonly variant: "registers" | "tile" | "subgroup";
  /** Threads of the subgroup (`subgroup`). */
  readonly threads?: number;
  /** Channels of a head, any number (`registers`; a `tile` takes every head size and has 0 here). */
  readonly headSize: number;
  /** Queries (forward, dq) or keys (dkv) a thread owns (`subgroup`: a workgroup): loads are shared by them. */
  readonly rows: number;
  /** Whether D, C and all row lengths are divisible by 4. */
  readonly vector: boolean;
  /** A padding mask [B, Tk], 0 hides a key. */
  readonly mask: boolean;
  /** Dropout of probabilities. */
  readonly dropout: boolean;
  /** Fewer heads of keys and values than of queries. */
  readonly grouped: boolean;
  /** A window: a query sees the last `window` keys up to its own position. */
  readonly windowed: boolean;
  /** Several documents in a row do not see each other: attention_seen.ts. `mask` is then a bit of their words. */
  readonly documents: boolean;
}

/**
 * Parameters of the family; offsets and strides in elements. Query i sees keys j <= past + i; where `windowed`, only
 * those with j > past + i - window, and window is at most Tk. q is [B, Tq, ...] by `qBatch` and `qRow`; keys and values
 * lie in one buffer by `kvBatch` and `kvRow`, from `kOffset` and `vOffset` on; heads are neighbours of D channels. Where
 * `grouped`, H / Hkv neighbouring query heads share each of Hkv heads of keys and values. `batch0` numbers the first
 * sequence of this launch among all. Of keys (queries in dkv) a `tile` takes those from `begin` to `end` and continues
 * where the launch before it stopped; `registers` takes all.
 */
export type AttentionParam =
  | "B"
  | "H"
  | "D"
  | "Tq"
  | "Tk"
  | "past"
  | "batch0"
  | "begin"
  | "end"
  | "qBatch"
  | "qRow"
  | "kvBatch"
  | "kvRow"
  | "kOffset"
  | "vOffset"
  | "statRows"
  | "call"
  | "scale"
  | "p"
  | "Hkv"
  | "window";

/** Parameters of every program, in the order of the uniform struct. */
const COMMON_PARAMS = {
  B: "u32",
  H: "u32",
  D: "u32",
  Tq: "u32",
  Tk: "u32",
  past: "u32",
  batch0: "u32",
  begin: "u32",
  end: "u32",
  qBatch: "u32",
  qRow: "u32",
  kvBatch: "u32",
  kvRow: "u32",
  kOffset: "u32",
  vOffset: "u32",
  statRows: "u32",
  call: "u32",
  scale: "f32",
  p: "f32",
} as const;

/** The parameters of a program in the order of its uniform struct. */
export function attentionParams(
  { grouped, windowed }: AttentionKernelOptions,
): Readonly<Record<AttentionParam, ParamType>> {
  const params: Partial<Record<AttentionParam, ParamType>> = {
    ...COMMON_PARAMS,
    ...(grouped && { Hkv: "u32" }),
    ...(windowed && { window: "u32" }),
  };
  return params as Record<AttentionParam, ParamType>; // callers give all; a program takes those that it has
}

/** A kernel of the family. */
export type AttentionKernel = KernelSpec<string, AttentionParam, "WORKGROUP_SIZE">;

/** Name of a kernel of the family: every option that changes the program. */
export function attentionName(stage: string, options: AttentionKernelOptions): string {
  const { variant, headSize, threads } = options;
  const size = variant === "tile"
    ? "tile"
    : variant === "registers"
    ? `d${headSize}`
    : `d${headSize}.subgroup${threads}`;
  const parts = ["attention", stage, size, `rows${options.rows}`];
  parts.push(options.vector ? "vec4" : "scalar");
  if (options.mask) parts.push("mask");
  if (options.dropout) parts.push("dropout");
  if (options.grouped) parts.push("grouped");
  if (options.windowed) parts.push("window");
  if (options.documents) parts.push("documents");
  return parts.join(".");
}

/** Keys (or queries) that a block of rows takes at a time (`tile`): two groups of four that share a draw of dropout. */
export const STEP = 8;

/** The numbers from 0 to count - 1. */
export function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}

/** Buffers: what is read of every kernel of these options, then `own` of the stage. */
export function attentionBuffers(
  { documents, dropout, mask, vector }: AttentionKernelOptions,
  own: Readonly<Record<string, BufferDeclaration>>,
): Readonly<Record<string, BufferDeclaration | false>> {
  const cell = vector ? "vec4f" : "f32";
  return {
    q: `read ${cell} // [B, Tq, ...], rows of qRow`,
    kv: `read ${cell} // [B, Tk, ...], rows of kvRow`,
    documents: documents &&
      "read u32 // [all B, Tq]: the first position of its document; the highest bit hides it as a key",
    mask: mask && !documents && "read u32 // [all B, Tk]: 0 hides a key",
    rng: dropout && "read u32 // [4]: seed low, seed high, step, 0",
    ...own,
  };
}

/** The functions of dropout. */
function dropoutFunctions(): string {
  return `${philoxSnippet}

// Which probabilities of keys 4 group to 4 group + 3 of one query are kept; as factors 1 / (1 - p) or 0; as four bits.
// Every query has ceil(Tk / 4) groups, so that the mask of (b, h, i, j) does not depend on how work is cut up.
fn keptKeys(statRow: u32, group: u32) -> vec4<bool> {
  let groups = (params.Tk + 3u) / 4u;
  let bits = philox4x32(vec4u(statRow * groups + group, params.call, rng[2], 0u), vec2u(rng[0], rng[1]));
  let u = vec4f(uniform01(bits.x), uniform01(bits.y), uniform01(bits.z), uniform01(bits.w));
  return u >= vec4f(params.p);
}
fn keepFactors(statRow: u32, group: u32) -> vec4f {
  return select(vec4f(0.0), vec4f(1.0 / (1.0 - params.p)), keptKeys(statRow, group));
}
fn keepBits(statRow: u32, group: u32) -> u32 {
  let bits = select(vec4u(0u), vec4u(1u, 2u, 4u, 8u), keptKeys(statRow, group));
  return bits.x | bits.y | bits.z | bits.w;
}`;
}

/** The function of documents. */
const documentFunction = () => `
fn startOf(b: u32, i: u32) -> u32 { // the first position of the document of position i
  return documents[(params.batch0 + b) * params.Tq + i] & 0x7fffffffu;
}`;

/** The functions on scores. */
export function attentionFunctions(options: AttentionKernelOptions): string {
  const lines = [`
// Weights are exp(score - maximum) without a guard such as min(x, 0), which would turn NaN into a weight of 1. A driver's
// exp gives NaN or infinity for NaN, so the bits of the sum show whether a score was NaN or infinite.
fn isBad(sum: f32, sees: bool) -> bool { // a sum of 0 is softmax's 0 / 0, every score -infinity, or no key to see
  let bits = bitcast<u32>(sum) & 0x7fffffffu;
  return bits >= 0x7f800000u || (bits == 0u && sees);
}
fn inverseOf(sum: f32, sees: bool) -> f32 { // a query that sees no key gives zeros
  return select(select(1.0 / sum, 0.0, sum == 0.0), bitcast<f32>(params.Tk | 0x7fc00000u), isBad(sum, sees));
}
fn logSumOf(most: f32, sum: f32, sees: bool) -> f32 { // NaN, so that the gradients are
  return select(most + log(max(sum, 1e-30)), bitcast<f32>(params.Tk | 0x7fc00000u), isBad(sum, sees));
}`];
  if (options.documents) lines.push(documentFunction());
  if (options.dropout) lines.push(dropoutFunctions());
  return lines.join("\n");
}
