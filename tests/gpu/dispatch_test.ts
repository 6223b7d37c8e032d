import { assert, assertEquals, assertThrows } from "@std/assert";
import { defaultDevice, Device } from "../../gpu/mod.ts";
import { addKernel, download, storeKernel, upload, wordsOf } from "./probe.ts";

async function freshDevice(): Promise<Device> {
  return Device.create({ device: (await defaultDevice()).gpuDevice });
}

Deno.test("dispatch() past 65,535 workgroups reaches every element once", async () => {
  const device = await freshDevice();
  for (const size of [65_534, 65_535, 65_536, 65_537, 131_070, 131_071, 200_003]) {
    const x = upload(device, Uint32Array.from({ length: size }, (_, i) => i));
    const y = upload(device, new Uint32Array(size).fill(7));
    device.dispatch(addKernel, { x: wordsOf(x, size), y: wordsOf(y, size) }, { size, add: 10 });
    const values = await download(device, wordsOf(y, size));
    const wrong = values.findIndex((v, i) => v !== i + 10);
    assertEquals(wrong, -1, `size ${size}, first wrong index`);
    device.release(x);
    device.release(y);
  }
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("dispatch() of no workgroups is dropped, of too many in a fixed dimension refused", async () => {
  const device = await freshDevice();
  const x = upload(device, [1]);
  const before = device.stats.dispatches;
  device.dispatch(addKernel, { x: wordsOf(x, 1), y: wordsOf(x, 1) }, { size: 0, add: 0 });
  assertEquals(device.stats.dispatches, before);
  const tall = { ...storeKernel, name: "probeTall", grid: () => [1, 65_536] as const };
  assertThrows(
    () => device.dispatch(tall, { y: wordsOf(x, 1) }, { at: 0, value: 0 }),
    RangeError,
    'Cannot launch "probeTall": at most 65535 workgroups per dimension are allowed, received [1, 65536, 1]',
  );
  device.release(x);
});

Deno.test("dispatch() keeps the parameters of 5,000 launches apart, over several submissions", async () => {
  const device = await freshDevice();
  const count = 5000;
  const y = upload(device, new Uint32Array(count));
  const before = device.stats;
  for (let i = 0; i < count; i++) {
    device.dispatch(storeKernel, { y: wordsOf(y, count) }, { at: i, value: 3 * i + 1 });
  }
  const values = await download(device, wordsOf(y, count));
  assertEquals(values.findIndex((v, i) => v !== 3 * i + 1), -1);
  assertEquals(device.stats.dispatches - before.dispatches, count);
  assertEquals(device.stats.submissions - before.submissions, 3, "2,048 launches a submission");
  device.release(y);
});

Deno.test("dispatch() runs launches in the order they were appended", async () => {
  const device = await freshDevice();
  const [a, b] = [upload(device, [1, 2, 3]), upload(device, [0, 0, 0])];
  for (let i = 0; i < 50; i++) {
    device.dispatch(addKernel, { x: wordsOf(a, 3), y: wordsOf(b, 3) }, { size: 3, add: 1 });
    device.dispatch(addKernel, { x: wordsOf(b, 3), y: wordsOf(a, 3) }, { size: 3, add: 1 });
  }
  assertEquals([...await download(device, wordsOf(a, 3))], [101, 102, 103]);
  device.release(a);
  device.release(b);
});

Deno.test("dispatch() takes tuning constants, a pipeline for each choice", async () => {
  const device = await freshDevice();
  const [x, y] = [upload(device, [...Array(100).keys()]), upload(device, new Uint32Array(100))];
  const views = { x: wordsOf(x, 100), y: wordsOf(y, 100) };
  const before = device.stats.pipelines;
  for (const WORKGROUP_SIZE of [1, 64, 33, 64]) {
    device.dispatch(addKernel, views, { size: 100, add: WORKGROUP_SIZE }, { WORKGROUP_SIZE });
    const values = await download(device, wordsOf(y, 100));
    assertEquals(values.findIndex((v, i) => v !== i + WORKGROUP_SIZE), -1, `${WORKGROUP_SIZE}`);
  }
  assertEquals(device.stats.pipelines - before, 3);
  device.release(x);
  device.release(y);
});

Deno.test("devices on one GPUDevice compile a kernel once, and anew after an error", async () => {
  const { gpuDevice } = await Device.create(); // of this test alone: it fails on purpose
  let compiled = 0;
  const { createComputePipeline } = gpuDevice;
  gpuDevice.createComputePipeline = (descriptor) => {
    if (descriptor.label === addKernel.name) compiled++;
    return createComputePipeline.call(gpuDevice, descriptor);
  };
  const launch = async () => {
    const device = await Device.create({ device: gpuDevice });
    const [x, y] = [upload(device, [1, 2, 3]), upload(device, [0, 0, 0])];
    for (const add of [5, 7]) {
      device.dispatch(addKernel, { x: wordsOf(x, 3), y: wordsOf(y, 3) }, { size: 3, add });
      assertEquals([...await download(device, wordsOf(y, 3))], [1 + add, 2 + add, 3 + add]);
    }
    assertEquals(device.stats.pipelines, 1);
    for (const buffer of [x, y]) device.release(buffer);
  };
  await launch();
  await launch();
  assertEquals(compiled, 1);
  const reported = new Promise((resolve) =>
    gpuDevice.addEventListener("uncapturederror", resolve, { once: true })
  );
  gpuDevice.createBuffer({ size: 4, usage: 0xffff }); // no such usage
  await reported;
  await launch();
  assertEquals(compiled, 2);
  gpuDevice.destroy();
});

Deno.test("write() happens after the launches before it and before those after it", async () => {
  const device = await freshDevice();
  const x = upload(device, [1, 1]);
  const ys = [0, 1, 2].map(() => device.acquire(8));
  for (const [i, y] of ys.entries()) {
    device.write(wordsOf(x, 2), Uint32Array.of(10 * i, 10 * i + 1));
    device.dispatch(addKernel, { x: wordsOf(x, 2), y: wordsOf(y, 2) }, { size: 2, add: 5 });
  }
  const read = await Promise.all(ys.map((y) => download(device, wordsOf(y, 2))));
  assertEquals(read.map((words) => [...words]), [[5, 6], [15, 16], [25, 26]]);
  for (const buffer of [x, ...ys]) device.release(buffer);
});

Deno.test("write() takes any number of bytes at any multiple of 256", async () => {
  const device = await freshDevice();
  const buffer = upload(device, new Uint32Array(256));
  for (const length of [1, 2, 3, 4, 5, 6, 7, 255]) {
    const bytes = Uint8Array.from({ length }, (_, i) => i + 1);
    device.write({ buffer, offset: 256, size: length }, bytes);
    assertEquals(await device.read({ buffer, offset: 256, size: length }), bytes);
  }
  const more = await device.read({ buffer, offset: 0, size: 256 });
  assert(more.every((byte) => byte === 0), "nothing before the offset");
  device.release(buffer);
});

Deno.test("copy() moves bytes in order with launches", async () => {
  const device = await freshDevice();
  const [x, y] = [upload(device, [1, 2, 3, 4]), upload(device, [0, 0, 0, 0])];
  device.dispatch(addKernel, { x: wordsOf(x, 4), y: wordsOf(y, 4) }, { size: 4, add: 1 });
  device.copy(wordsOf(y, 4), wordsOf(x, 4));
  device.dispatch(storeKernel, { y: wordsOf(y, 4) }, { at: 0, value: 99 });
  assertEquals([...await download(device, wordsOf(x, 4))], [2, 3, 4, 5]);
  assertEquals([...await download(device, wordsOf(y, 4))], [99, 3, 4, 5]);
  device.release(x);
  device.release(y);
});

Deno.test("bind groups are made once: the same launches on the same buffers only hit", async () => {
  const device = await freshDevice();
  const step = () => {
    const [a, b] = [device.acquire(4000), device.acquire(4000)];
    device.dispatch(addKernel, { x: wordsOf(a, 10), y: wordsOf(b, 10) }, { size: 10, add: 1 });
    device.dispatch(addKernel, { x: wordsOf(b, 10), y: wordsOf(a, 10) }, { size: 10, add: 1 });
    device.release(a);
    device.release(b);
    device.submit();
  };
  step();
  const first = device.stats;
  assertEquals(first.bindGroupMisses, 2);
  for (let i = 0; i < 10; i++) step();
  assertEquals(device.stats.bindGroupMisses, 2);
  assertEquals(device.stats.bindGroupHits, first.bindGroupHits + 20);
});

Deno.test("bind groups are dropped with their buffers", async () => {
  const device = await freshDevice();
  const launch = async (value: number) => {
    const y = device.acquire(4);
    device.dispatch(storeKernel, { y: wordsOf(y, 1) }, { at: 0, value });
    assertEquals([...await download(device, wordsOf(y, 1))], [value]);
    device.release(y);
  };
  await launch(1);
  device.trim();
  await launch(2); // another buffer: the old bind group would write into a destroyed one
  assertEquals(device.stats.bindGroupMisses, 2);
});

Deno.test("bind groups are bounded in number, and the latest stay", async () => {
  const device = await freshDevice();
  const windows = 9000;
  const y = device.acquire(256 * windows);
  const store = (i: number) =>
    device.dispatch(storeKernel, { y: { buffer: y, offset: 256 * i, size: 4 } }, { at: 0, value: i });
  for (let i = 0; i < windows; i++) store(i);
  assert(device.stats.bindGroups <= 8192, `${device.stats.bindGroups}`);
  assertEquals(y.dependents.size, device.stats.bindGroups);
  const { bindGroupMisses } = device.stats;
  for (let i = windows - 4000; i < windows; i++) store(i);
  assertEquals(device.stats.bindGroupMisses, bindGroupMisses);
  const values = await download(device, { buffer: y, offset: 0, size: 256 * windows });
  for (let i = 0; i < windows; i++) assertEquals(values[64 * i], i);
  device.release(y);
  device.trim();
  assertEquals(device.stats.bindGroups, 0);
});
