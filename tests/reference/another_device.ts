/**
 * Devices that share what is compiled.
 * @module
 */
import { defaultDevice, Device } from "../../gpu/mod.ts";
import type { DeviceOptions } from "../../gpu/device_options.ts";

/**
 * A device with a pool, a ledger and limits of its own on the default one's GPUDevice, whose kernels it shares. WebGPU
 * grants no less than 128 MiB a binding, so a lower limit is the object's in any case. Never destroy it: `trim()` frees what
 * it keeps.
 */
export async function anotherDevice(options: Omit<DeviceOptions, "device"> = {}): Promise<Device> {
  return await Device.create({ ...options, device: (await defaultDevice()).gpuDevice });
}
