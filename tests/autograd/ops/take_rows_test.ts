import { assertThrows } from "@std/assert";
import { chooseRows, defaultDevice, placeRows, takeRows, Tensor } from "../../../autograd/mod.ts";
import { checkOp } from "../../reference/check_op.ts";
import { ownDevice } from "../../reference/fixtures.ts";
import { randomValues } from "../../reference/matmul.ts";
import { anotherDevice } from "../../reference/another_device.ts";

Deno.test("takeRows() copies rows, also beyond the binding limit, and scatters their gradient", async () => {
  const small = await anotherDevice({ limits: { maxStorageBufferBindingSize: 1024 } });
  for (const device of [await ownDevice(), small]) {
    for (
      const [count, C, rows] of [[5, 3, [4, 0]], [7, 4, [1, 2, 3, 6]], [1, 1, [0]], [300, 2, [
        299,
        0,
        128,
        127,
      ]]] as const
    ) {
      await checkOp({
        label: `takeRows ${rows} of [${count}, ${C}]`,
        device,
        inputs: { x: { data: randomValues(1, count * C), shape: [count, C] } },
        op: ({ x }) => takeRows(x, chooseRows(device, count, rows)),
        shape: [rows.length, C],
        reference: ({ x }) => ({
          y: Float64Array.from({ length: rows.length * C }, (_, i) => x[rows[Math.floor(i / C)] * C + i % C]),
          gradients: (dy) => {
            const dx = new Float64Array(count * C);
            rows.forEach((row, i) => {
              for (let c = 0; c < C; c++) dx[row * C + c] = dy[i * C + c];
            });
            return { x: dx };
          },
        }),
        gate: { rtol: 0, atol: 0 }, // a copy
        gradientGate: { rtol: 0, atol: 0 },
      });
    }
  }
  small.trim();
});

Deno.test("takeRows() refuses other matrices, no rows, and rows outside or twice", async () => {
  const device = await defaultDevice();
  const choice = chooseRows(device, 4, [1, 3]);
  const x = Tensor.from(new Float32Array(6), { device, shape: [3, 2] });
  assertThrows(() => takeRows(x, choice), TypeError, "a float32 matrix of 4 rows is required");
  assertThrows(() => chooseRows(device, 4, []), RangeError, "at least one is required, received none");
  for (
    const [rows, message] of [[[0, 4], "received 4 at 1"], [[1, 1], "received 1 at 1"], [
      [-1],
      "received -1 at 0",
    ]] as const
  ) {
    assertThrows(() => chooseRows(device, 4, rows), RangeError, message);
  }
});

Deno.test("placeRows() puts rows where they were taken from, also beyond the binding limit, and takes their gradient", async () => {
  const small = await anotherDevice({ limits: { maxStorageBufferBindingSize: 1024 } });
  for (const device of [await ownDevice(), small]) {
    for (const [count, C, rows] of [[5, 3, [4, 0]], [1, 1, [0]], [300, 2, [299, 0, 128, 127]]] as const) {
      await checkOp({
        label: `placeRows ${rows} of [${count}, ${C}]`,
        device,
        inputs: { x: { data: randomValues(1, rows.length * C), shape: [rows.length, C] } },
        op: ({ x }) => placeRows(x, chooseRows(device, count, rows)),
        shape: [count, C],
        reference: ({ x }) => {
          const y = new Float64Array(count * C);
          rows.forEach((row, i) => {
            for (let c = 0; c < C; c++) y[row * C + c] = x[i * C + c];
          });
          const gradient = (dy: ArrayLike<number>) =>
            Float64Array.from(
              { length: rows.length * C },
              (_, i) => dy[rows[Math.floor(i / C)] * C + i % C],
            );
          return { y, gradients: (dy) => ({ x: gradient(dy) }) };
        },
        gate: { rtol: 0, atol: 0 }, // a copy
        gradientGate: { rtol: 0, atol: 0 },
      });
    }
  }
  small.trim();
  const device = await defaultDevice();
  using x = Tensor.from(new Float32Array(6), { device, shape: [3, 2] });
  assertThrows(
    () => placeRows(x, chooseRows(device, 5, [1, 2])),
    TypeError,
    "Cannot place rows of float32 [3, 2]: a float32 matrix of 2 rows is required",
  );
});
