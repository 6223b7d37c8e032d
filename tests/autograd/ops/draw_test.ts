import { assert, assertAllClose, assertEquals } from "@std/assert";
import { defaultDevice, drawNormal, drawUniform } from "../../../autograd/mod.ts";
import { philoxReference } from "../../reference/attention.ts";
import { anotherDevice } from "../../reference/another_device.ts";

const SEED = 2 ** 33 + 7;
const KEY = [7, 2];

/** Uniform numbers in [0, 1) from the definition in kernels/random.ts. */
function uniforms(count: number, call: number): Float64Array {
  return Float64Array.from(
    { length: count },
    (_, i) => (philoxReference([Math.floor(i / 4), call, 0, 2], KEY)[i % 4] >>> 8) * 2 ** -24,
  );
}

Deno.test("drawUniform() gives Philox's numbers in [-bound, bound)", async () => {
  const device = await defaultDevice();
  for (const size of [1, 3, 4, 257, 1021]) {
    using y = drawUniform(device, [size], 0.25, SEED, 3);
    assertAllClose(await y.data(), uniforms(size, 3).map((u) => (2 * u - 1) * 0.25), { rtol: 0, atol: 0 });
  }
});

Deno.test("drawNormal() is Box and Muller's transform of Philox's numbers", async () => {
  const device = await defaultDevice();
  const u = uniforms(1020, 5);
  const expected = u.map((_, i) => {
    const at = i - i % 2;
    const radius = Math.sqrt(-2 * Math.log(1 - u[at]));
    const angle = 2 * Math.PI * u[at + 1] - Math.PI;
    return 0.02 * radius * (i % 2 ? Math.sin(angle) : Math.cos(angle));
  });
  using y = drawNormal(device, [4, 255], 0.02, SEED, 5);
  assertEquals(y.shape, [4, 255]);
  assertAllClose(await y.data(), expected, { rtol: 1e-3, atol: 2e-6 }); // sin and cos: 2^-11 absolute in WGSL
});

Deno.test("drawNormal() and drawUniform() have the moments of their distributions", async () => {
  const device = await defaultDevice();
  const size = 2 ** 18;
  const moments = (values: ArrayLike<number>) => {
    const m = [0, 0, 0, 0];
    for (let i = 0; i < size; i++) for (let k = 0; k < 4; k++) m[k] += values[i] ** (k + 1) / size;
    return m;
  };
  using normal = drawNormal(device, [size], 2, 1, 0);
  using uniform = drawUniform(device, [size], 3, 1, 1);
  const n = moments((await normal.data()).map((v: number) => v / 2) as Float32Array);
  const u = moments((await uniform.data()).map((v: number) => v / 3) as Float32Array);
  // Five standard errors of each moment: sqrt(var(x^k) / size).
  const within = (got: number[], expected: number[], spread: number[]) =>
    got.forEach((value, k) =>
      assert(Math.abs(value - expected[k]) < 5 * spread[k] / Math.sqrt(size), `moment ${k + 1}: ${value}`)
    );
  within(n, [0, 1, 0, 3], [1, Math.sqrt(2), Math.sqrt(15), Math.sqrt(96)]);
  within(u, [0, 1 / 3, 0, 1 / 5], [0.578, 0.299, 0.378, 0.267]);
  const values = await uniform.data();
  assert(values.every((v: number) => v >= -3 && v < 3));
});

Deno.test("drawNormal() gives the same numbers whatever the windows, and others for other streams", async () => {
  const device = await defaultDevice();
  const small = await anotherDevice({ limits: { maxStorageBufferBindingSize: 64 * 2 ** 10 } });
  const shape = [509, 101]; // four windows of 16,384 elements
  using whole = drawNormal(device, shape, 1, SEED, 2);
  using cut = drawNormal(small, shape, 1, SEED, 2);
  const values = await whole.data();
  assertEquals(await cut.data(), values);
  for (const [seed, call] of [[SEED, 3], [SEED + 1, 2], [SEED + 2 ** 32, 2]]) {
    using other = drawNormal(device, shape, 1, seed, call);
    const differing = (await other.data()).filter((v: number, i: number) => v !== values[i]).length;
    assert(differing > 0.99 * values.length, `stream ${seed}, ${call}`);
  }
  cut.dispose();
  small.trim();
});
