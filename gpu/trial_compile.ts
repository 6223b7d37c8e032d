/**
 * Compiles a kernel on trial: a refusal is returned, and does not poison the device.
 * @module
 */
import type { KernelSpec } from "../kernels/kernel_spec.ts";
import type { Device } from "./device.ts";
import { tryKernel } from "./kernel_pipeline.ts";

/** Whether a device takes a kernel: null, or in words why not. @throws {DeviceLostError} if the device is lost */
export async function trialCompile(
  device: Device,
  kernel: KernelSpec,
  tuning: Readonly<Record<string, number>> = {},
): Promise<string | null> {
  const missing = (kernel.features ?? []).filter((feature) => !device.features.has(feature));
  if (missing.length > 0) return `the device has no feature "${missing.join('", "')}"`;
  const { messages, error } = await tryKernel(device.gpuDevice, kernel, { ...kernel.tuning, ...tuning });
  const message = messages.at(0);
  if (!message && !error) return null;
  device.checkText(`${message?.message} ${error?.message}`);
  const text = message?.message || error?.message || "no reason given";
  return text.split("\n").map((line) => line.trim()).filter((line) => line !== "").slice(0, 2).join(" ");
}
