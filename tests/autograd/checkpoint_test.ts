/**
 * Gradient checkpointing as an op: what it computes again, what it keeps, and what it refuses.
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  add,
  checkpoint,
  dropout,
  multiply,
  RandomState,
  scale,
  sum,
  tanh,
  Tensor,
  tidy,
} from "../../autograd/mod.ts";
import { noteSetting } from "../../autograd/settings.ts";
import { ownDevice } from "../reference/fixtures.ts";

const SIZE = 1024;

async function setUp() {
  const device = await ownDevice();
  const values = (seed: number) => Float32Array.from({ length: SIZE }, (_, i) => Math.sin(seed + i));
  const make = (seed: number, requiresGrad = true) => Tensor.from(values(seed), { device, requiresGrad });
  return { device, make, random: new RandomState(device, 3) };
}

for (const trainsInput of [true, false]) {
  Deno.test(`checkpoint() gives the value and gradients of the plain computation to the bit, dropout included, where its input ${trainsInput ? "wants" : "wants no"} gradient`, async () => {
    const { device, make, random } = await setUp();
    const [x, weight, constant] = [make(1, trainsInput), make(2), make(3, false)];
    const part = (x: Tensor, constant: Tensor) => {
      const dropped = dropout(multiply(x, weight), 0.5, random);
      return add(tanh(multiply(dropped, constant)), x);
    };
    const run = async (checkpointed: boolean) => {
      random.step = 4;
      random.nextCall(); // another random op of the step comes first
      const loss = tidy(() => {
        const body = ({ x }: { x: Tensor }, { constant }: Readonly<Record<string, Tensor>>) =>
          part(x, constant);
        const y = checkpointed
          ? checkpoint({ name: "part", inputs: { x }, constants: { constant }, random, body })
          : part(x, constant);
        return sum(multiply(y, dropout(y, 0.25, random)));
      });
      const next = random.nextCall();
      random.advance(); // a later forward must not change the numbers of this one's backward
      loss.backward();
      const grads = await Promise.all([x, weight].map(async ({ grad }) => grad && [...await grad.data()]));
      const value = await loss.item();
      loss.dispose();
      for (const tensor of [x, weight]) {
        tensor.grad?.dispose();
        tensor.grad = null;
      }
      return { value, grads, next, after: random.nextCall() };
    };
    const plain = await run(false);
    assertEquals(await run(true), plain);
    assertEquals(plain.grads[0] !== null, trainsInput);
    for (const tensor of [x, weight, constant]) tensor.dispose();
    random.dispose();
    assertEquals(device.memory.liveBytes, 0);
  });
}

Deno.test("checkpoint() keeps its inputs alone until backward, and frees everything after it", async () => {
  const { device, make, random } = await setUp();
  const x = make(1);
  const body = ({ x }: { x: Tensor }) => {
    let y = x;
    for (let i = 0; i < 10; i++) y = tanh(y);
    return y;
  };
  const before = device.memory.liveBytes;
  const loss = tidy(() => sum(checkpoint({ name: "part", inputs: { x }, constants: {}, random, body })));
  const kept = device.memory.liveBytes - before;
  assert(kept < 3 * SIZE * 4, `${kept} bytes`);
  loss.backward();
  loss.dispose();
  x.grad!.dispose();
  x.grad = null;
  assertEquals(device.memory.liveBytes, before);
  x.dispose();
  random.dispose();
});

Deno.test("checkpoint() refuses changed settings, results of other ops that are no inputs, and a second backward", async () => {
  const { make, random } = await setUp();
  const x = make(1);
  const run = (body: (inputs: { x: Tensor }) => Tensor) =>
    sum(checkpoint({ name: "block 3", inputs: { x }, constants: {}, random, body }));
  const owner = {};
  const changed = run(({ x }) => tanh(x));
  noteSetting(owner, "training", true, false);
  assertThrows(
    () => changed.backward(),
    Error,
    "Cannot compute block 3 again for its gradient: train or eval",
  );
  noteSetting(owner, "training", false, true);

  const other = scale(x, 2);
  const stranger = run(({ x }) => multiply(x, other));
  assertThrows(
    () => stranger.backward(),
    Error,
    'Cannot compute block 3 again for its gradient: it reads a result of "scale" that is not among its inputs',
  );

  const loss = run(({ x }) => tanh(x));
  loss.backward();
  assertThrows(() => loss.backward(), Error, "a second time");
  random.dispose();
});
