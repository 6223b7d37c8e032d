import { assert, assertAllClose, assertEquals, assertThrows } from "@std/assert";
import {
  add,
  concat,
  defaultDevice,
  type Device,
  isRecording,
  multiply,
  noGrad,
  record,
  reshape,
  scale,
  square,
  sum,
  Tensor,
  tidy,
} from "../../autograd/mod.ts";
import { DisposedError } from "../../gpu/mod.ts";

const values = async (x: Tensor | null) => x && [...await x.data()];

/** A device whose ledger nobody else writes to. */
async function freshDevice(): Promise<Device> {
  const { Device } = await import("../../gpu/mod.ts");
  return Device.create({ device: (await defaultDevice()).gpuDevice });
}

Deno.test("backward() adds up the gradient of a tensor used two, three and seven times", async () => {
  const device = await defaultDevice();
  for (const uses of [2, 3, 7]) {
    using x = Tensor.from([1, -2, 3], { device, requiresGrad: true });
    using loss = tidy(() => {
      let y = scale(x, 1);
      for (let k = 2; k <= uses; k++) y = add(y, scale(x, k));
      return sum(y);
    });
    loss.backward();
    assertEquals(await values(x.grad), new Array(3).fill(uses * (uses + 1) / 2), `${uses} uses`);
  }
});

Deno.test("backward() adds to the gradient that is there, until it is dropped", async () => {
  const device = await defaultDevice();
  using x = Tensor.from([2], { device, requiresGrad: true });
  for (const expected of [4, 8, 12]) {
    using loss = tidy(() => sum(square(x)));
    loss.backward();
    assertEquals(await values(x.grad), [expected]);
  }
  x.grad!.dispose();
  x.grad = null;
  using loss = tidy(() => sum(square(x)));
  loss.backward();
  assertEquals(await values(x.grad), [4]);
});

Deno.test("backward() keeps gradients apart that ops pass on unchanged", async () => {
  // add() hands one dy to both inputs; a residual stream hands it to branch and stream.
  const device = await defaultDevice();
  using a = Tensor.from([1, 2], { device, requiresGrad: true });
  using b = Tensor.from([3, 4], { device, requiresGrad: true });
  using loss = tidy(() => sum(add(a, b)));
  loss.backward();
  assert(a.grad !== b.grad && a.grad!.storage !== b.grad!.storage, "each leaf owns its gradient");
  using more = tidy(() => sum(scale(a, 10)));
  more.backward();
  assertEquals(await values(a.grad), [11, 11]);
  assertEquals(await values(b.grad), [1, 1]);
});

Deno.test("backward() through residual streams gives every branch its own gradient", async () => {
  const device = await defaultDevice();
  using x = Tensor.from([1, 2, 3], { device, requiresGrad: true });
  using w = Tensor.from([2, 2, 2], { device, requiresGrad: true });
  using loss = tidy(() => {
    let stream = x;
    for (let block = 0; block < 3; block++) stream = add(stream, multiply(stream, w)); // x (1 + w)^3
    return sum(stream);
  });
  loss.backward();
  assertEquals(await values(x.grad), [27, 27, 27]); // 3^3
  assertEquals(await values(w.grad), [27, 54, 81]); // 3 x 3^2
});

Deno.test("backward() gives a frozen leaf null and computes nothing below it", async () => {
  const device = await freshDevice();
  const frozen = Tensor.from([1, 2], { device });
  const trained = Tensor.from([3, 4], { device, requiresGrad: true });
  const low = square(frozen);
  assert(!low.requiresGrad && low.node === null, "an op on frozen tensors is not recorded");
  const loss = tidy(() => sum(multiply(low, trained)));
  loss.backward();
  assertEquals(frozen.grad, null);
  assertEquals(await values(trained.grad), [1, 4]);
  for (const tensor of [frozen, trained, low, loss]) tensor.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("backward() leaves a leaf alone that the loss does not depend on", async () => {
  const device = await defaultDevice();
  using used = Tensor.from([1], { device, requiresGrad: true });
  using unused = Tensor.from([1], { device, requiresGrad: true });
  using side = square(unused);
  using loss = square(used);
  loss.backward();
  assertEquals(unused.grad, null);
  assert(side.requiresGrad);
});

Deno.test("detach() shares the values and stops the gradient", async () => {
  const device = await defaultDevice();
  using x = Tensor.from([3], { device, requiresGrad: true });
  using y = square(x);
  using cut = y.detach();
  assert(!cut.requiresGrad && cut.node === null);
  using loss = tidy(() => sum(multiply(y, cut))); // x^2 held at 9
  loss.backward();
  assertEquals(await values(x.grad), [54]);
  assertThrows(
    () => cut.backward(),
    TypeError,
    "Cannot run backward: no tensor that requires a gradient leads to this one",
  );
});

Deno.test("noGrad() records nothing, nests, and ends with an exception too", async () => {
  const device = await defaultDevice();
  using x = Tensor.from([3], { device, requiresGrad: true });
  noGrad(() => {
    assert(!isRecording());
    using y = square(x);
    assert(!y.requiresGrad);
    noGrad(() => assert(!isRecording()));
    assert(!isRecording());
  });
  assertThrows(
    () =>
      noGrad(() => {
        throw new Error("inside");
      }),
    Error,
    "inside",
  );
  assert(isRecording());
  using y = square(x);
  assert(y.requiresGrad);
});

Deno.test("backward() a second time on the same graph is an error, also on a part of it", async () => {
  const device = await defaultDevice();
  using x = Tensor.from([3], { device, requiresGrad: true });
  using y = square(x);
  using loss = sum(y);
  using other = scale(y, 2);
  loss.backward();
  assertThrows(() => loss.backward(), Error, "Cannot run backward a second time");
  assertThrows(
    () => other.backward(),
    Error,
    `Cannot run backward a second time: what "square" saved is freed`,
  );
  assertEquals(await values(x.grad), [6], "a refused backward adds nothing");
});

Deno.test("backward() of a non-scalar needs a gradient of its shape", async () => {
  const device = await defaultDevice();
  using x = Tensor.from([1, 2], { device, requiresGrad: true });
  using y = square(x);
  assertThrows(
    () => y.backward(),
    TypeError,
    "Cannot run backward from a tensor of shape [2]: a scalar, or a gradient of its shape, is required",
  );
  using wrong = Tensor.from([1, 2, 3], { device });
  assertThrows(
    () => y.backward(wrong),
    TypeError,
    "Cannot run backward: the gradient must have shape [2], received [3]",
  );
  using dy = Tensor.from([10, 100], { device });
  y.backward(dy);
  assertEquals(await values(x.grad), [20, 400]);
  assertEquals(await values(dy), [10, 100], "the caller keeps the gradient it gave");
});

Deno.test("backward() of a leaf adds the seed to its own gradient", async () => {
  const device = await defaultDevice();
  using x = Tensor.from(5, { device, requiresGrad: true });
  x.backward();
  x.backward();
  assertEquals(await values(x.grad), [2]);
  using y = Tensor.from([1, 2], { device, requiresGrad: true });
  using dy = Tensor.from([3, 4], { device });
  y.backward(dy);
  y.backward(dy);
  assertEquals(await values(y.grad), [6, 8]);
  assertEquals(await values(dy), [3, 4], "the seed is copied, not shared");
});

Deno.test("backward() passes NaN and infinity on to every leaf that depends on them", async () => {
  const device = await defaultDevice();
  using x = Tensor.from([1, 2, 3], { device, requiresGrad: true });
  using y = scale(x, 2);
  using dy = Tensor.from([NaN, Infinity, 1], { device });
  y.backward(dy);
  assertEquals(await values(x.grad), [NaN, Infinity, 2]);
});

Deno.test("record() passes null for outputs nothing came back for, and frees what was saved", async () => {
  const device = await freshDevice();
  const x = Tensor.from([1, 2], { device, requiresGrad: true });
  let freed = 0;
  /** Two outputs: 2x and 3x. */
  const both = () => {
    const outputs = noGrad(() => [scale(x, 2), scale(x, 3)]);
    record("both", {
      inputs: { x },
      saved: { first: outputs[0] },
      outputs,
      backward: ({ dys: [dp, dq] }) => {
        freed++;
        const parts = [dp && scale(dp, 2), dq && scale(dq, 3)].filter((part) => part !== null);
        return { x: parts.length === 2 ? add(parts[0], parts[1]) : parts[0] };
      },
    });
    return outputs;
  };
  const [p, q] = both();
  const one = tidy(() => sum(q));
  one.backward();
  assertEquals(await values(x.grad), [3, 3]);
  const [r, s] = both();
  const two = tidy(() => sum(concat([r, s], 0)));
  two.backward();
  assertEquals(await values(x.grad), [8, 8]);
  assertEquals(freed, 2);
  for (const tensor of [x, p, q, r, s, one, two]) tensor.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("a graph is freed when its outputs are disposed without backward", async () => {
  const device = await freshDevice();
  const x = Tensor.from(new Float32Array(1000), { device, requiresGrad: true });
  const before = device.memory.liveBytes;
  const loss = tidy(() => {
    let y = x;
    for (let i = 0; i < 20; i++) y = square(add(y, x));
    return sum(y);
  });
  assert(device.memory.liveBytes > before + 20 * 4000, "the tape holds what backward reads");
  loss.dispose();
  assertEquals(device.memory.liveBytes, before);
  x.dispose();
});

Deno.test("backward() frees activations as it goes, and a chain of 5,000 ops does not overflow", async () => {
  const device = await freshDevice();
  const x = Tensor.from([1], { device, requiresGrad: true });
  const loss = tidy(() => {
    let y = x;
    for (let i = 0; i < 5000; i++) y = reshape(y, [1]);
    return scale(y, 3);
  });
  loss.backward();
  assertEquals(await values(x.grad), [3]);
  const chain = tidy(() => {
    let y = x;
    for (let i = 0; i < 5000; i++) y = reshape(y, [1]);
    return y;
  });
  chain.dispose();
  for (const tensor of [x, loss]) tensor.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("backward() frees what each op saved once its gradient is done", async () => {
  const device = await freshDevice();
  const x = Tensor.from(new Float32Array(4096).fill(0.5), { device, requiresGrad: true });
  const loss = tidy(() => {
    let y = x;
    for (let i = 0; i < 16; i++) y = square(y);
    return sum(y);
  });
  const forward = device.memory.liveBytes;
  device.trim();
  device.resetPeakMemory();
  loss.backward();
  assert(device.memory.peakBytes < forward + 5 * 16_384, "gradients take the places of activations");
  x.grad!.dispose();
  x.grad = null;
  for (const tensor of [x, loss]) tensor.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("a step's live bytes are the same after the third and the thirtieth", async () => {
  const device = await freshDevice();
  const x = Tensor.from(new Float32Array(500).fill(0.1), { device, requiresGrad: true });
  const live: number[] = [];
  for (let step = 0; step < 30; step++) {
    using loss = tidy(() => sum(square(add(x, 1))));
    loss.backward();
    live.push(device.memory.liveBytes);
  }
  assertEquals(new Set(live.slice(2)).size, 1, `${live}`);
  x.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("a leaf that is disposed before backward gets no gradient, and nothing leaks", async () => {
  const device = await freshDevice();
  const x = Tensor.from([1], { device, requiresGrad: true });
  const w = Tensor.from([2], { device, requiresGrad: true });
  const loss = tidy(() => sum(multiply(x, w)));
  w.dispose();
  loss.backward();
  assertEquals(w.grad, null);
  assertEquals(await values(x.grad), [2], "the tape held its value");
  for (const tensor of [x, loss]) tensor.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("backward() of a disposed loss is an error", async () => {
  const device = await defaultDevice();
  using x = Tensor.from([1], { device, requiresGrad: true });
  const loss = square(x);
  loss.dispose();
  assertThrows(() => loss.backward(), DisposedError, "Cannot use a tensor of shape [1]: it was disposed");
});

Deno.test("backward() that fails in an op leaves no bytes behind and records again afterwards", async () => {
  const device = await freshDevice();
  const x = Tensor.from([1, 2], { device, requiresGrad: true });
  const y = noGrad(() => scale(x, 2));
  record("failing", {
    inputs: { x },
    saved: { y },
    outputs: [y],
    backward: () => {
      throw new RangeError("no gradient today");
    },
  });
  const loss = tidy(() => sum(square(y)));
  assertThrows(() => loss.backward(), RangeError, "no gradient today");
  assert(isRecording());
  for (const tensor of [x, y, loss]) tensor.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("backward() twice over the same graph made anew gives bit-identical gradients", async () => {
  const device = await defaultDevice();
  const gradient = async () => {
    using x = Tensor.from(Float32Array.from({ length: 1021 }, (_, i) => Math.sin(i)), {
      device,
      requiresGrad: true,
    });
    using loss = tidy(() => sum(multiply(square(x), add(x, 0.25))));
    loss.backward();
    return await x.grad!.data();
  };
  assertEquals(await gradient(), await gradient());
  const x = Float64Array.from({ length: 1021 }, (_, i) => Math.fround(Math.sin(i)));
  assertAllClose(await gradient(), x.map((v) => 3 * v * v + 0.5 * v), { rtol: 1e-5, atol: 1e-6 });
});

Deno.test("backward() does not add into a gradient that another branch still holds", async () => {
  // add() sends one gradient to x and to y; what w sends to x afterwards must not reach y.
  const device = await defaultDevice();
  using c = Tensor.from([1], { device, requiresGrad: true });
  using d = Tensor.from([1], { device, requiresGrad: true });
  using loss = tidy(() => {
    const x = scale(c, 1);
    const y = scale(d, 1);
    const w = scale(x, 10);
    const z = add(x, y);
    return sum(add(w, z));
  });
  loss.backward();
  assertEquals([await values(c.grad), await values(d.grad)], [[11], [1]]);
});
