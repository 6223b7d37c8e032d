import { assert, assertEquals, assertThrows } from "@std/assert";
import { sizeClass } from "../../gpu/buffer_pool.ts";
import { defaultDevice, Device, OutOfDeviceMemoryError } from "../../gpu/mod.ts";
import { download, upload, wordsOf } from "./probe.ts";

async function freshDevice(memoryLimitBytes?: number): Promise<Device> {
  return Device.create({ device: (await defaultDevice()).gpuDevice, memoryLimitBytes });
}

Deno.test("sizeClass() wastes at most an eighth, is a multiple of 256 and never shrinks", () => {
  let last = 0;
  for (let size = 1; size < 2 ** 30; size += 1 + Math.floor(size / 37)) {
    const bytes = sizeClass(size);
    assert(bytes >= size && bytes % 256 === 0 && bytes >= last, `${size} -> ${bytes}`);
    assert(bytes <= Math.max(size + 256, size * 1.125 + 1), `${size} -> ${bytes}`);
    assertEquals(sizeClass(bytes), bytes);
    last = bytes;
  }
  assertEquals([1, 256, 257, 2048, 2049, 4096, 4097].map(sizeClass), [256, 256, 512, 2048, 2304, 4096, 4608]);
});

Deno.test("acquire() of what lasts takes whole 256 bytes and no more, and such a buffer is reused by its size", async () => {
  const device = await freshDevice();
  for (const [size, bytes] of [[1, 256], [256, 256], [207_360, 207_360], [207_361, 207_616]]) {
    const buffer = device.acquire(size, true);
    assertEquals(device.memory.liveBytes, bytes);
    device.release(buffer);
    assertEquals(device.acquire(bytes, true).id, buffer.id);
    device.release(buffer);
    device.trim();
  }
});

Deno.test("acquire() and release() keep the ledger: live, idle, peak, count", async () => {
  const device = await freshDevice();
  const a = device.acquire(1000);
  const b = device.acquire(300);
  assertEquals(device.memory, {
    liveBytes: 1536,
    idleBytes: 0,
    peakBytes: 1536,
    limitBytes: Infinity,
    buffers: 2,
  });
  device.release(a);
  assertEquals({ ...device.memory }, { ...device.memory, liveBytes: 512, idleBytes: 1024, buffers: 1 });
  const c = device.acquire(900); // the same class: reused
  assertEquals(c.id, a.id);
  assertEquals(device.memory.peakBytes, 1536);
  device.release(b);
  device.release(c);
  device.resetPeakMemory();
  assertEquals(device.memory.peakBytes, 1536, "idle bytes are allocated too");
  device.trim();
  device.resetPeakMemory();
  assertEquals(device.memory, { liveBytes: 0, idleBytes: 0, peakBytes: 0, limitBytes: Infinity, buffers: 0 });
});

Deno.test("acquire() hands out the same buffers in the same order for the same sequence of calls", async () => {
  const device = await freshDevice();
  const step = () => {
    const ids: number[] = [];
    const take = (bytes: number) => {
      const buffer = device.acquire(bytes);
      ids.push(buffer.id);
      return buffer;
    };
    const [a, b] = [take(1000), take(1000)];
    device.release(a);
    const c = take(1000);
    const d = take(5000);
    device.release(b);
    const e = take(1000);
    for (const buffer of [e, c, d]) device.release(buffer);
    return ids;
  };
  step();
  const second = step();
  for (let i = 0; i < 5; i++) assertEquals(step(), second);
});

Deno.test("the limit refuses an allocation by name and number, and the device goes on", async () => {
  const device = await freshDevice(100_000);
  const kept = upload(device, [1, 2, 3]);
  const big = device.acquire(60_000);
  assertThrows(
    () => device.acquire(70_000),
    OutOfDeviceMemoryError,
    `Cannot allocate 70000 bytes on the device: the limit is 100000 bytes, ${256 + 61_440} are in use`,
  );
  assertEquals(device.memory.liveBytes, 256 + 61_440);
  assertEquals([...await download(device, wordsOf(kept, 3))], [1, 2, 3]);
  device.release(big);
  const instead = device.acquire(70_000); // idle buffers make room
  assertEquals(device.memory.idleBytes, 0);
  assert(device.memory.liveBytes <= 100_000);
  device.release(instead);
  device.memoryLimitBytes = 1000;
  device.trim();
  assertThrows(() => device.acquire(2000), OutOfDeviceMemoryError, "the limit is 1000 bytes");
  device.release(kept);
});

Deno.test("acquire() past the device's largest buffer is an error that names both sizes", async () => {
  const device = await freshDevice();
  const most = device.limits.maxBufferSize;
  assertThrows(
    () => device.acquire(most + 4),
    OutOfDeviceMemoryError,
    `Cannot allocate a buffer of ${most + 4} bytes: the device's largest buffer is ${most} bytes`,
  );
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("trim() gives idle buffers back and leaves commands that wait their data", async () => {
  const device = await freshDevice();
  const [x, y] = [upload(device, [4, 5]), device.acquire(8)];
  device.copy(wordsOf(x, 2), wordsOf(y, 2));
  device.release(x);
  device.trim(); // x is destroyed only after the copy from it is submitted
  assertEquals(device.memory.idleBytes, 0);
  assertEquals([...await download(device, wordsOf(y, 2))], [4, 5]);
  device.release(y);
});
