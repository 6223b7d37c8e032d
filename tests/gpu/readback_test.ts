import { assertEquals } from "@std/assert";
import { defaultDevice, Device } from "../../gpu/mod.ts";
import { addKernel, download, storeKernel, upload, wordsOf } from "./probe.ts";

async function freshDevice(): Promise<Device> {
  return Device.create({ device: (await defaultDevice()).gpuDevice });
}

Deno.test("read() gives the bytes asked for: any length, any multiple of 256 as offset", async () => {
  const device = await freshDevice();
  const bytes = Uint8Array.from({ length: 4096 }, (_, i) => i * 7);
  const buffer = device.acquire(4096);
  device.write({ buffer, offset: 0, size: 4096 }, bytes);
  for (const [offset, size] of [[0, 1], [0, 4096], [256, 3], [512, 255], [3840, 256], [1024, 1021], [0, 0]]) {
    assertEquals(await device.read({ buffer, offset, size }), bytes.subarray(offset, offset + size).slice());
  }
  device.release(buffer);
});

Deno.test("reads of one turn share a submission and each see what was appended before them", async () => {
  const device = await freshDevice();
  const y = upload(device, [0, 0]);
  const before = device.stats.submissions;
  const reads = [1, 2, 3].map((value) => {
    device.dispatch(storeKernel, { y: wordsOf(y, 2) }, { at: 1, value });
    return download(device, wordsOf(y, 2));
  });
  assertEquals((await Promise.all(reads)).map((words) => words[1]), [1, 2, 3]);
  assertEquals(device.stats.submissions - before, 1);
  device.release(y);
});

Deno.test("forty reads at once and a hundred after each other give the right values", async () => {
  const device = await freshDevice();
  const buffers = Array.from({ length: 40 }, (_, i) => upload(device, new Uint32Array(i + 1).fill(i)));
  const together = await Promise.all(buffers.map((buffer, i) => download(device, wordsOf(buffer, i + 1))));
  together.forEach((words, i) => assertEquals([...words], new Array(i + 1).fill(i)));
  const x = buffers[0];
  for (let i = 1; i <= 100; i++) {
    device.dispatch(storeKernel, { y: wordsOf(x, 1) }, { at: 0, value: i });
    assertEquals([...await download(device, wordsOf(x, 1))], [i]);
  }
  for (const buffer of buffers) device.release(buffer);
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("a read of more than one staging buffer comes back whole", async () => {
  const device = await freshDevice();
  const size = 16 * 2 ** 20 + 12_345; // words: a little over 64 MiB
  const x = device.acquire(size * 4);
  device.write(wordsOf(x, size), Uint32Array.from({ length: size }, (_, i) => i));
  const y = device.acquire(size * 4);
  const views = { x: wordsOf(x, size), y: wordsOf(y, size) };
  device.dispatch(addKernel, views, { size, add: 1 }, { WORKGROUP_SIZE: 256 });
  const words = await download(device, wordsOf(y, size));
  assertEquals(words.findIndex((v, i) => v !== i + 1), -1);
  device.release(x);
  device.release(y);
  device.trim();
});
