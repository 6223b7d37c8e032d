/**
 * From a kernel's plain data to WebGPU's objects: the one place that turns buffers and parameters into a layout.
 * @module
 */
import type { KernelSpec } from "../kernels/kernel_spec.ts";
import { SHADER_STAGE_COMPUTE } from "./flags.ts";
import { sourceFor } from "./subgroups.ts";

/** A kernel that is being compiled. */
export interface KernelPipeline {
  readonly pipeline: GPUComputePipeline;
  /** Layout of bind group 0: the buffers in order, then the parameters, with a dynamic offset. */
  readonly layout: GPUBindGroupLayout;
  /** What the compiler says. */
  readonly report: Promise<GPUCompilationInfo>;
}

/** Compiles a kernel with these values of its `override` constants. WebGPU reports errors later. */
export function kernelPipeline(
  device: GPUDevice,
  kernel: KernelSpec,
  constants: Readonly<Record<string, number>> = kernel.tuning,
  label: string = kernel.name,
): KernelPipeline {
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
  const layout = device.createBindGroupLayout({ label, entries });
  const module = device.createShaderModule({ label, code: sourceFor(device, kernel.wgsl) });
  const report = module.getCompilationInfo();
  const pipeline = device.createComputePipeline({
    label,
    layout: device.createPipelineLayout({ label, bindGroupLayouts: [layout] }),
    compute: { module, entryPoint: "main", constants: { ...constants } },
  });
  return { pipeline, layout, report };
}

/** Why a kernel was refused: the compiler's messages about the WGSL, and the validation error of the pipeline. */
export interface Refusal {
  readonly messages: readonly GPUCompilationMessage[];
  readonly error: Error | GPUError | null;
}

/** Compiles a kernel inside an error scope: what is wrong with it does not reach the device's error handler. */
export async function tryKernel(
  device: GPUDevice,
  kernel: KernelSpec,
  constants?: Readonly<Record<string, number>>,
): Promise<Refusal> {
  device.pushErrorScope("validation");
  const { report } = kernelPipeline(device, kernel, constants, `${kernel.name} (trial)`);
  const refused = device.popErrorScope();
  const info = await report.catch(() => null);
  const messages = info?.messages.filter(({ type }) => type === "error") ?? [];
  return { messages, error: await refused.catch((error: Error) => error) };
}
