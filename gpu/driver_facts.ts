/**
 * What identifies an adapter with its driver and shader compiler, as far as WebGPU tells.
 * @module
 */
import type { Device } from "./device.ts";

/** Limits that decide which kernels fit. */
const LIMITS = [
  "maxStorageBufferBindingSize",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
] as const;

/**
 * Loop iterations that one invocation runs, all its loops together, before the driver ends them without an error: 65,535
 * on Mesa's llvmpipe (`LP_MAX_TGSI_LOOP_ITERATIONS`), and on a software adapter that does not say what it is.
 * SwiftShader and hardware have no such limit.
 */
export function maxLoopIterations(adapterName: string, isFallback: boolean): number {
  const limited = /llvmpipe/i.test(adapterName) ||
    isFallback && !/swiftshader|basic render/i.test(adapterName);
  return limited ? 65535 : Infinity;
}

/**
 * Facts about driver and compiler in one line: results measured under one line do not hold under another. It names
 * vendor and device ids, the device's features and limits, and the runtime (`Deno/2.9.6`, or the browser).
 */
export function driverFacts(device: Device): string {
  const info: Partial<GPUAdapterInfo> = device.gpuDevice.adapterInfo ?? {};
  return [
    `vendor ${info.vendor || "unknown"}`,
    `architecture ${info.architecture || "unknown"}`,
    `device ${info.device || "unknown"}`,
    device.isFallback ? "software" : "hardware",
    `features ${[...device.features].sort().join(" ") || "none"}`,
    ...LIMITS.map((name) => `${name} ${device.limits[name]}`),
    globalThis.navigator?.userAgent ?? "unknown runtime",
  ].join("; ");
}
