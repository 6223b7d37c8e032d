import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  currentDevice,
  defaultDevice,
  Device,
  type DeviceBuffer,
  DeviceLostError,
  GpuError,
  initDevice,
  NoAdapterError,
  OutOfDeviceMemoryError,
  ShaderCompileError,
} from "../../gpu/mod.ts";
import { trySubgroups, usesSubgroups } from "../../gpu/subgroups.ts";
import { trialCompile } from "../../gpu/trial_compile.ts";
import type { KernelSpec } from "../../kernels/kernel_spec.ts";
import { addKernel, download, storeKernel, upload, wordsOf } from "./probe.ts";

/** An adapter with these limits that hands out a real device and notes what was asked for. */
async function fakeAdapter(limits: Record<string, number>, features: string[] = []) {
  const real = (await navigator.gpu.requestAdapter())!;
  const asked: GPUDeviceDescriptor[] = [];
  const all: Record<string, unknown> = {};
  for (const name in real.limits) all[name] = (real.limits as unknown as Record<string, number>)[name];
  const adapter = {
    limits: { ...all, ...limits },
    features: new Set(features),
    info: real.info,
    requestDevice(descriptor: GPUDeviceDescriptor) {
      asked.push(descriptor);
      return real.requestDevice();
    },
  } as unknown as GPUAdapter;
  return { adapter, asked };
}

Deno.test("Device.create() asks for the smaller of its wish, the caller's and the adapter's limits", async () => {
  const { adapter, asked } = await fakeAdapter({
    maxStorageBufferBindingSize: 2 ** 40,
    maxBufferSize: 2 ** 28,
    maxComputeInvocationsPerWorkgroup: 128,
  }, ["shader-f16", "float32-filterable"]);
  const device = await Device.create({ adapter, limits: { maxComputeWorkgroupStorageSize: 20_000 } });
  const { requiredLimits, requiredFeatures } = asked[0];
  assertEquals(requiredLimits!.maxStorageBufferBindingSize, 4 * 2 ** 30 - 4);
  assertEquals(requiredLimits!.maxBufferSize, 2 ** 28);
  assertEquals(requiredLimits!.maxComputeInvocationsPerWorkgroup, 128);
  assertEquals(requiredLimits!.maxComputeWorkgroupStorageSize, 20_000);
  const { subgroupMinSize = 0, subgroupMaxSize = 0 } = adapter.info; // Deno's adapters do not list the feature
  const hasOneSize = subgroupMinSize > 1 && subgroupMinSize === subgroupMaxSize;
  assertEquals([...requiredFeatures!], ["shader-f16", ...hasOneSize ? ["subgroups"] : []]);
  device.destroy();
});

Deno.test("Device.create() keeps limits that are below WebGPU's own, and refuses bindings past them", async () => {
  const device = await Device.create({
    limits: { maxStorageBufferBindingSize: 4096, maxBufferSize: 2 ** 20 },
  });
  assertEquals(device.limits.maxStorageBufferBindingSize, 4096);
  assertEquals(device.limits.maxComputeWorkgroupsPerDimension, 65_535);
  const [x, y] = [device.acquire(8192), device.acquire(8192)];
  assertThrows(
    () => device.dispatch(addKernel, { x: wordsOf(x, 1025), y: wordsOf(y, 8) }, { size: 8, add: 0 }),
    RangeError,
    'Cannot bind "x" of kernel "probeAdd": at most 4096 bytes per binding are allowed, received 4100',
  );
  assertThrows(
    () => device.acquire(2 ** 20 + 4),
    OutOfDeviceMemoryError,
    "the device's largest buffer is 1048576",
  );
  device.destroy();
});

Deno.test("Device.create() adopts a caller's device and leaves it as it is", async () => {
  const adapter = (await navigator.gpu.requestAdapter())!;
  const own = await adapter.requestDevice({ label: "the caller's" });
  const device = await Device.create({ device: own });
  assertEquals(device.gpuDevice, own);
  assertEquals(device.gpuDevice.label, "the caller's");
  assertEquals(device.limits.maxBufferSize, own.limits.maxBufferSize);
  assertMatch(device.adapterName, /\w/);
  const y = upload(device, [5, 6]);
  assertEquals([...await download(device, wordsOf(y, 2))], [5, 6]);
  device.destroy();
});

Deno.test("Device.create() refuses what is no device, adapter or WebGPU entry point, and says what it got", async () => {
  const cases = [
    [null, "options such as { device } are required, received null"],
    [{ device: Promise.resolve() }, "device must be a GPUDevice, received a promise; await it"],
    [{ device: {} }, "device must be a GPUDevice, received an object without createBuffer"],
    [{ adapter: "gpu" }, "adapter must be a GPUAdapter, received a string"],
    [{ gpu: () => [] }, "gpu must be a GPU such as navigator.gpu, received a function; call it"],
  ] as const;
  for (const [options, message] of cases) {
    await assertRejects(
      () => Device.create(options as never),
      TypeError,
      `Cannot open the device: ${message}`,
    );
  }
});

Deno.test("a software adapter is told from its name or flag", async () => {
  const adapter = (await navigator.gpu.requestAdapter())!;
  const device = await defaultDevice();
  const software = /llvmpipe|swiftshader/i.test(`${adapter.info.description} ${adapter.info.device}`);
  assertEquals(device.isFallback, software, `${device.adapterName}`);
});

Deno.test("a software adapter's kernels hand values around in subgroups of its size, also on the caller's device", async () => {
  const device = await defaultDevice();
  const expected = /llvmpipe.*256 bits/i.test(device.adapterName)
    ? 8
    : /swiftshader/i.test(device.adapterName)
    ? 4
    : null;
  if (expected !== null) assertEquals(device.profile.subgroupSize, expected);
  assertEquals(device.features.has("subgroups"), device.profile.subgroupSize > 0);
  const adapter = (await navigator.gpu.requestAdapter())!;
  const plain = await Device.create({ device: await adapter.requestDevice() });
  assertEquals(plain.profile.subgroupSize, 0); // the caller did not ask for the feature
  plain.destroy();
  const again = (await navigator.gpu.requestAdapter())!;
  const requiredFeatures = ["subgroups" as GPUFeatureName].filter(() => device.profile.subgroupSize > 0);
  const adopted = await Device.create({ device: await again.requestDevice({ requiredFeatures }) });
  assertEquals(adopted.profile.subgroupSize, device.profile.subgroupSize);
  adopted.destroy();
});

Deno.test("trySubgroups() gives 0 where threads of a workgroup are not one subgroup, or it has several sizes", async () => {
  const { gpuDevice, profile } = await defaultDevice();
  if (profile.subgroupSize === 0) return;
  const info = (subgroupMinSize: number, subgroupMaxSize: number, isFallbackAdapter = true) =>
    ({ subgroupMinSize, subgroupMaxSize, isFallbackAdapter }) as GPUAdapterInfo;
  assertEquals(
    await trySubgroups(gpuDevice, info(profile.subgroupSize, profile.subgroupSize)),
    profile.subgroupSize,
  );
  assertEquals(await trySubgroups(gpuDevice, info(4 * profile.subgroupSize, 4 * profile.subgroupSize)), 0);
  assertEquals(await trySubgroups(gpuDevice, info(4, 64)), 0);
  // nothing is tried, and no feature asked for, on hardware, where kernels do not use it
  assertEquals(await trySubgroups(gpuDevice, info(profile.subgroupSize, profile.subgroupSize, false)), 0);
  assertEquals([usesSubgroups(info(32, 32, false)), usesSubgroups(info(8, 8))], [false, true]);
});

Deno.test("initDevice() makes the default device, which currentDevice() and defaultDevice() give", async () => {
  const device = await initDevice({ memoryLimitBytes: 2 ** 30 });
  assertEquals(currentDevice(), device);
  assertEquals(await defaultDevice(), device);
  assertEquals(device.memory.limitBytes, 2 ** 30);
});

Deno.test("any uncaptured WebGPU error poisons the device: reads, launches and submissions throw it", async () => {
  const device = await Device.create();
  const y = upload(device, [1, 2, 3]);
  // Past 65,535 workgroups without the library's fold: WebGPU drops the launch and every result reads as zeros.
  const module = device.gpuDevice.createShaderModule({ code: "@compute @workgroup_size(1) fn main() {}" });
  const pipeline = device.gpuDevice.createComputePipeline({ layout: "auto", compute: { module } });
  const encoder = device.gpuDevice.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.dispatchWorkgroups(65_536);
  pass.end();
  device.gpuDevice.queue.submit([encoder.finish()]);
  await assertRejects(
    () => device.read(wordsOf(y, 3)),
    GpuError,
    "Cannot trust the device's results: WebGPU reported",
  );
  assertThrows(() => device.dispatch(storeKernel, { y: wordsOf(y, 3) }, { at: 0, value: 1 }), GpuError);
  assertThrows(() => device.acquire(4), GpuError);
  assertThrows(() => device.submit(), GpuError);
  await assertRejects(() => device.sync(), GpuError);
  device.destroy();
});

Deno.test("a binding that WebGPU refuses poisons the device instead of giving zeros", async () => {
  const device = await Device.create();
  const y = upload(device, [1, 2, 3]);
  const module = device.gpuDevice.createShaderModule({
    code: `@group(0) @binding(0) var<storage, read_write> y: array<u32>;
      @compute @workgroup_size(1) fn main() { y[0] = 1u; }`,
  });
  const pipeline = device.gpuDevice.createComputePipeline({ layout: "auto", compute: { module } });
  device.gpuDevice.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [{ binding: 0, resource: { buffer: y.gpuBuffer, offset: 4, size: 8 } }], // offsets are multiples of 256
  });
  await assertRejects(() => device.read(wordsOf(y, 3)), GpuError, "Cannot trust the device's results");
  device.destroy();
});

Deno.test("a kernel that does not compile is an error with its name, line, column and excerpt", async () => {
  const device = await Device.create();
  const y = upload(device, [0]);
  const broken = {
    ...storeKernel,
    name: "probeBroken",
    wgsl: storeKernel.wgsl.replace("params.value", "missing"),
  };
  device.dispatch(broken, { y: wordsOf(y, 1) }, { at: 0, value: 1 });
  const error = await assertRejects(() => device.read(wordsOf(y, 1)), ShaderCompileError);
  assertMatch(error.message, /^Cannot compile kernel "probeBroken" at 6:\d+: /);
  assertStringIncludes(error.message, ">    6 | fn main() { y[params.at] = missing; }");
  assertStringIncludes(error.message, "     5 | @compute @workgroup_size(1)");
  await assertRejects(() => device.read(wordsOf(y, 1)), ShaderCompileError);
  device.destroy();
});

Deno.test("destroy() makes every later use an error", async () => {
  const device = await Device.create();
  const y = upload(device, [1]);
  device.destroy();
  const message = "Cannot use the device: it was destroyed";
  await assertRejects(() => device.read(wordsOf(y, 1)), DeviceLostError, message);
  assertThrows(() => device.acquire(4), DeviceLostError, message);
  assertThrows(() => device.write(wordsOf(y, 1), Uint32Array.of(1)), DeviceLostError, message);
});

/** Things that are done to a device that was lost a moment ago, before anybody was told. */
const AFTER_LOSS: Record<string, (device: Device, y: DeviceBuffer, lost: GPUDevice) => Promise<unknown>> = {
  read: (device, y) => device.read(wordsOf(y, 2)),
  "read after a launch": (device, y) => {
    device.dispatch(storeKernel, { y: wordsOf(y, 2) }, { at: 0, value: 9 });
    return device.read(wordsOf(y, 2));
  },
  "read after a write": (device, y) => {
    device.write(wordsOf(y, 2), Uint32Array.of(1, 2));
    return device.read(wordsOf(y, 2));
  },
  sync: (device, y) => {
    device.dispatch(storeKernel, { y: wordsOf(y, 2) }, { at: 0, value: 9 });
    return device.sync();
  },
  "compile of a new kernel": (device, y) => {
    device.dispatch({ ...storeKernel, name: "probeNew" }, { y: wordsOf(y, 2) }, { at: 0, value: 1 });
    return device.read(wordsOf(y, 2));
  },
  "compile of a new kernel, then sync": (device, y) => {
    device.dispatch({ ...storeKernel, name: "probeNewer" }, { y: wordsOf(y, 2) }, { at: 0, value: 1 });
    return device.sync();
  },
  "trial compile": (device) => trialCompile(device, storeKernel as unknown as KernelSpec),
  "several reads at once": (device, y) =>
    Promise.all([device.read(wordsOf(y, 1)), device.read(wordsOf(y, 2)), device.read(wordsOf(y, 2))]),
  create: (_, __, lost) => Device.create({ device: lost }),
};
for (const [name, use] of Object.entries(AFTER_LOSS)) {
  Deno.test(`a device lost under the library is a DeviceLostError at once: ${name}`, async () => {
    const device = await Device.create();
    const y = upload(device, [1, 2]);
    await device.sync();
    device.gpuDevice.destroy();
    const start = performance.now();
    await assertRejects(
      () => use(device, y, device.gpuDevice),
      DeviceLostError,
      "Cannot use the device: it is lost",
    );
    for (const later of [() => device.acquire(4), () => device.submit(), () => device.capture(() => 1)]) {
      await device.gpuDevice.lost;
      assertThrows(later, DeviceLostError, "Cannot use the device: it is lost");
    }
    assert(performance.now() - start < 2000);
  });
}

Deno.test("tensors of two devices in one call are refused before any of them is harmed", async () => {
  const [one, two] = [await Device.create(), await Device.create()];
  const [x, y] = [upload(one, [1, 2]), upload(two, [3, 4])];
  const message = "all tensors must be on one device, received tensors of two";
  const calls: (() => void)[] = [
    () => one.dispatch(addKernel, { x: wordsOf(x, 2), y: wordsOf(y, 2) }, { size: 2, add: 1 }),
    () => two.dispatch(addKernel, { x: wordsOf(x, 2), y: wordsOf(y, 2) }, { size: 2, add: 1 }),
    () => one.copy(wordsOf(x, 2), wordsOf(y, 2)),
    () => one.copy(wordsOf(y, 2), wordsOf(x, 2)),
    () => one.write(wordsOf(y, 2), Uint32Array.of(7, 8)),
    () => one.release(y),
  ];
  for (const call of calls) assertThrows(call, TypeError, message);
  await assertRejects(() => one.read(wordsOf(y, 2)), TypeError, message);
  assertEquals([...await download(one, wordsOf(x, 2))], [1, 2]);
  assertEquals([...await download(two, wordsOf(y, 2))], [3, 4]);
  one.destroy();
  two.destroy();
});

Deno.test("Device.create() without WebGPU, or with one that takes no driver, says what helps", async () => {
  const none = { requestAdapter: () => Promise.resolve(null) } as unknown as GPU;
  const refused = await assertRejects(() => Device.create({ gpu: none }), NoAdapterError);
  assertEquals(
    refused.message,
    "Cannot find a WebGPU adapter: the given gpu accepts no driver of this machine; Dawn (npm webgpu, Chromium) asks more of a driver than Deno, so a newer driver is required, or SwiftShader (its file in VK_DRIVER_FILES)",
  );
  for (
    const [gpu, message] of [
      [none, "a GPU driver is required, or a software one (Debian: apt-get install mesa-vulkan-drivers)"],
      [
        undefined,
        'in Node the npm package "webgpu" is required (initDevice({ gpu: create([]) }) with its create)',
      ],
    ] as const
  ) {
    const descriptor = Object.getOwnPropertyDescriptor(globalThis, "navigator")!;
    Object.defineProperty(globalThis, "navigator", { value: { gpu }, configurable: true });
    try {
      await assertRejects(() => Device.create(), NoAdapterError, message);
    } finally {
      Object.defineProperty(globalThis, "navigator", descriptor);
    }
  }
});

Deno.test("a device keeps the caller's gpu object from being collected", async () => {
  setFlagsFromString("--expose-gc");
  const gc: () => void = runInNewContext("gc");
  const make = async (): Promise<[Device, WeakRef<GPU>, WeakRef<object>]> => {
    const gpu = { requestAdapter: () => navigator.gpu.requestAdapter() } as unknown as GPU;
    return [await Device.create({ gpu }), new WeakRef(gpu), new WeakRef({})];
  };
  const [device, gpu, other] = await make();
  for (let i = 0; i < 20; i++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    gc();
  }
  assertEquals(other.deref(), undefined, "the collector ran");
  assert(gpu.deref() !== undefined, "the gpu of a device in use was collected");
  const y = upload(device, [5]);
  assertEquals([...await download(device, wordsOf(y, 1))], [5]);
  device.destroy();
});
