/**
 * Failures of the device that a caller may want to tell apart.
 * @module
 */

/** A WebGPU error that no call could report: the results of the device can no longer be trusted. */
export class GpuError extends Error {
  /** Name of the class. */
  override name = "GpuError";
}

/** No WebGPU, or no adapter, on this machine. */
export class NoAdapterError extends Error {
  /** Name of the class. */
  override name = "NoAdapterError";
}

/** The device is gone: destroyed, crashed or taken away. */
export class DeviceLostError extends Error {
  /** Name of the class. */
  override name = "DeviceLostError";
}

/** The byte ledger's limit, or the driver, refuses an allocation. */
export class OutOfDeviceMemoryError extends Error {
  /** Name of the class. */
  override name = "OutOfDeviceMemoryError";
}

/** A kernel that the device's WGSL compiler rejects; the message shows kernel, line:column and an excerpt. */
export class ShaderCompileError extends Error {
  /** Name of the class. */
  override name = "ShaderCompileError";
}

/** A tensor or buffer used after it was disposed. */
export class DisposedError extends Error {
  /** Name of the class. */
  override name = "DisposedError";
}
