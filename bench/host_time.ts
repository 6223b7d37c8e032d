/**
 * How much of a step's JavaScript is ours and how much is spent inside WebGPU: the same step is recorded once more with a
 * driver that does nothing.
 * @module
 */
import type { Device } from "../gpu/mod.ts";
import { median } from "./harness.ts";

const nothing = () => {};

/** A pass, encoder and queue that take commands and forget them. */
const EMPTY_PASS = {
  setPipeline: nothing,
  setBindGroup: nothing,
  dispatchWorkgroups: nothing,
  end: nothing,
};
const EMPTY_ENCODER = {
  beginComputePass: () => EMPTY_PASS,
  copyBufferToBuffer: nothing,
  finish: () => null,
};

/** Runs `work` with the device's encoder and queue replaced; nothing reaches the driver. */
function withoutDriver<T>(device: Device, work: () => T): T {
  const { gpuDevice } = device;
  const { queue } = gpuDevice;
  Object.defineProperty(gpuDevice, "createCommandEncoder", {
    value: () => EMPTY_ENCODER,
    configurable: true,
  });
  Object.defineProperty(queue, "submit", { value: nothing, configurable: true });
  Object.defineProperty(queue, "writeBuffer", { value: nothing, configurable: true });
  try {
    return work();
  } finally { // the prototype's own methods show again
    Reflect.deleteProperty(gpuDevice, "createCommandEncoder");
    Reflect.deleteProperty(queue, "submit");
    Reflect.deleteProperty(queue, "writeBuffer");
  }
}

/**
 * Median milliseconds of JavaScript of one `launch` (submission included) without any driver. `launch` must need no
 * result of the device. What the device holds is unchanged.
 */
export function ownTime(device: Device, launch: () => { dispose(): void } | void, rounds = 30): number {
  device.submit();
  return withoutDriver(device, () => {
    const times: number[] = [];
    for (let i = 0; i < rounds; i++) {
      const start = performance.now();
      launch();
      device.submit();
      times.push(performance.now() - start);
    }
    return median(times);
  });
}
