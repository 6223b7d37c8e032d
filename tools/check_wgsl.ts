/**
 * Compiles every kernel with Dawn's compiler (npm `webgpu`, null backend: no GPU, no driver), beside naga in Deno:
 * the two disagree on details, and browsers have both. Shader modules, then compute pipelines with the default
 * override constants and the bind-group layout that the kernel's descriptor states.
 * Run: `deno run -A tools/check_wgsl.ts`.
 * @module
 */
import { create } from "webgpu";
import { tryKernel } from "../gpu/kernel_pipeline.ts";
import { allKernels } from "../kernels/mod.ts";
import type { KernelSpec } from "../kernels/kernel_spec.ts";

/** What Dawn refuses in one kernel: `name line:column message`, then the line with a caret; empty when it compiles. */
export async function compileKernel(device: GPUDevice, kernel: KernelSpec): Promise<string[]> {
  const { messages, error } = await tryKernel(device, kernel);
  if (messages.length === 0) return error ? [`${kernel.name} pipeline: ${error.message}`] : [];
  return messages.map(({ lineNum, linePos, message }) => {
    const line = kernel.wgsl.split("\n")[lineNum - 1] ?? "";
    const caret = " ".repeat(Math.max(0, linePos - 1)) + "^";
    return `${kernel.name} ${lineNum}:${linePos} ${message}\n    ${line}\n    ${caret}`;
  });
}

/**
 * Compiles kernels on Dawn's null backend, with the default limits of WebGPU.
 * @returns every problem, in the order of the kernels
 */
export async function checkWgsl(kernels: readonly KernelSpec[]): Promise<string[]> {
  const gpu = create(["backend=null"]) as unknown as GPU;
  const adapter = await gpu.requestAdapter();
  if (!adapter) {
    throw new Error('Cannot check WGSL: the "webgpu" package gives no adapter of its null backend');
  }
  const features = new Set(kernels.flatMap((kernel) => kernel.features ?? []));
  const missing = [...features].filter((feature) => !adapter.features.has(feature));
  if (missing.length > 0) return [`Dawn's null backend lacks the features ${missing.join(", ")}`];
  const device = await adapter.requestDevice({ requiredFeatures: [...features] as GPUFeatureName[] });
  const problems: string[] = [];
  for (const kernel of kernels) problems.push(...await compileKernel(device, kernel));
  device.destroy();
  return problems;
}

if (import.meta.main) {
  const kernels = allKernels();
  const problems = await checkWgsl(kernels);
  for (const problem of problems) console.error(problem);
  console.log(`${kernels.length} kernels compiled by Dawn, ${problems.length} problems`);
  Deno.exit(problems.length === 0 ? 0 : 1);
}
