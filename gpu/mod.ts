/**
 * The device layer: the only folder that knows `GPUDevice`.
 * @module
 */

export { type Capture, isSameWork } from "./capture.ts";
export type { BufferView, DeviceBuffer, MemoryReport } from "./buffer_pool.ts";
export { currentDevice, defaultDevice, initDevice } from "./default_device.ts";
export { Device } from "./device.ts";
export type { DeviceOptions, NegotiatedLimit } from "./device_options.ts";
export type { DeviceProfile } from "./device_profile.ts";
export type { DeviceStats } from "./device_stats.ts";
export * from "./errors.ts";
