/**
 * What identifies an adapter with its driver and shader compiler, as far as WebGPU says.
 * @module
 */
import type { DeviceProfile } from "./device_profile.ts";

/** Limits that decide which kernels fit. */
const LIMITS = [
  "maxStorageBufferBindingSize",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
] as const;

/** What the facts are read from: a `Device`. */
export interface FactSource {
  readonly gpuDevice: GPUDevice;
  readonly features: ReadonlySet<string>;
  readonly limits: GPUSupportedLimits;
  readonly profile: DeviceProfile;
}

/**
 * Facts about driver and compiler in one line: results measured under one line do not hold under another. It names
 * vendor and device ids, the device's features and limits, and the runtime (`Deno/2.9.6`, or the browser).
 */
export function driverFacts(device: FactSource): string {
  const info: Partial<GPUAdapterInfo> = device.gpuDevice.adapterInfo ?? {};
  return [
    `vendor ${info.vendor || "unknown"}`,
    `architecture ${info.architecture || "unknown"}`,
    `device ${info.device || "unknown"}`,
    device.profile.kind,
    `features ${[...device.features].sort().join(" ") || "none"}`,
    ...LIMITS.map((name) => `${name} ${device.limits[name]}`),
    globalThis.navigator?.userAgent ?? "unknown runtime",
  ].join("; ");
}
