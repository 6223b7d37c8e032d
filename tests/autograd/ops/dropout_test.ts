import { assert, assertEquals, assertThrows } from "@std/assert";
import { defaultDevice, dropout, RandomState, Tensor, tidy } from "../../../autograd/mod.ts";
import { checkOp } from "../../reference/check_op.ts";
import { ownDevice } from "../../reference/fixtures.ts";
import { philoxReference } from "../../reference/attention.ts";
import { randomValues } from "../../reference/matmul.ts";

const SEED = 2 ** 40 + 12345;

/** The factor of each element, from the definition in kernels/random_elementwise.ts. */
function factors(size: number, p: number, seed: number, step: number, call: number): Float64Array {
  const key = [seed >>> 0, Math.floor(seed / 2 ** 32)];
  return Float64Array.from({ length: size }, (_, i) => {
    const bits = philoxReference([Math.floor(i / 4), call, step, 0], key)[i % 4];
    return (bits >>> 8) * 2 ** -24 >= Math.fround(p) ? 1 / (1 - p) : 0;
  });
}

Deno.test("dropout() zeros and scales what Philox4x32-10 says, and its gradient the same elements", async () => {
  const device = await ownDevice();
  for (const [size, p] of [[1, 0.5], [7, 0.1], [256, 0.5], [257, 0.9], [1021, 0.3], [4, 0], [5, 1]]) {
    const random = new RandomState(device, SEED);
    random.step = 7;
    random.nextCall();
    const keep = factors(size, p, SEED, 7, 1).map((f) => p === 1 ? 0 : f);
    await checkOp({
      device,
      label: `dropout ${p} of ${size}`,
      inputs: { x: { data: randomValues(size, size), shape: [size] } },
      op: ({ x }) => dropout(x, p, random),
      shape: [size],
      reference: ({ x }) => ({
        y: Float64Array.from(x, (v, i) => v * keep[i]),
        gradients: (dy) => ({ x: keep.map((f, i) => dy[i] * f) }),
      }),
      blind: keep.every((f) => f === 0),
    });
    random.dispose();
  }
});

Deno.test("dropout() drops p of 2^20 elements within four standard deviations, evenly spread", async () => {
  const device = await defaultDevice();
  const size = 2 ** 20;
  using ones = Tensor.from(new Float32Array(size).fill(1), { device });
  const random = new RandomState(device, 3);
  for (const p of [0.1, 0.5]) {
    using y = dropout(ones, p, random);
    const values = await y.data();
    const dropped = values.filter((v: number) => v === 0).length;
    const sigma = Math.sqrt(size * p * (1 - p));
    assert(Math.abs(dropped - size * p) < 4 * sigma, `${dropped} of ${size} at ${p}`);
    const lanes = [0, 1, 2, 3].map((lane) =>
      values.filter((v: number, i: number) => i % 4 === lane && v === 0).length
    );
    for (const n of lanes) assert(Math.abs(n - size * p / 4) < 4 * sigma / 2, `${lanes} at ${p}`);
  }
  random.dispose();
});

Deno.test("dropout() draws anew for each call, step and seed, and the same for the same", async () => {
  const device = await defaultDevice();
  using ones = Tensor.from(new Float32Array(512).fill(1), { device });
  const draw = async (seed: number, step: number, calls: number) => {
    const random = new RandomState(device, seed);
    random.step = step;
    for (let i = 0; i < calls; i++) random.nextCall();
    using y = dropout(ones, 0.5, random);
    const text = (await y.data()).join();
    random.dispose();
    return text;
  };
  const base = await draw(1, 1, 0);
  assertEquals(await draw(1, 1, 0), base);
  for (
    const other of [
      await draw(2, 1, 0),
      await draw(1, 2, 0),
      await draw(1, 1, 1),
      await draw(1 + 2 ** 32, 1, 0),
    ]
  ) {
    assert(other !== base, "another stream");
  }
});

Deno.test("dropout() keeps the mask of its forward when the step moves on before backward", async () => {
  const device = await defaultDevice();
  const random = new RandomState(device, 5);
  using x = Tensor.from(new Float32Array(64).fill(1), { device, requiresGrad: true });
  using dy = Tensor.from(new Float32Array(64).fill(1), { device });
  using y = dropout(x, 0.5, random);
  random.step = 9;
  const forward = await y.data();
  y.backward(dy);
  assertEquals(await x.grad!.data(), forward);
  random.dispose();
});

Deno.test("dropout() refuses a probability outside 0 to 1 and ids", async () => {
  const device = await defaultDevice();
  const random = new RandomState(device, 0);
  tidy(() => {
    const x = Tensor.from([1], { device });
    for (const p of [-0.1, 1.5, NaN]) {
      assertThrows(
        () => dropout(x, p, random),
        RangeError,
        `Cannot set the dropout probability: a number from 0 to 1 is required, received ${p}`,
      );
    }
    assertThrows(() => dropout(Tensor.from(Int32Array.of(1), { device }), 0.5, random), TypeError, "float32");
  });
  random.dispose();
});
