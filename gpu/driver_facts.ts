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
