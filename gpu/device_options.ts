/**
 * What a device is asked for: options, limits and features.
 * @module
 */

import { checkOptions } from "../options/names.ts";

/**
 * Limits that `Device.create` negotiates.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import type { NegotiatedLimit } from "@peft/webgpu/gpu";
 *
 * const shown: NegotiatedLimit[] = ["maxBufferSize", "maxStorageBufferBindingSize"];
 * const { limits } = await initDevice();
 * for (const name of shown) console.log(`${name}: ${limits[name] / 2 ** 20} MiB`);
 * ```
 */
export type NegotiatedLimit =
  | "maxBufferSize"
  | "maxStorageBufferBindingSize"
  | "maxStorageBuffersPerShaderStage"
  | "maxComputeWorkgroupStorageSize"
  | "maxComputeInvocationsPerWorkgroup"
  | "maxComputeWorkgroupSizeX";

/**
 * Options of `Device.create`.
 *
 * @example
 * ```ts
 * import { Device, type DeviceOptions } from "@peft/webgpu";
 *
 * const options: DeviceOptions = { powerPreference: "low-power", memoryLimitBytes: 512 * 2 ** 20 };
 * const device = await Device.create(options);
 * console.log(device.memory.limitBytes); // past it, an OutOfDeviceMemoryError says so
 * device.destroy();
 * ```
 */
export interface DeviceOptions {
  /** The caller's own device, used as it is. */
  device?: GPUDevice;
  /** The caller's own adapter. */
  adapter?: GPUAdapter;
  /** The WebGPU entry point; default `navigator.gpu`. */
  gpu?: GPU;
  /** Which adapter to ask for; default `"high-performance"`. */
  powerPreference?: GPUPowerPreference;
  /**
   * Limits to ask for; each becomes the smallest of this, the library's own wish and the adapter's (or the given
   * device's).
   */
  limits?: Partial<Record<NegotiatedLimit, number>>;
  /** Limit of the byte ledger, live and idle; default none. */
  memoryLimitBytes?: number;
  /** Bytes that may always be kept for reuse, in addition to a quarter of those in use. Default 256 MiB. */
  idleFloorBytes?: number;
}

/** Limits beyond WebGPU's defaults that kernels use; each is lowered to what the adapter offers. */
export const WANTED_LIMITS: Readonly<Record<NegotiatedLimit, number>> = {
  maxBufferSize: 4 * 2 ** 30,
  maxStorageBufferBindingSize: 4 * 2 ** 30 - 4,
  maxStorageBuffersPerShaderStage: 34,
  maxComputeWorkgroupStorageSize: 32 * 2 ** 10,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
};

/** Features that kernels and the profiler use where the adapter has them. */
export const WANTED_FEATURES: readonly ("shader-f16" | "timestamp-query")[] = [
  "shader-f16",
  "timestamp-query",
];

/** What is given as an object of WebGPU: a method that it has, and its name. */
const GIVEN = {
  device: ["createBuffer", "a GPUDevice"],
  adapter: ["requestDevice", "a GPUAdapter"],
  gpu: ["requestAdapter", "a GPU such as navigator.gpu"],
} as const;

/** What came in place of an object of WebGPU, and the cure where it is plain. */
function received(value: unknown, method: string): string {
  if (typeof value === "function") return "a function; call it";
  if (typeof value !== "object") return `a ${typeof value}`;
  return value instanceof Promise ? "a promise; await it" : `an object without ${method}`;
}

const OPTION_NAMES = [
  ...Object.keys(GIVEN),
  ...["powerPreference", "limits", "memoryLimitBytes", "idleFloorBytes"] satisfies (keyof DeviceOptions)[],
];

/** @throws {TypeError} for an option that does not exist, and for a device, an adapter or an entry point that is none */
export function checkGiven(options: DeviceOptions): void {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(
      `Cannot open the device: options such as { device } are required, received ${
        options && `a ${typeof options}`
      }`,
    );
  }
  checkOptions("open the device", options, OPTION_NAMES);
  for (const [name, [method, kind]] of Object.entries(GIVEN)) {
    const value = options[name as keyof typeof GIVEN];
    if (!value || method in Object(value)) continue;
    throw new TypeError(
      `Cannot open the device: ${name} must be ${kind}, received ${received(value, method)}`,
    );
  }
}
