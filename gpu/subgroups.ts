/**
 * Whether kernels may hand values around in a subgroup, and what a runtime wants to be told about it.
 * @module
 */
import { adapterKindOf, adapterNameOf } from "./device_profile.ts";
import { BUFFER_USAGE, MAP_MODE_READ } from "./flags.ts";

/** The feature's name. */
export const SUBGROUPS = "subgroups";

/** The directive that standard WGSL wants. */
const DIRECTIVE = /^enable subgroups;$/m;

/** Devices whose compiler has the functions and refuses the directive: naga 29, which is Deno's. */
const withoutDirective = new WeakSet<GPUDevice>();

/** A program as this device's compiler takes it; lines keep their numbers. */
export function sourceFor(device: GPUDevice, wgsl: string): string {
  return withoutDirective.has(device) ? wgsl.replace(DIRECTIVE, "") : wgsl;
}

/** Threads of a subgroup where an adapter says that there is one size, else 0. */
function sizeOf(info: GPUAdapterInfo | undefined): number {
  const { subgroupMinSize = 0, subgroupMaxSize = 0 } = info ?? {};
  return subgroupMinSize === subgroupMaxSize ? subgroupMaxSize : 0;
}

/**
 * Whether kernels would use an adapter's subgroups: those of software with one size. Deno's adapters give the feature on
 * request without listing it.
 */
export function usesSubgroups(info: GPUAdapterInfo | undefined): boolean {
  return sizeOf(info) > 1 && adapterKindOf(adapterNameOf(info), info?.isFallbackAdapter) === "software";
}

/** Each of two workgroups of `size` threads hands its last thread's number to all, and each thread its own to the one before. */
const trial = (size: number) =>
  `enable subgroups;
@group(0) @binding(0) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(${size})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = group.x * ${size}u + lane;
  y[i] = subgroupBroadcast(i, ${size - 1}u) + subgroupShuffle(lane, (lane + 1u) % ${size}u);
}`;

/** Runs the trial: whether the compiler refuses it, or threads of a workgroup are one subgroup, in order, or not. */
async function runTrial(device: GPUDevice, size: number): Promise<"refused" | "in order" | "otherwise"> {
  const label = "subgroups (trial)";
  const byteLength = 2 * size * 4;
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ label, code: sourceFor(device, trial(size)) });
  const pipeline = device.createComputePipeline({ label, layout: "auto", compute: { module } });
  const y = device.createBuffer({
    label,
    size: byteLength,
    usage: BUFFER_USAGE.STORAGE | BUFFER_USAGE.COPY_SRC,
  });
  const read = device.createBuffer({
    label,
    size: byteLength,
    usage: BUFFER_USAGE.MAP_READ | BUFFER_USAGE.COPY_DST,
  });
  try {
    if (await device.popErrorScope() !== null) return "refused";
    const encoder = device.createCommandEncoder({ label });
    const pass = encoder.beginComputePass({ label });
    const entries = [{ binding: 0, resource: { buffer: y } }];
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, device.createBindGroup({ label, layout: pipeline.getBindGroupLayout(0), entries }));
    pass.dispatchWorkgroups(2);
    pass.end();
    encoder.copyBufferToBuffer(y, 0, read, 0, byteLength);
    device.queue.submit([encoder.finish()]);
    await read.mapAsync(MAP_MODE_READ);
    const words = new Uint32Array(read.getMappedRange());
    const inOrder = words.every((word, i) => word === (i < size ? size - 1 : 2 * size - 1) + (i + 1) % size);
    return inOrder ? "in order" : "otherwise";
  } catch {
    return "otherwise"; // a lost device, which its first use reports
  } finally {
    y.destroy();
    read.destroy();
  }
}

/**
 * Tries a program that uses a subgroup, with the directive and without.
 * @returns threads of a subgroup; 0 where kernels must not use it
 */
export async function trySubgroups(device: GPUDevice, info: GPUAdapterInfo | undefined): Promise<number> {
  if (!device.features.has(SUBGROUPS) || !usesSubgroups(info)) return 0;
  const size = sizeOf(info);
  let outcome = await runTrial(device, size);
  if (outcome === "refused") {
    withoutDirective.add(device);
    outcome = await runTrial(device, size);
    if (outcome === "refused") withoutDirective.delete(device);
  }
  return outcome === "in order" ? size : 0;
}
