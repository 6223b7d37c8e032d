/**
 * Kernels over many tensors in one launch: the frame that AdamW, SGD and the gradient norm share. Slot i of such a
 * kernel has buffers of its own (`p0`, `g0`, `p1`, `g1`, ...); workgroups below `end0` work on slot 0, those from there
 * below `end1` on slot 1, and so on. Tensors are read as vec4f: the last vector of a tensor whose size is no multiple
 * of 4 reaches into the padding of its buffer.
 *
 * A workgroup's slot is found first, its vectors are loaded through one `switch`, and the arithmetic is written once:
 * software adapters execute every branch masked, so branches must be short.
 * @module
 */

import { type BufferDeclaration, defineKernel } from "./define_kernel.ts";
import { type BufferAccess, groupsFor, type KernelSpec, type ParamType } from "./kernel_spec.ts";
import { MAIN } from "./snippets.ts";

/** Slots a kernel may have: 3 numbers each in the uniform struct, which stays below 256 bytes. */
export const MAX_SLOTS = 16;

/** What one family of slot kernels consists of. */
export interface SlotFamily {
  readonly name: string;
  /** Buffers that every slot has, by prefix: vec4s of the slot's tensor. */
  readonly each: Readonly<Record<string, BufferAccess>>;
  /** Buffers of the whole launch. */
  readonly shared: Readonly<Record<string, BufferDeclaration>>;
  /** Parameters besides the slot table. */
  readonly params: Readonly<Record<string, ParamType>>;
  /** WGSL functions. */
  readonly functions: string;
  /**
   * WGSL of the body, after `slot`, `first` (the workgroup's number in its slot), `base` (vec4s of the slots before)
   * and `size` (elements of the tensor) are known. `access` makes the statement for all slots, such as
   * `access((i) => `p = p${i}[j];`)`.
   */
  body(access: (statement: (slot: number) => string) => string): string;
}

/** A kernel of a family with a number of slots. */
export type SlotKernel = KernelSpec<string, string, "WORKGROUP_SIZE">;

/** Vec4s that tensors of `size` elements take in the state of a launch. */
export function vectorsOf(size: number): number {
  return Math.ceil(size / 4);
}

/** The kernel of a family with `slots` slots. */
function slotKernel(family: SlotFamily, slots: number): SlotKernel {
  const indices = Array.from({ length: slots }, (_, i) => i);
  const prefixes = Object.keys(family.each);
  const buffers: Record<string, BufferDeclaration> = {};
  for (const i of indices) {
    for (const prefix of prefixes) {
      buffers[`${prefix}${i}`] = `${family.each[prefix]} vec4f // [ceil(size${i} / 4)]`;
    }
  }
  Object.assign(buffers, family.shared);
  const params: Record<string, ParamType> = {};
  for (const name of ["end", "base", "size"]) for (const i of indices) params[`${name}${i}`] = "u32";
  Object.assign(params, family.params);
  const access = (statement: (slot: number) => string) =>
    slots === 1 ? statement(0) : `switch slot {
${indices.slice(1).map((i) => `    case ${i}u: { ${statement(i)} }`).join("\n")}
    default: { ${statement(0)} }
  }`;
  const findSlot = indices.slice(1).map((i) =>
    `  if (group >= params.end${i - 1}) {
    slot = ${i}u; first = group - params.end${i - 1}; base = params.base${i}; size = params.size${i};
  }`
  ).join("\n");
  const declare = slots === 1 ? "let" : "var";
  return defineKernel({
    name: `${family.name}${slots}`,
    buffers,
    params,
    tuning: { WORKGROUP_SIZE: 64 },
    grid: (values) => [values[`end${slots - 1}`]],
    program: /* wgsl */ `
${family.functions.trim()}

${MAIN}
  let group = wid.x + wid.y * nwg.x;
  if (group >= params.end${slots - 1}) { return; }
  ${declare} slot = 0u;
  ${declare} first = group;
  ${declare} base = params.base0;
  ${declare} size = params.size0;
${findSlot}
  ${family.body(access).trim()}
}
`,
  });
}

/** Workgroups, state offsets and sizes of a launch, as the parameters of its kernel. */
export function slotTable(
  slots: number,
  pieces: readonly { readonly base: number; readonly size: number }[],
  vectorsPerGroup: number,
): Record<string, number> {
  const table: Record<string, number> = {};
  let end = 0;
  for (let i = 0; i < slots; i++) {
    const { base, size } = pieces[i] ?? { base: 0, size: 0 };
    end += groupsFor(vectorsOf(size), vectorsPerGroup);
    table[`end${i}`] = end;
    table[`base${i}`] = base;
    table[`size${i}`] = size;
  }
  return table;
}

/** Makes each kernel of a family once. */
export function slotKernels(family: SlotFamily): (slots: number) => SlotKernel {
  const made = new Map<number, SlotKernel>();
  return (slots) => {
    let kernel = made.get(slots);
    if (!kernel) made.set(slots, kernel = slotKernel(family, slots));
    return kernel;
  };
}
