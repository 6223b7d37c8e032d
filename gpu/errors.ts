/**
 * Failures of the device that a caller may want to tell apart.
 * @module
 */

/**
 * A WebGPU error that no call could report: the results of the device can no longer be trusted.
 *
 * @example
 * ```ts
 * import { GpuError, initDevice } from "@peft/webgpu";
 *
 * try {
 *   await initDevice();
 * } catch (error) {
 *   if (error instanceof GpuError) console.error("what was computed cannot be trusted", error.message);
 *   else throw error;
 * }
 * ```
 */
export class GpuError extends Error {
  /** Name of the class. */
  override name = "GpuError";
}

/**
 * No WebGPU, or no adapter, on this machine.
 *
 * @example
 * ```ts
 * import { initDevice, NoAdapterError } from "@peft/webgpu";
 *
 * try {
 *   console.log((await initDevice()).adapterName);
 * } catch (error) {
 *   if (!(error instanceof NoAdapterError)) throw error;
 *   console.error(error.message); // what this machine or browser lacks
 * }
 * ```
 */
export class NoAdapterError extends Error {
  /** Name of the class. */
  override name = "NoAdapterError";
}

/**
 * The device is gone: destroyed, crashed or taken away.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, DeviceLostError, initDevice } from "@peft/webgpu";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * try {
 *   console.log(await model.generate([[1, 2]], { maxNewTokens: 4 }));
 * } catch (error) {
 *   if (!(error instanceof DeviceLostError)) throw error;
 *   await initDevice(); // a new device; models are loaded again, trainings go on from their checkpoints
 * }
 * ```
 */
export class DeviceLostError extends Error {
  /** Name of the class. */
  override name = "DeviceLostError";
}

/**
 * The byte ledger's limit, or the driver, refuses an allocation.
 *
 * @example
 * ```ts
 * import { Device, OutOfDeviceMemoryError } from "@peft/webgpu";
 * import { Tensor } from "@peft/webgpu/tensor";
 *
 * const device = await Device.create();
 * device.memoryLimitBytes = 1000;
 * try {
 *   Tensor.from(new Float32Array(1000), { device });
 * } catch (error) {
 *   console.log(error instanceof OutOfDeviceMemoryError, (error as Error).message);
 * }
 * device.destroy();
 * ```
 */
export class OutOfDeviceMemoryError extends Error {
  /** Name of the class. */
  override name = "OutOfDeviceMemoryError";
}

/**
 * A kernel that the device's WGSL compiler rejects; the message shows kernel, line:column and an excerpt.
 *
 * @example
 * ```ts
 * import { initDevice, ShaderCompileError } from "@peft/webgpu";
 *
 * try {
 *   await initDevice();
 * } catch (error) {
 *   if (error instanceof ShaderCompileError) console.error("please report this driver:", error.message);
 *   else throw error;
 * }
 * ```
 */
export class ShaderCompileError extends Error {
  /** Name of the class. */
  override name = "ShaderCompileError";
}

/**
 * A tensor or buffer used after it was disposed.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { DisposedError } from "@peft/webgpu/gpu";
 * import { Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const x = Tensor.from([1, 2]);
 * x.dispose();
 * try {
 *   await x.data();
 * } catch (error) {
 *   console.log(error instanceof DisposedError);
 * }
 * ```
 */
export class DisposedError extends Error {
  /** Name of the class. */
  override name = "DisposedError";
}
