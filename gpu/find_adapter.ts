/**
 * The WebGPU entry point and its adapter, or an error that says why there is none.
 * @module
 */

import { NoAdapterError } from "./errors.ts";

/** What to ask for. */
export interface AdapterRequest {
  /** The entry point; default `navigator.gpu`. */
  readonly gpu?: GPU;
  readonly powerPreference?: GPUPowerPreference;
}

/** @throws {NoAdapterError} if there is no WebGPU or no adapter */
export async function findAdapter({ gpu, powerPreference = "high-performance" }: AdapterRequest) {
  const entry = gpu ?? globalThis.navigator?.gpu;
  if (!entry) {
    throw new NoAdapterError(
      'Cannot find WebGPU: Deno, a browser with WebGPU, or in Node the npm package "webgpu" is required (initDevice({ gpu: create([]) }) with its create), or a GPUDevice of your own',
    );
  }
  const adapter = await entry.requestAdapter({ powerPreference });
  if (adapter) return adapter;
  throw new NoAdapterError(
    gpu
      ? "Cannot find a WebGPU adapter: the given gpu accepts no driver of this machine; Dawn (npm webgpu, Chromium) asks more of a driver than Deno, so a newer driver is required, or SwiftShader (its file in VK_DRIVER_FILES)"
      : "Cannot find a WebGPU adapter: a GPU driver is required, or a software one (Debian: apt-get install mesa-vulkan-drivers)",
  );
}
