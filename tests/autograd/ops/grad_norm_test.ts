import { assert, assertAllClose, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { gradNorm, scaleByClip } from "../../../autograd/ops/grad_norm.ts";
import { LossTally } from "../../../autograd/ops/loss_tally.ts";
import { full, Tensor } from "../../../autograd/tensor.ts";
import { defaultDevice, Device } from "../../../gpu/mod.ts";
import { randomValues } from "../../reference/matmul.ts";
import { pretendHardware } from "../../reference/profiles.ts";

function reference(grads: readonly ArrayLike<number>[]): number {
  let sum = 0;
  for (const grad of grads) for (let i = 0; i < grad.length; i++) sum += grad[i] * grad[i];
  return Math.sqrt(sum);
}

async function check(device: Device, values: readonly Float32Array<ArrayBuffer>[], maxNorm: number) {
  const grads = values.map((value) => Tensor.from(value, { device }));
  const { norm, clip } = gradNorm(grads, maxNorm);
  const expected = reference(values);
  const coefficient = Math.min(1, maxNorm / (expected + 1e-6));
  const tolerance = { rtol: 2e-6, atol: 0 };
  assertAllClose([await norm.item()], [expected], { ...tolerance, label: "norm" });
  assertAllClose(await clip.data(), [coefficient, expected], { ...tolerance, label: "clip" });
  scaleByClip(grads, clip);
  for (const [i, grad] of grads.entries()) {
    const scaled = Float64Array.from(values[i], (g) => g * coefficient);
    assertAllClose(await grad.data(), scaled, { ...tolerance, label: `gradient ${i}` });
  }
  for (const tensor of [...grads, norm, clip]) tensor.dispose();
}

const SIZES = [1, 2, 3, 4, 5, 255, 4096, 4097, 100_003, 17];
const VALUES = SIZES.map((size, i) => randomValues(i, size));

Deno.test("gradNorm() and scaleByClip() agree with float64, clipping and not clipping", async () => {
  const device = await defaultDevice();
  await check(device, VALUES, 1);
  await check(device, VALUES, 1e6);
  await check(device, VALUES, Infinity);
});

Deno.test("gradNorm() agrees with float64 on 3,000,000 elements of one sign", async () => {
  const values = randomValues(3, 3_000_000).map((v) => Math.abs(v) + 0.1);
  await check(await defaultDevice(), [values], 1);
});

Deno.test("gradNorm() agrees with float64 on a device with 8 storage buffers, and with all slots in use", async () => {
  const device = await Device.create({ limits: { maxStorageBuffersPerShaderStage: 8 } });
  pretendHardware(device);
  await check(device, VALUES, 1);
  device.destroy();
});

Deno.test("gradNorm() does not count what lies in the padding of a buffer", async () => {
  const device = await defaultDevice();
  full(device, [64], 1e6).dispose(); // the pool hands its buffer to the next tensor of up to 256 bytes
  using grad = Tensor.from([3, 4, 0, 0, 0], { device });
  const { norm, clip } = gradNorm([grad], 1);
  assertEquals(await norm.item(), 5);
  norm.dispose();
  clip.dispose();
});

Deno.test("gradNorm() tells infinities and NaN by their bits wherever they are", async () => {
  const device = await defaultDevice();
  for (const bad of [NaN, Infinity, -Infinity]) {
    for (const at of [0, 777, 4999]) {
      const values = randomValues(1, 5000);
      values[at] = bad;
      using small = Tensor.from(randomValues(2, 7), { device });
      using grad = Tensor.from(values, { device });
      const { norm, clip } = gradNorm([small, grad], 1);
      const expected = Number.isNaN(bad) ? NaN : Infinity;
      assertEquals(await norm.item(), expected);
      assertEquals([...await clip.data()], [Number.isNaN(bad) ? NaN : 0, expected]);
      norm.dispose();
      clip.dispose();
    }
  }
});

Deno.test("gradNorm() is infinite where the squares are too large for float32", async () => {
  const device = await defaultDevice();
  using grad = Tensor.from([1e20, 1], { device });
  const { norm, clip } = gradNorm([grad], 1);
  assertEquals([...await clip.data()], [0, Infinity]);
  norm.dispose();
  clip.dispose();
});

Deno.test("gradNorm() gives the same bits each time, in few launches, and frees what it used", async () => {
  const device = await defaultDevice();
  const grads = VALUES.map((value) => Tensor.from(value, { device }));
  const before = device.memory.liveBytes;
  const seen = new Set<number>();
  for (let i = 0; i < 5; i++) {
    const dispatches = device.stats.dispatches;
    const { norm, clip } = gradNorm(grads, 1);
    assert(device.stats.dispatches - dispatches <= 6, `${device.stats.dispatches - dispatches} dispatches`);
    seen.add(await norm.item());
    norm.dispose();
    clip.dispose();
  }
  assertEquals(seen.size, 1);
  assertEquals(device.memory.liveBytes, before);
  for (const grad of grads) grad.dispose();
});

Deno.test("gradNorm() wants a gradient and a positive maxNorm", async () => {
  const device = await defaultDevice();
  using grad = Tensor.from([1], { device });
  for (const maxNorm of [0, -1, NaN]) {
    assertThrows(
      () => gradNorm([grad], maxNorm),
      RangeError,
      `Cannot clip gradients: a positive maxNorm is required, received ${maxNorm}`,
    );
  }
  assertThrows(
    () => gradNorm([], 1),
    RangeError,
    "Cannot take the norm of gradients: at least one gradient is required",
  );
});

Deno.test("LossTally keeps losses and the first step that is not finite", async () => {
  const device = await defaultDevice();
  const before = device.memory.liveBytes;
  const tally = new LossTally(device, 2);
  const add = (step: number, lossValue: number, norm: number, others = [0, 0]) => {
    using loss = Tensor.from([lossValue], { device });
    using clip = Tensor.from([1, norm], { device });
    using values = Tensor.from(others, { device });
    tally.prepare(() => step);
    tally.add(loss, clip, values);
  };
  add(1, 2.5, 1, [1, 2]);
  add(2, 0.25, 7, [NaN, 0.5]);
  const counts = { gradNorm: 7, badSteps: 0, firstBadStep: 0 };
  const expected = { losses: [2.5, 0.25], ...counts, sums: [[1, 2], [0, 0.5]] };
  assertEquals(await tally.read(2, 2), expected, "a number that is not finite counts as 0");
  tally.reset();
  add(3, 1, 1);
  add(4, NaN, 1);
  add(5, 1, Infinity);
  add(6, 1, 2);
  const report = await tally.read(6, 4);
  assertEquals(report.losses, [1, NaN, NaN, 1]);
  assertEquals([report.badSteps, report.firstBadStep, report.gradNorm], [2, 4, 2]);
  assertEquals(report.sums, [[0, 0], [0, 0], [0, 0], [0, 0]]);
  tally.reset();
  for (let step = 10; step < 26; step++) add(step, step, 1, [step, 0]);
  const full = await tally.read(25, 16);
  assertEquals(full.losses, Array.from({ length: 16 }, (_, i) => 10 + i));
  assertEquals(full.sums.map(([first]) => first), full.losses);
  await assertRejects(
    () => tally.read(26, 17),
    RangeError,
    "Cannot read losses: at most 16 steps are held, received 17",
  );
  tally.dispose();
  assertEquals(device.memory.liveBytes, before);
});
