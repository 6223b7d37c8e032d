import { assert, assertEquals, assertThrows } from "@std/assert";
import { defaultDevice, HostRandom, RandomState } from "../../autograd/mod.ts";
import { philox4x32 } from "../../autograd/host_random.ts";
import { Device } from "../../gpu/mod.ts";
import type { KernelSpec } from "../../kernels/kernel_spec.ts";
import { philoxSnippet } from "../../kernels/snippets.ts";
import { philoxReference } from "../reference/attention.ts";

/** Random123's kat_vectors for philox4x32 with 10 rounds: counter, key, result. */
const KNOWN = [
  [[0, 0, 0, 0], [0, 0], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]],
  [
    [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
    [0xffffffff, 0xffffffff],
    [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
  ],
  [
    [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
    [0xa4093822, 0x299f31d0],
    [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  ],
];

Deno.test("philox4x32() gives Random123's known answers", () => {
  for (const [counter, key, expected] of KNOWN) assertEquals(philox4x32(counter, key), expected);
});

/** Runs the kernels' own generator on counters and keys, six words each. */
const philoxKernel: KernelSpec<"x" | "y"> = {
  name: "philoxProbe",
  buffers: { x: "read", y: "read_write" },
  params: {},
  tuning: {},
  grid: () => [64],
  wgsl: `${philoxSnippet}
@group(0) @binding(0) var<storage, read> x: array<u32>; // [64, 6]
@group(0) @binding(1) var<storage, read_write> y: array<vec4u>; // [64]
@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) id: vec3u) {
  let at = id.x * 6u;
  let counter = vec4u(x[at], x[at + 1u], x[at + 2u], x[at + 3u]);
  y[id.x] = philox4x32(counter, vec2u(x[at + 4u], x[at + 5u]));
}`,
};

Deno.test("philox4x32() on the device is philox4x32() on the host and of 64-bit arithmetic", async () => {
  const device = await defaultDevice();
  const rows = KNOWN.map(([counter, key]) => [...counter, ...key]);
  const host = new HostRandom(99);
  while (rows.length < 64) rows.push(Array.from({ length: 6 }, () => host.nextWord()));
  const [x, y] = [device.acquire(64 * 24), device.acquire(64 * 16)];
  const view = (buffer: typeof x, size: number) => ({ buffer, offset: 0, size });
  device.write(view(x, 64 * 24), Uint32Array.from(rows.flat()));
  device.dispatch(philoxKernel, { x: view(x, 64 * 24), y: view(y, 64 * 16) }, {});
  const bytes = await device.read(view(y, 64 * 16));
  const expected = rows.flatMap((row) => philoxReference(row.slice(0, 4), row.slice(4)));
  assertEquals([...new Uint32Array(bytes.buffer)], expected);
  assertEquals(rows.flatMap((row) => philox4x32(row.slice(0, 4), row.slice(4))), expected);
  device.release(x);
  device.release(y);
});

Deno.test("HostRandom draws uniform, normal and integer numbers with the right moments", () => {
  const random = new HostRandom(4);
  const n = 1e5;
  let [mean, square, uniform] = [0, 0, 0];
  const counts = new Array(7).fill(0);
  for (let i = 0; i < n; i++) {
    const v = random.normal();
    mean += v / n;
    square += v * v / n;
    const u = random.uniform();
    assert(u >= 0 && u < 1);
    uniform += u / n;
    counts[random.integer(7)]++;
  }
  assert(
    Math.abs(mean) < 5 / Math.sqrt(n) && Math.abs(square - 1) < 5 * Math.sqrt(2 / n),
    `${mean}, ${square}`,
  );
  assert(Math.abs(uniform - 0.5) < 5 / Math.sqrt(12 * n), `${uniform}`);
  for (const count of counts) assert(Math.abs(count - n / 7) < 5 * Math.sqrt(n / 7), `${counts}`);
  assertEquals(new HostRandom(4).normals(3, 2), new HostRandom(4).normals(3, 1).map((v) => 2 * v));
  assert(new HostRandom(1).uniforms(100, 0.5).every((v) => Math.abs(v) <= 0.5));
});

Deno.test("HostRandom repeats with its seed and differs without, beyond 32 bits too", () => {
  const words = (seed: number) => {
    const random = new HostRandom(seed);
    return Array.from({ length: 9 }, () => random.nextWord()).join();
  };
  assertEquals(words(5), words(5));
  assert(words(5) !== words(6) && words(5) !== words(5 + 2 ** 32));
});

Deno.test("HostRandom.permutation() is a permutation, and a fair one", () => {
  const random = new HostRandom(8);
  assertEquals(random.permutation(100).sort((a, b) => a - b), Array.from({ length: 100 }, (_, i) => i));
  assertEquals(random.permutation(0), []);
  const counts = new Map<string, number>();
  for (let i = 0; i < 6000; i++) {
    const key = random.permutation(3).join("");
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  assertEquals(counts.size, 6);
  for (const count of counts.values()) assert(Math.abs(count - 1000) < 5 * Math.sqrt(1000), `${count}`);
});

Deno.test("RandomState holds seed and step on the device and restarts its calls with each step", async () => {
  const device = await Device.create({ device: (await defaultDevice()).gpuDevice });
  const random = new RandomState(device, 2 ** 32 * 3 + 4);
  assertEquals([...await random.tensor.data()], [4, 3, 0, 0]);
  assertEquals([random.nextCall(), random.nextCall()], [0, 1]);
  random.step = 6;
  assertEquals([...await random.tensor.data()], [4, 3, 6, 0]);
  assertEquals(random.nextCall(), 0);
  random.seed = 9;
  assertEquals([...await random.tensor.data()], [9, 0, 0, 0]);
  assertEquals(random.step, 0);
  const held = random.tensor.alias();
  random.step = 1; // what a backward still to come holds stays as it was
  assertEquals([...await held.data()], [9, 0, 0, 0]);
  held.dispose();
  random.dispose();
  assertEquals(device.memory.liveBytes, 0);
  for (const seed of [-1, 1.5, NaN, 2 ** 53]) {
    assertThrows(
      () => new RandomState(device, seed),
      RangeError,
      `Cannot seed: an integer from 0 to 2^53 - 1 is required, received ${seed}`,
    );
    assertThrows(() => new HostRandom(seed), RangeError, "Cannot seed");
  }
  assertEquals(device.memory.liveBytes, 0);
});
