import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  add,
  defaultDevice,
  type Device,
  full,
  scale,
  square,
  sum,
  Tensor,
  tidy,
} from "../../autograd/mod.ts";
import { DisposedError, initDevice } from "../../gpu/mod.ts";

async function freshDevice(): Promise<Device> {
  const { Device } = await import("../../gpu/mod.ts");
  return Device.create({ device: (await defaultDevice()).gpuDevice });
}

Deno.test("Tensor.from() takes nested arrays, typed arrays and single numbers, and gives them back", async () => {
  const device = await defaultDevice();
  const cases: [Tensor, number[], string, number[]][] = [
    [Tensor.from([[1, 2, 3], [4, 5, 6]], { device }), [2, 3], "float32", [1, 2, 3, 4, 5, 6]],
    [Tensor.from([[[1]], [[2]]], { device }), [2, 1, 1], "float32", [1, 2]],
    [Tensor.from(7, { device }), [], "float32", [7]],
    [Tensor.from([], { device }), [0], "float32", []],
    [Tensor.from([[], []], { device }), [2, 0], "float32", []],
    [Tensor.from([1, -2], { device, dtype: "int32" }), [2], "int32", [1, -2]],
    [Tensor.from([2 ** 32 - 1], { device, dtype: "uint32" }), [1], "uint32", [2 ** 32 - 1]],
    [Tensor.from(Float32Array.of(1, 2, 3, 4), { device, shape: [2, 2] }), [2, 2], "float32", [1, 2, 3, 4]],
    [Tensor.from(Int32Array.of(-100), { device }), [1], "int32", [-100]],
    [Tensor.from(Uint32Array.of(5), { device }), [1], "uint32", [5]],
    [Tensor.from(Uint16Array.of(0x3c00, 0x7bff, 1), { device }), [3], "float16", [0x3c00, 0x7bff, 1]],
    [Tensor.from(Float32Array.of(1.5, 2), { device, dtype: "float32" }), [2], "float32", [1.5, 2]],
    [Tensor.from(Int32Array.of(3), { device, dtype: "float32" }), [1], "float32", [3]],
  ];
  for (const [tensor, shape, dtype, values] of cases) {
    assertEquals([...tensor.shape], shape);
    assertEquals(tensor.dtype, dtype);
    assertEquals(tensor.size, values.length);
    assertEquals([...await tensor.data()], values);
    tensor.dispose();
  }
});

Deno.test("Tensor.from() keeps every float32 bit for bit", async () => {
  const device = await defaultDevice();
  const bits = Uint32Array.of(0, 0x80000000, 1, 0x7f800000, 0xff800000, 0x7fc12345, 0x3f800001, 0x007fffff);
  using x = Tensor.from(new Float32Array(bits.buffer), { device });
  assertEquals(new Uint32Array((await x.data()).buffer), bits);
});

Deno.test("Tensor.from() copies: later changes of the source do not show", async () => {
  const device = await defaultDevice();
  const source = Float32Array.of(1, 2, 3);
  using x = Tensor.from(source, { device });
  source.fill(9);
  assertEquals([...await x.data()], [1, 2, 3]);
  const window = new Float32Array(new Float32Array([5, 6, 7, 8]).buffer, 4, 2);
  using y = Tensor.from(window, { device });
  assertEquals([...await y.data()], [6, 7]);
});

Deno.test("Tensor.from() refuses what is no tensor, and allocates nothing then", async () => {
  const device = await freshDevice();
  // deno-lint-ignore no-explicit-any -- what JavaScript callers may pass
  const any = (value: unknown) => value as any;
  const cases: [() => Tensor, typeof TypeError | typeof RangeError, string][] = [
    [
      () => Tensor.from([[1, 2], [3]], { device }),
      TypeError,
      "Cannot make a tensor of a ragged array: rows of dimension 1 must have 2 elements, received 1",
    ],
    [() => Tensor.from(any([[1], 2]), { device }), TypeError, "Cannot make a tensor of a ragged array"],
    [() => Tensor.from(any([1, [2]]), { device }), TypeError, "Cannot make a tensor of a ragged array"],
    [
      () => Tensor.from([1, 2, 3], { device, shape: [2, 2] }),
      TypeError,
      "Cannot make a tensor of shape [2, 2]: 4 values are required, received 3",
    ],
    [
      () => Tensor.from([1, 2], { device, shape: [-1, -2] }),
      TypeError,
      "Cannot make a tensor of shape [-1, -2]: sizes must be integers of at least 0",
    ],
    [() => Tensor.from([1], { device, shape: [0.5, 2] }), TypeError, "sizes must be integers of at least 0"],
    [
      () => Tensor.from([1.5], { device, dtype: "int32" }),
      RangeError,
      "Cannot make an int32 tensor: 32-bit integers are required, received 1.5",
    ],
    [() => Tensor.from([2 ** 31], { device, dtype: "int32" }), RangeError, "received 2147483648"],
    [() => Tensor.from([-1], { device, dtype: "uint32" }), RangeError, "received -1"],
    [() => Tensor.from([NaN], { device, dtype: "int32" }), RangeError, "received NaN"],
    [
      () => Tensor.from([1], { device, dtype: "float16" }),
      TypeError,
      "Cannot make a float16 tensor of numbers: pass float16 bits in a Uint16Array, or use cast()",
    ],
    [
      () => Tensor.from(any(new Float64Array(1)), { device }),
      TypeError,
      "Cannot make a tensor of a Float64Array: Float32Array, Int32Array, Uint32Array or Uint16Array is required",
    ],
    [
      () => Tensor.from(Int32Array.of(1), { device, requiresGrad: true }),
      TypeError,
      "Cannot set requiresGrad of a int32 tensor: float32 is required",
    ],
  ];
  for (const [make, Kind, message] of cases) assertThrows(make, Kind, message);
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("item() gives one value and refuses more", async () => {
  const device = await defaultDevice();
  using one = Tensor.from([[3]], { device });
  assertEquals(await one.item(), 3);
  using two = Tensor.from([1, 2], { device });
  await assertRejects(
    () => two.item(),
    TypeError,
    "Cannot take the item of a tensor of shape [2]: one element is required",
  );
});

Deno.test("write() overwrites in order with the ops before it, and refuses another size", async () => {
  const device = await defaultDevice();
  using x = Tensor.from([1, 2], { device });
  using before = scale(x, 10);
  x.write(Float32Array.of(3, 4));
  using after = scale(x, 10);
  x.write(Float32Array.of(5, 6));
  assertEquals([...await before.data()], [10, 20]);
  assertEquals([...await after.data()], [30, 40]);
  assertEquals([...await x.data()], [5, 6]);
  assertThrows(
    () => x.write(Float32Array.of(1)),
    TypeError,
    "Cannot write 4 bytes to a float32 tensor of shape [2]: 8 are required",
  );
});

Deno.test("full() fills any size with any float32", async () => {
  const device = await defaultDevice();
  for (
    const [shape, value] of [[[3], 1.5], [[], -0], [[2, 257], NaN], [[0], 1], [[1021], Infinity]] as const
  ) {
    using x = full(device, shape, value);
    const values = await x.data();
    assert(values.every((v: number) => Object.is(v, value)), `${shape}`);
    assertEquals(values.length, x.size);
  }
});

Deno.test("a tensor that was disposed is an error everywhere, never zeros", async () => {
  const device = await defaultDevice();
  const x = Tensor.from([1, 2], { device, requiresGrad: true });
  const live = Tensor.from([1, 2], { device });
  x.dispose();
  assert(x.isDisposed);
  const message = "Cannot use a tensor of shape [2]: it was disposed";
  await assertRejects(() => x.data(), DisposedError, message);
  for (
    const use of [
      () => square(x),
      () => add(live, x),
      () => sum(x),
      () => x.detach(),
      () => x.write(Float32Array.of(1, 2)),
      () => x.backward(),
      () => x.device,
    ]
  ) assertThrows(use, DisposedError, message);
  live.dispose();
});

Deno.test("dispose() twice is fine, also while commands that use the tensor wait", async () => {
  const device = await freshDevice();
  const x = Tensor.from([1, 2], { device });
  const y = scale(x, 3);
  x.dispose();
  x.dispose();
  const z = Tensor.from([7, 7], { device }); // gets the memory of x: its write must not overtake the scaling
  const w = scale(z, 1);
  assertEquals([...await y.data()], [3, 6]);
  assertEquals([...await w.data()], [7, 7]);
  for (const tensor of [y, z, w]) tensor.dispose();
  assertEquals(device.memory.liveBytes, 0);
  assertEquals(device.memory.buffers, 0);
});

Deno.test("dispose() of one handle leaves the others their memory", async () => {
  const device = await freshDevice();
  const x = Tensor.from([1, 2], { device });
  const other = x.detach();
  x.dispose();
  assertEquals([...await other.data()], [1, 2]);
  assert(device.memory.liveBytes > 0);
  other.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("dispose() frees the gradient too", async () => {
  const device = await freshDevice();
  const x = Tensor.from([1, 2], { device, requiresGrad: true });
  const loss = tidy(() => sum(square(x)));
  loss.backward();
  const { grad } = x;
  x.dispose();
  loss.dispose();
  assert(grad!.isDisposed);
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("using disposes at the end of the block, also after an exception", async () => {
  const device = await freshDevice();
  {
    using x = Tensor.from([1], { device });
    assertEquals(await x.item(), 1);
  }
  assertEquals(device.memory.liveBytes, 0);
  assertThrows(
    () => {
      using _x = Tensor.from([1], { device });
      throw new Error("inside");
    },
    Error,
    "inside",
  );
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("an op that fails its checks leaves no bytes behind", async () => {
  const device = await freshDevice();
  const x = Tensor.from([1, 2], { device });
  const y = Tensor.from([1, 2, 3], { device });
  const before = device.memory.liveBytes;
  assertThrows(() => add(x, y), TypeError);
  assertThrows(() => sum(x, { axis: 4 }), RangeError);
  assertEquals(device.memory.liveBytes, before);
  x.dispose();
  y.dispose();
});

Deno.test("requiresGrad can be set on float32 leaves alone", async () => {
  const device = await defaultDevice();
  using x = Tensor.from([1], { device });
  x.requiresGrad = true;
  using y = square(x);
  assertThrows(
    () => y.requiresGrad = false,
    TypeError,
    "Cannot set requiresGrad of an op's result: only leaf tensors can; use detach()",
  );
  using ids = Tensor.from(Int32Array.of(1), { device });
  assertThrows(
    () => ids.requiresGrad = true,
    TypeError,
    "Cannot set requiresGrad of a int32 tensor: float32 is required",
  );
});

Deno.test("Tensor.from() uses the default device once there is one", async () => {
  const device = await initDevice();
  using x = Tensor.from([1, 2]);
  assertEquals(x.device, device);
});
