/**
 * What the adapter can do at most, measured: bytes a second of a copy (in cache and beyond it), operations a second of a
 * loop of multiply-adds, cost of an empty dispatch and of a wait. Kernels are held against these.
 * Run: deno run -A bench/floor_bench.ts
 * @module
 */
import { empty, Tensor } from "../autograd/mod.ts";
import { type Device, initDevice } from "../gpu/mod.ts";
import { groupsFor, type KernelSpec } from "../kernels/kernel_spec.ts";
import {
  checkResult,
  median,
  printTable,
  randomValues,
  repeatsFor,
  type Row,
  sampleIndices,
  timeDevice,
} from "./harness.ts";

/** The ceilings of an adapter. */
export interface Floors {
  /** Bytes read and written a second, in 1e9, of a copy of 1.5 MB (a [512, 768] tensor). */
  readonly smallGBs: number;
  /** The same of a copy of 64 MB. */
  readonly largeGBs: number;
  /** Operations a second, in 1e9: multiply-adds in registers, two operations each. */
  readonly gflops: number;
}

const copyKernel: KernelSpec<"x" | "y", "cells", never> = {
  name: "benchCopy",
  buffers: { x: "read", y: "read_write" },
  params: { cells: "u32" },
  tuning: {},
  grid: ({ cells }) => [groupsFor(cells, 64 * 16)],
  wgsl: /* wgsl */ `
struct Params { cells: u32 }
@group(0) @binding(0) var<storage, read> x: array<vec4f>; // [cells]
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>; // [cells]
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let first = (wid.x + wid.y * nwg.x) * 1024u + lane; // 16 cells an invocation, 64 apart
  for (var i = 0u; i < 16u; i++) {
    let at = first + i * 64u;
    if (at < params.cells) { y[at] = x[at]; }
  }
}
`,
};

const LOOPS = 4096;
const GROUPS = 256;
/** Vectors of 4 a thread keeps in registers: as many as a matrix product's tile. */
const VECTORS = 16;
const WORKGROUP = 8;

const fmaKernel: KernelSpec<"y", "loops", never> = {
  name: "benchMultiplyAdd",
  buffers: { y: "read_write" },
  params: { loops: "u32" },
  tuning: {},
  grid: () => [GROUPS],
  wgsl: /* wgsl */ `
struct Params { loops: u32 }
@group(0) @binding(0) var<storage, read_write> y: array<vec4f>; // one an invocation
@group(0) @binding(1) var<uniform> params: Params;

@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(global_invocation_id) gid: vec3u) {
  let factor = y[gid.x];
  ${Array.from({ length: VECTORS }, (_, i) => `var s${i} = vec4f(${i}.0);`).join(" ")}
  for (var i = 0u; i < params.loops; i++) {
    ${Array.from({ length: VECTORS }, (_, i) => `s${i} = fma(s${i}, factor, factor);`).join("\n    ")}
  }
  y[gid.x] = ${Array.from({ length: VECTORS }, (_, i) => `s${i}`).join(" + ")};
}
`,
};

async function copyRate(device: Device, floats: number): Promise<{ ms: number; rate: number }> {
  const data = randomValues(floats);
  using x = Tensor.from(data, { device });
  using y = empty(device, [floats]);
  const launch = () => device.dispatch(copyKernel, { x: x.view, y: y.view }, { cells: floats / 4 });
  launch();
  checkResult("copy", await y.data(), sampleIndices(floats, 1000), (i) => data[i], 0);
  const ms = await timeDevice(device, floats > 1e6 ? 5 : 100, launch);
  return { ms, rate: 8 * floats / ms / 1e6 };
}

async function multiplyAddRate(device: Device): Promise<{ ms: number; rate: number }> {
  const invocations = GROUPS * WORKGROUP;
  const factor = 0.5;
  using y = Tensor.from(new Float32Array(4 * invocations).fill(factor), { device });
  device.dispatch(fmaKernel, { y: y.view }, { loops: 2 });
  let expected = 0;
  for (let i = 0; i < VECTORS; i++) expected += (i * factor + factor) * factor + factor;
  checkResult("multiply-add", await y.data(), sampleIndices(4 * invocations, 100), () => expected, 1e-4);
  y.write(new Float32Array(4 * invocations).fill(factor));
  const launch = () => device.dispatch(fmaKernel, { y: y.view }, { loops: LOOPS });
  launch();
  const operations = 2 * 4 * VECTORS * LOOPS * invocations;
  const once = await timeDevice(device, 1, launch, 3);
  const ms = await timeDevice(device, repeatsFor(once), launch, 5);
  return { ms, rate: operations / ms / 1e6 };
}

/** Measures the ceilings; the rows say how. */
export async function measureFloors(device: Device): Promise<{ floors: Floors; rows: Row[] }> {
  const small = await copyRate(device, 512 * 768);
  const large = await copyRate(device, 16 * 2 ** 20);
  const fma = await multiplyAddRate(device);
  using x = Tensor.from(randomValues(4), { device });
  using y = empty(device, [4]);
  const dispatchMs = await timeDevice(
    device,
    1000,
    () => device.dispatch(copyKernel, { x: x.view, y: y.view }, { cells: 1 }),
  );
  const waits: number[] = [];
  for (let i = 0; i < 9; i++) {
    const start = performance.now();
    await device.sync();
    waits.push(performance.now() - start);
  }
  const rows: Row[] = [
    { what: "copy of 1.5 MB", ms: small.ms, rate: small.rate, unit: "GB/s" },
    { what: "copy of 64 MB", ms: large.ms, rate: large.rate, unit: "GB/s" },
    { what: "multiply-adds in registers", ms: fma.ms, rate: fma.rate, unit: "GFLOP/s" },
    { what: "empty dispatch, recording included", ms: dispatchMs, rate: 1000 * dispatchMs, unit: "us" },
    { what: "wait for an idle device", ms: median(waits), rate: median(waits), unit: "ms" },
  ];
  return { floors: { smallGBs: small.rate, largeGBs: large.rate, gflops: fma.rate }, rows };
}

if (import.meta.main) {
  const device = await initDevice();
  printTable(`Ceilings of ${device.adapterName}`, (await measureFloors(device)).rows);
}
