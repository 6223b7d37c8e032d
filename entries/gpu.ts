/**
 * `@peft/webgpu/gpu`: the device, its limits, memory and errors, and the form of a kernel.
 * @module
 */

export {
  type BufferView,
  Device,
  type DeviceBuffer,
  DeviceLostError,
  type DeviceOptions,
  type DeviceStats,
  DisposedError,
  GpuError,
  initDevice,
  type MemoryReport,
  type NegotiatedLimit,
  NoAdapterError,
  OutOfDeviceMemoryError,
  ShaderCompileError,
} from "../gpu/mod.ts";

export type { BufferAccess, Grid, KernelSpec, ParamType } from "../kernels/kernel_spec.ts";
