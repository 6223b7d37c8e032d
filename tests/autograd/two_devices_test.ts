import { assertEquals, assertThrows } from "@std/assert";
import {
  add,
  concat,
  crossEntropy,
  defaultDevice,
  Device,
  divide,
  embedding,
  layerNorm,
  linear,
  matmul,
  multiply,
  Tensor,
} from "../../autograd/mod.ts";
import { AdamW } from "../../train/mod.ts";

Deno.test("ops on tensors of two devices are refused, and both devices go on", async () => {
  const { gpuDevice } = await defaultDevice();
  const [one, two] = [await Device.create({ device: gpuDevice }), await Device.create()];
  const on = (device: Device) => ({
    x: Tensor.from([[1, 2], [3, 4]], { device, requiresGrad: true }),
    row: Tensor.from([1, 2], { device }),
    ids: Tensor.from([1, 0], { device, dtype: "int32" }),
  });
  for (const [a, b] of [[on(one), on(two)], [on(two), on(one)]]) {
    const calls: Record<string, () => unknown> = {
      add: () => add(a.x, b.x),
      "add a row": () => add(a.x, b.row),
      multiply: () => multiply(a.x, b.x),
      divide: () => divide(a.x, b.x),
      matmul: () => matmul(a.x, b.x),
      linear: () => linear(a.x, b.x, null),
      "linear with a bias": () => linear(a.x, a.x, b.row),
      concat: () => concat([a.x, b.x], 0),
      layerNorm: () => layerNorm(a.x, b.row, a.row),
      embedding: () => embedding(a.ids, b.x),
      crossEntropy: () => crossEntropy(a.x, b.ids),
      backward: () => multiply(a.x, a.x).backward(b.x),
      AdamW: () => {
        const optimizer = new AdamW([a.x, b.x]);
        a.x.grad = Tensor.from([[1, 1], [1, 1]], { device: a.x.device });
        b.x.grad = Tensor.from([[1, 1], [1, 1]], { device: b.x.device });
        optimizer.step();
      },
    };
    for (const [name, call] of Object.entries(calls)) {
      assertThrows(call, TypeError, "all tensors must be on one device", name);
    }
    for (const { x } of [a, b]) assertEquals([...await x.data()], [1, 2, 3, 4]);
  }
  two.destroy();
});
