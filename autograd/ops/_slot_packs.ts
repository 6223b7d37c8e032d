/**
 * Spreads many tensors over few launches of slot kernels (`kernels/tensor_slots.ts`).
 * @module
 */

import type { BufferView, Device } from "../../gpu/mod.ts";
import { MAX_SLOTS, type SlotKernel, slotTable, vectorsOf } from "../../kernels/tensor_slots.ts";
import { empty, type Tensor } from "../tensor.ts";

/** Pieces start at multiples of so many elements: windows start at multiples of 256 bytes. */
const PIECE_STEP = 64;

/** A tensor, or a window of one that is too large for a binding. */
export interface Piece {
  /** Which tensor. */
  readonly index: number;
  /** First element. */
  readonly start: number;
  /** Number of elements. */
  readonly size: number;
  /** Vec4s of the pieces before it in its pack. */
  readonly base: number;
}

/** Pieces of one launch. */
export interface SlotPack {
  /** Slots of its kernel, at least as many as pieces. */
  readonly slots: number;
  readonly pieces: readonly Piece[];
  /** Vec4s of all pieces. */
  readonly total: number;
  /** Pieces of the packs before it. */
  readonly row: number;
}

/** What a slot kernel binds. */
export interface SlotBuffers {
  /** Buffers per slot. */
  readonly each: number;
  /** Buffers per launch. */
  readonly shared: number;
  /** Largest number of float32 a launch holds for each element of its tensors in one shared buffer. */
  readonly blocks: number;
}

/** Slots of full and of lone launches on a device. */
function slotSizes(device: Device, { each, shared }: SlotBuffers): number[] {
  const bindable = Math.floor((device.limits.maxStorageBuffersPerShaderStage - shared) / each);
  const most = Math.min(MAX_SLOTS, bindable, device.profile.optimizerSlots);
  return [1, 4, most].filter((slots) => slots <= most);
}

/** Tensors, by their sizes, as packs for `device`; the same sizes give the same packs. */
export function packTensors(device: Device, sizes: readonly number[], buffers: SlotBuffers): SlotPack[] {
  const steps = slotSizes(device, buffers);
  const most = steps.at(-1)!;
  const limit = device.limits.maxStorageBufferBindingSize;
  const step = Math.floor(limit / (4 * Math.max(1, buffers.blocks)) / PIECE_STEP) * PIECE_STEP;
  const packs: SlotPack[] = [];
  let open: Piece[] = [];
  let total = 0;
  let row = 0;
  const close = () => {
    if (open.length === 0) return;
    const slots = steps.find((slots) => slots >= open.length)!;
    packs.push({ slots, pieces: open, total, row });
    row += open.length;
    open = [];
    total = 0;
  };
  const put = (index: number, start: number, size: number) => {
    const full = (total + vectorsOf(size)) * 4 > step;
    if (open.length === most || full) close();
    open.push({ index, start, size, base: total });
    total += vectorsOf(size);
  };
  const alone = (size: number) => buffers.each > 1 && size > device.profile.lonelyTensorSize;
  sizes.forEach((size, index) => {
    if (alone(size)) return;
    for (let start = 0; start < size; start += step) put(index, start, Math.min(step, size - start));
  });
  close();
  sizes.forEach((size, index) => {
    if (!alone(size)) return;
    for (let start = 0; start < size; start += step) {
      put(index, start, Math.min(step, size - start));
      close();
    }
  });
  return packs;
}

/** One launch. */
export interface SlotLaunch {
  /** Kernels of the family by number of slots. */
  readonly kernel: (slots: number) => SlotKernel;
  readonly pack: SlotPack;
  /** Tensors of every slot, by prefix, indexed as the packed sizes; slots where one is null are left out. */
  readonly each: Readonly<Record<string, readonly (Tensor | null)[]>>;
  /** Prefix of the tensors that are written. */
  readonly written?: string;
  readonly shared: Readonly<Record<string, BufferView>>;
  readonly params: Readonly<Record<string, number>>;
  /** Vec4s a workgroup takes. */
  readonly vectorsPerGroup: number;
}

/** Bytes of `piece`, rounded up to whole vec4s: a buffer is a multiple of 256 bytes long. */
function windowOf(tensor: Tensor, { start, size }: Piece): BufferView {
  return tensor.window(start * 4, vectorsOf(size) * 16);
}

/** What slots without work bind in a launch: a range for each, since each could write. None if all have work. */
export function spareTensors(
  device: Device,
  { slots, pieces }: SlotPack,
  present: readonly boolean[],
  each: number,
): Tensor[] {
  if (slots === pieces.length && !present.includes(false)) return [];
  return Array.from({ length: each }, () => empty(device, [slots * PIECE_STEP]));
}

/**
 * Appends one launch.
 * @returns its number of workgroups; 0 if every slot was left out
 */
export function launchSlots(device: Device, launch: SlotLaunch): number {
  const { pack, each, written } = launch;
  const { slots, pieces } = pack;
  const prefixes = Object.keys(each);
  const present = pieces.map(({ index }) => prefixes.every((prefix) => each[prefix][index] !== null));
  if (!present.includes(true)) return 0;
  const buffers: Record<string, BufferView> = { ...launch.shared };
  const spares = spareTensors(device, pack, present, prefixes.length);
  for (let i = 0; i < slots; i++) {
    prefixes.forEach((prefix, k) => {
      const start = prefix === written ? i * 256 : 0;
      buffers[`${prefix}${i}`] = present[i]
        ? windowOf(each[prefix][pieces[i].index]!, pieces[i])
        : spares[k].window(start, 256);
    });
  }
  const table = slotTable(
    slots,
    pieces.map((piece, i) => present[i] ? piece : { base: piece.base, size: 0 }),
    launch.vectorsPerGroup,
  );
  device.dispatch(launch.kernel(slots), buffers, { ...table, ...launch.params });
  for (const spare of spares) spare.dispose();
  return table[`end${slots - 1}`];
}
