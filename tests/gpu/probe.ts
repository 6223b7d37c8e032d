/**
 * Small kernels and views that the tests of `gpu/` use.
 * @module
 */
import type { BufferView, Device, DeviceBuffer } from "../../gpu/mod.ts";
import { groupsFor, type KernelSpec } from "../../kernels/kernel_spec.ts";

/** y[at] = value, by one workgroup. */
export const storeKernel: KernelSpec<"y", "at" | "value"> = {
  name: "probeStore",
  buffers: { y: "read_write" },
  params: { at: "u32", value: "u32" },
  tuning: {},
  grid: () => [1],
  wgsl: `
struct Params { at: u32, value: u32 }
@group(0) @binding(0) var<storage, read_write> y: array<u32>;
@group(0) @binding(1) var<uniform> params: Params;
@compute @workgroup_size(1)
fn main() { y[params.at] = params.value; }`,
};

/** y[i] = x[i] + add, a workgroup an element: `size` workgroups, folded past the limit. */
export const addKernel: KernelSpec<"x" | "y", "size" | "add", "WORKGROUP_SIZE"> = {
  name: "probeAdd",
  buffers: { x: "read", y: "read_write" },
  params: { size: "u32", add: "u32" },
  tuning: { WORKGROUP_SIZE: 1 },
  grid: ({ size }, { WORKGROUP_SIZE }) => [groupsFor(size, WORKGROUP_SIZE)],
  wgsl: `
override WORKGROUP_SIZE: u32 = 1u;
struct Params { size: u32, add: u32 }
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;
@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
  @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.x + wid.y * nwg.x) * WORKGROUP_SIZE + lid.x;
  if (i >= params.size) { return; }
  y[i] = x[i] + params.add;
}`,
};

/** The first `words` 32-bit words of a buffer. */
export function wordsOf(buffer: DeviceBuffer, words: number, offset = 0): BufferView {
  return { buffer, offset, size: words * 4 };
}

/** A buffer that holds these words. */
export function upload(device: Device, words: readonly number[] | Uint32Array<ArrayBuffer>): DeviceBuffer {
  const buffer = device.acquire(words.length * 4);
  device.write(wordsOf(buffer, words.length), Uint32Array.from(words));
  return buffer;
}

/** The words of a view. */
export async function download(device: Device, view: BufferView): Promise<Uint32Array<ArrayBuffer>> {
  return new Uint32Array((await device.read(view)).buffer);
}
