/**
 * Compiles a kernel on trial: what a device refuses is told, and does not poison it.
 * @module
 */
import type { KernelSpec } from "../kernels/kernel_spec.ts";
import type { Device } from "./device.ts";
import { SHADER_STAGE_COMPUTE } from "./flags.ts";

/** Whether a device takes a kernel: null, or in words why not. @throws {DeviceLostError} if the device is lost */
export async function trialCompile(
  device: Device,
  kernel: KernelSpec,
  tuning: Readonly<Record<string, number>> = {},
): Promise<string | null> {
  const missing = (kernel.features ?? []).filter((feature) => !device.features.has(feature));
  if (missing.length > 0) return `the device has no feature "${missing.join('", "')}"`;
  const { gpuDevice } = device;
  const label = `${kernel.name} (trial)`;
  gpuDevice.pushErrorScope("validation");
  const module = gpuDevice.createShaderModule({ label, code: kernel.wgsl });
  const report = module.getCompilationInfo().catch(() => null);
  const entries: GPUBindGroupLayoutEntry[] = Object.values(kernel.buffers).map((access, binding) => ({
    binding,
    visibility: SHADER_STAGE_COMPUTE,
    buffer: { type: access === "read" ? "read-only-storage" : "storage" },
  }));
  if (Object.keys(kernel.params).length > 0) {
    entries.push({
      binding: entries.length,
      visibility: SHADER_STAGE_COMPUTE,
      buffer: { type: "uniform", hasDynamicOffset: true },
    });
  }
  const layout = gpuDevice.createPipelineLayout({
    label,
    bindGroupLayouts: [gpuDevice.createBindGroupLayout({ label, entries })],
  });
  const constants = { ...kernel.tuning, ...tuning };
  gpuDevice.createComputePipeline({ label, layout, compute: { module, entryPoint: "main", constants } });
  const refused = gpuDevice.popErrorScope();
  const message = (await report)?.messages.find(({ type }) => type === "error");
  const error = await refused.catch((error: Error) => error);
  if (!message && !error) return null;
  device.checkText(`${message?.message} ${error?.message}`);
  const text = message?.message || error?.message || "no reason given";
  return text.split("\n").map((line) => line.trim()).filter((line) => line !== "").slice(0, 2).join(" ");
}
