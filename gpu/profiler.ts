/**
 * Device time by kernel, from timestamp queries: every dispatch gets its own pass while a profile runs, so totals
 * are a little above those of an unprofiled run.
 * @module
 */

import type { Command, CommandStream } from "./command_stream.ts";
import { encodeInPasses } from "./command_stream.ts";
import type { Device } from "./device.ts";
import { BUFFER_USAGE, MAP_MODE_READ } from "./flags.ts";

/** Time of one kernel. */
export interface KernelTime {
  /** Name of the kernel. */
  readonly name: string;
  /** Launches. */
  readonly count: number;
  /** Time of all of them, in milliseconds. */
  readonly ms: number;
}

/** Queries of one submission. */
interface Batch {
  readonly names: string[];
  readonly read: GPUBuffer;
}

/** Timestamps of one query set. */
const MAX_QUERIES = 4096;

function encodeTimed(device: GPUDevice, encoder: GPUCommandEncoder, commands: readonly Command[]): Batch {
  const dispatches = commands.filter((command) => command.kind === "dispatch").length;
  const count = Math.min(MAX_QUERIES, 2 * dispatches);
  const querySet = device.createQuerySet({ type: "timestamp", count: Math.max(2, count) });
  const names: string[] = [];
  for (const command of commands) {
    const query = 2 * names.length;
    if (command.kind === "copy" || query + 2 > count) {
      encodeInPasses(encoder, [command]);
      continue;
    }
    const pass = encoder.beginComputePass({
      timestampWrites: { querySet, beginningOfPassWriteIndex: query, endOfPassWriteIndex: query + 1 },
    });
    pass.setPipeline(command.compiled.pipeline);
    pass.setBindGroup(0, command.bindGroup, command.paramOffset < 0 ? [] : [command.paramOffset]);
    pass.dispatchWorkgroups(command.x, command.y, command.z);
    pass.end();
    names.push(command.compiled.kernel.name);
  }
  const size = Math.max(16, 16 * names.length);
  const resolved = device.createBuffer({ size, usage: BUFFER_USAGE.QUERY_RESOLVE | BUFFER_USAGE.COPY_SRC });
  const read = device.createBuffer({ size, usage: BUFFER_USAGE.MAP_READ | BUFFER_USAGE.COPY_DST });
  if (names.length > 0) encoder.resolveQuerySet(querySet, 0, 2 * names.length, resolved, 0);
  encoder.copyBufferToBuffer(resolved, 0, read, 0, size);
  return { names, read };
}

/** Time of one launch, in the order of launching. */
export interface LaunchTime {
  /** Name of the kernel. */
  readonly name: string;
  /** Its time in milliseconds. */
  readonly ms: number;
}

/**
 * Runs `body` and reports how long each launch took.
 * @throws {TypeError} if the device has no "timestamp-query" feature
 */
export async function profileLaunches(device: Device, body: () => unknown): Promise<LaunchTime[]> {
  if (!device.features.has("timestamp-query")) {
    throw new TypeError(
      `Cannot profile: the feature "timestamp-query" is required, received none on ${device.adapterName}`,
    );
  }
  await device.sync();
  const stream: CommandStream = device.stream;
  const before = stream.encode;
  const batches: Batch[] = [];
  stream.encode = (encoder, commands) => void batches.push(encodeTimed(device.gpuDevice, encoder, commands));
  try {
    await body();
    await device.sync();
  } finally {
    stream.encode = before;
  }
  const launches: LaunchTime[] = [];
  for (const { names, read } of batches) {
    await read.mapAsync(MAP_MODE_READ);
    const stamps = new BigUint64Array(read.getMappedRange());
    names.forEach((name, i) => {
      const [start, end] = [stamps[2 * i], stamps[2 * i + 1]];
      launches.push({ name, ms: end > start ? Number(end - start) / 1e6 : 0 });
    });
    read.destroy();
  }
  return launches;
}

/**
 * Runs `body` and reports where the device spent its time, longest first.
 * @throws {TypeError} if the device has no "timestamp-query" feature
 */
export async function profileKernels(device: Device, body: () => Promise<unknown>): Promise<KernelTime[]> {
  const totals = new Map<string, { count: number; ms: number }>();
  for (const { name, ms } of await profileLaunches(device, body)) {
    const total = totals.get(name) ?? { count: 0, ms: 0 };
    total.count++;
    total.ms += ms;
    totals.set(name, total);
  }
  return [...totals].map(([name, { count, ms }]) => ({ name, count, ms }))
    .sort((a, b) => b.ms - a.ms);
}
