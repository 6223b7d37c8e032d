/**
 * Devices whose profile a test changes, so that what other adapters would do runs on this one.
 * @module
 */
import type { Device } from "../../autograd/mod.ts";
import { type DeviceProfile, deviceProfile } from "../../gpu/device_profile.ts";

/** Changes some of a device's defaults. */
export function changeProfile(device: Device, changes: Partial<DeviceProfile>): void {
  Object.defineProperty(device, "profile", {
    value: { ...device.profile, ...changes },
    configurable: true,
  });
}

/** Gives a device the defaults of hardware; loops end where this adapter ends them. */
export function pretendHardware(device: Device): void {
  const { maxLoopIterations } = device.profile;
  changeProfile(device, { ...deviceProfile("a GPU", false), maxLoopIterations });
}
