import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  add,
  defaultDevice,
  type Device,
  keep,
  scale,
  square,
  sum,
  Tensor,
  tidy,
  untracked,
} from "../../autograd/mod.ts";

async function freshDevice(): Promise<Device> {
  const { Device } = await import("../../gpu/mod.ts");
  return Device.create({ device: (await defaultDevice()).gpuDevice });
}

Deno.test("tidy() frees everything but its result, in arrays, objects and maps of any depth", async () => {
  const device = await freshDevice();
  const result = tidy(() => {
    const x = Tensor.from([1, 2], { device });
    const y = scale(x, 2);
    square(y);
    return { list: [y, { deep: add(x, y) }], map: new Map([["z", scale(y, 5)]]), number: 3, nothing: null };
  });
  assertEquals(device.memory.buffers, 3);
  const [y, { deep }] = result.list as [Tensor, { deep: Tensor }];
  assertEquals([...await y.data()], [2, 4]);
  assertEquals([...await deep.data()], [3, 6]);
  assertEquals([...await result.map.get("z")!.data()], [10, 20]);
  assertEquals(result.number, 3);
  for (const tensor of [y, deep, result.map.get("z")!]) tensor.dispose();
  assertEquals(device.memory.buffers, 0);
});

Deno.test("tidy() hands its result to the scope around it", async () => {
  const device = await freshDevice();
  let inner: Tensor | undefined;
  const outer = tidy(() => {
    inner = tidy(() => {
      Tensor.from([9], { device });
      return Tensor.from([1], { device });
    });
    assert(!inner.isDisposed);
    return scale(inner, 2);
  });
  assert(inner!.isDisposed && !outer.isDisposed);
  assertEquals(await outer.item(), 2);
  outer.dispose();
  assertEquals(device.memory.buffers, 0);
});

Deno.test("tidy() frees everything when its body throws, and the scopes around go on", async () => {
  const device = await freshDevice();
  const y = tidy(() => {
    const x = Tensor.from([2], { device });
    assertThrows(
      () =>
        tidy(() => {
          square(x);
          Tensor.from([1], { device });
          throw new RangeError("inside");
        }),
      RangeError,
      "inside",
    );
    assertEquals(device.memory.buffers, 1);
    return square(x);
  });
  assertEquals(await y.item(), 4);
  y.dispose();
  assertEquals(device.memory.buffers, 0);
});

Deno.test("tidy() refuses an asynchronous body instead of freeing its tensors under it", async () => {
  const device = await freshDevice();
  assertThrows(
    () =>
      tidy(async () => {
        const x = Tensor.from([1], { device });
        await x.data();
        return x;
      }),
    TypeError,
    "Cannot tidy an asynchronous function: its tensors would be disposed at its first await",
  );
  await new Promise((resolve) => setTimeout(resolve, 50));
  assertEquals(device.memory.buffers, 0);
});

Deno.test("tidy() leaves tensors of outside and what the tape saved alone", async () => {
  const device = await freshDevice();
  const x = Tensor.from([3], { device, requiresGrad: true });
  const loss = tidy(() => sum(square(scale(x, 2)))); // the tape holds 2x
  assert(!x.isDisposed);
  loss.backward();
  assertEquals([...await x.grad!.data()], [24]);
  x.dispose();
  loss.dispose();
  assertEquals(device.memory.buffers, 0);
});

Deno.test("keep() takes a tensor out of every open scope, untracked() makes it outside", async () => {
  const device = await freshDevice();
  const kept: Tensor[] = [];
  tidy(() =>
    tidy(() => {
      kept.push(keep(Tensor.from([1], { device })));
      kept.push(untracked(() => scale(kept[0], 2)));
      Tensor.from([5], { device });
    })
  );
  assertEquals(kept.map((tensor) => tensor.isDisposed), [false, false]);
  assertEquals(await kept[1].item(), 2);
  for (const tensor of kept) tensor.dispose();
  assertEquals(device.memory.buffers, 0);
});

Deno.test("tidy() may dispose early, return nothing, and return one tensor twice", async () => {
  const device = await freshDevice();
  assertEquals(tidy(() => undefined), undefined);
  const [a, b] = tidy(() => {
    const x = Tensor.from([4], { device });
    const y = scale(x, 2);
    x.dispose();
    return [y, y];
  });
  assert(a === b);
  assertEquals(await a.item(), 8);
  a.dispose();
  assertEquals(device.memory.buffers, 0);
});
