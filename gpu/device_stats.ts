/**
 * What `Device.stats` counts.
 * @module
 */

/**
 * Counters since the device was made.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import type { DeviceStats } from "@peft/webgpu/gpu";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const before: DeviceStats = model.device.stats;
 * model.forward({ inputIds: [[1, 2, 3]] });
 * console.log(`${model.device.stats.dispatches - before.dispatches} kernel launches`);
 * ```
 */
export interface DeviceStats {
  /** Kernel launches appended. */
  readonly dispatches: number;
  /** Submissions to the queue. */
  readonly submissions: number;
  /** Launches whose bind group was in the cache. */
  readonly bindGroupHits: number;
  /** Bind groups made. */
  readonly bindGroupMisses: number;
  /** Bind groups kept for reuse, a bounded number. */
  readonly bindGroups: number;
  /** Kernels used, each choice of tuning constants for itself; devices on one GPUDevice compile them once. */
  readonly pipelines: number;
}
