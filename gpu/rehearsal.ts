/**
 * A WebGPU device without memory or arithmetic: buffers have a size alone, launches do nothing, reads give zeros. What
 * runs on it fills the ledger of its pool as it would on a real device.
 * @module
 */

const nothing = (): void => {};

/** A buffer's stand-in. */
function bufferOf({ size, label = "" }: GPUBufferDescriptor): object {
  return {
    ...{ size, label, unmap: nothing, destroy: nothing },
    mapAsync: () => Promise.resolve(),
    getMappedRange: (offset = 0, length = size - offset) => new ArrayBuffer(length),
  };
}

/** A device with the limits and features of `like`. */
export function rehearsalOf(like: GPUDevice, limits: GPUSupportedLimits): GPUDevice {
  const layout = () => ({});
  const pipeline = { getBindGroupLayout: layout };
  const pass = {
    ...{ setPipeline: nothing, setBindGroup: nothing, dispatchWorkgroups: nothing, end: nothing },
  };
  const encoder = {
    ...{ copyBufferToBuffer: nothing, clearBuffer: nothing, resolveQuerySet: nothing, finish: () => ({}) },
    beginComputePass: () => pass,
  };
  const device = {
    limits,
    features: like.features,
    adapterInfo: like.adapterInfo,
    lost: new Promise(nothing),
    queue: { writeBuffer: nothing, submit: nothing, onSubmittedWorkDone: () => Promise.resolve() },
    createBuffer: bufferOf,
    createShaderModule: () => ({ getCompilationInfo: () => Promise.resolve({ messages: [] }) }),
    createBindGroupLayout: layout,
    createPipelineLayout: layout,
    createBindGroup: layout,
    createQuerySet: () => ({ destroy: nothing }),
    createComputePipeline: () => pipeline,
    createComputePipelineAsync: () => Promise.resolve(pipeline),
    createCommandEncoder: () => encoder,
    pushErrorScope: nothing,
    popErrorScope: () => Promise.resolve(null),
    addEventListener: nothing,
    removeEventListener: nothing,
    destroy: nothing,
  };
  return device as unknown as GPUDevice;
}
