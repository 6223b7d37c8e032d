import { assert, assertThrows } from "@std/assert";
import { addNoise, defaultDevice, RandomState, Tensor } from "../../../autograd/mod.ts";
import { philoxReference } from "../../reference/attention.ts";
import { checkOp } from "../../reference/check_op.ts";
import { ownDevice } from "../../reference/fixtures.ts";
import { randomValues } from "../../reference/matmul.ts";

const SEED = 2 ** 40 + 12345;

Deno.test("addNoise() adds what Philox4x32-10 says, and passes gradients on", async () => {
  const device = await ownDevice();
  const key = [SEED >>> 0, Math.floor(SEED / 2 ** 32)];
  for (const [size, bound] of [[1, 0.5], [7, 0.1], [257, 0.02], [1021, 3]]) {
    const random = new RandomState(device, SEED);
    random.step = 7;
    random.nextCall();
    const noise = Float64Array.from({ length: size }, (_, i) => {
      const bits = philoxReference([Math.floor(i / 4), 1, 7, 0], key)[i % 4];
      return bound * (2 * (bits >>> 8) * 2 ** -24 - 1);
    });
    await checkOp({
      device,
      label: `noise of ${bound} on ${size}`,
      inputs: { x: { data: randomValues(size, size), shape: [size] } },
      op: ({ x }) => addNoise(x, bound, random),
      shape: [size],
      reference: ({ x }) => ({
        y: Float64Array.from(x, (v, i) => v + noise[i]),
        gradients: (dy) => ({ x: Float64Array.from(dy) }),
      }),
    });
    random.dispose();
  }
});

Deno.test("addNoise() is uniform: mean 0, variance bound^2 / 3, nothing beyond the bound", async () => {
  const device = await defaultDevice();
  const size = 2 ** 18;
  using zeros = Tensor.from(new Float32Array(size), { device });
  const random = new RandomState(device, 3);
  using y = addNoise(zeros, 2, random);
  const values = await y.data();
  let [sum, squares, most] = [0, 0, 0];
  for (const v of values) {
    sum += v;
    squares += v * v;
    most = Math.max(most, Math.abs(v));
  }
  assert(Math.abs(sum / size) < 4 * Math.sqrt(4 / 3 / size), `mean ${sum / size}`);
  assert(Math.abs(squares / size - 4 / 3) < 0.02, `variance ${squares / size}`);
  assert(most <= 2 && most > 1.99, `${most}`);
  assertThrows(
    () => addNoise(zeros, -1, random),
    RangeError,
    "Cannot add noise: a bound of at least 0 is required, received -1",
  );
  random.dispose();
});
