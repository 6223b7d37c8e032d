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
  DeviceLostError,
  GpuError,
  initDevice,
  NoAdapterError,
  OutOfDeviceMemoryError,
  ShaderCompileError,
} from "../../gpu/mod.ts";
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
  assertEquals([...requiredFeatures!], ["shader-f16"]);
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
    'Cannot bind "x" of kernel "probeAdd": at most 4096 bytes a binding are allowed, received 4100',
  );
  assertThrows(
    () => device.acquire(2 ** 20 + 4),
    OutOfDeviceMemoryError,
    "the device's largest buffer is 1048576",
  );
  device.destroy();
});

Deno.test("Device.create() without an adapter or WebGPU says what is missing", async () => {
  const none = { requestAdapter: () => Promise.resolve(null) } as unknown as GPU;
  await assertRejects(
    () => Device.create({ gpu: none }),
    NoAdapterError,
    "Cannot find a WebGPU adapter: a GPU driver is required, or a software one (Debian: apt-get install mesa-vulkan-drivers)",
  );
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

Deno.test("a software adapter is told from its name or flag", async () => {
  const adapter = (await navigator.gpu.requestAdapter())!;
  const device = await defaultDevice();
  const software = /llvmpipe|swiftshader/i.test(`${adapter.info.description} ${adapter.info.device}`);
  assertEquals(device.isFallback, software, `${device.adapterName}`);
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

Deno.test("a device lost under the library ends reads with DeviceLostError within two seconds", async () => {
  const device = await Device.create();
  const y = upload(device, [1, 2]);
  device.dispatch(storeKernel, { y: wordsOf(y, 2) }, { at: 0, value: 9 });
  device.gpuDevice.destroy();
  const start = performance.now();
  await assertRejects(() => device.read(wordsOf(y, 2)), Error);
  await device.gpuDevice.lost;
  await assertRejects(() => device.read(wordsOf(y, 2)), DeviceLostError, "Cannot use the device: it is lost");
  assert(performance.now() - start < 2000);
});
