/**
 * The device that is used where a caller names none.
 * @module
 */

import { Device } from "./device.ts";
import type { DeviceOptions } from "./device_options.ts";

let current: Device | null = null;

/**
 * Makes the default device, or adopts a caller's, and returns it. Without it, the first asynchronous use makes one.
 * @throws {NoAdapterError} if there is no WebGPU or no adapter
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 *
 * const device = await initDevice();
 * console.log(device.adapterName);
 * ```
 */
export async function initDevice(options: DeviceOptions = {}): Promise<Device> {
  return current = await Device.create(options);
}

let pending: Promise<Device> | null = null;

/** The default device, made on first use, and again where the last one was lost. */
export function defaultDevice(): Promise<Device> {
  if (current && !current.isLost) return Promise.resolve(current);
  return pending ??= initDevice().finally(() => pending = null);
}

/** The default device that an earlier `initDevice()` made. */
export function currentDevice(): Device {
  if (!current) {
    throw new TypeError(
      "Cannot use the default device: none is made yet, await initDevice() first or pass { device }",
    );
  }
  return current;
}
