import { assertThrows } from "@std/assert";
import { defaultDevice, replaceRows, Tensor } from "../../../autograd/mod.ts";
import { checkOp } from "../../reference/check_op.ts";
import { ownDevice } from "../../reference/fixtures.ts";
import { randomValues } from "../../reference/matmul.ts";

Deno.test("replaceRows() copies rows into a table and gathers their gradient", async () => {
  const device = await ownDevice();
  for (const [V, C, ids] of [[5, 3, [4, 0]], [7, 4, [1, 2, 3, 6]], [3, 1, [2, 1, 0]]] as const) {
    await checkOp({
      label: `replaceRows ${ids} of [${V}, ${C}]`,
      device,
      inputs: {
        table: { data: randomValues(1, V * C), shape: [V, C] },
        rows: { data: randomValues(2, ids.length * C), shape: [ids.length, C] },
      },
      frozen: ["table"],
      op: ({ table, rows }) => replaceRows(table, ids, rows),
      shape: [V, C],
      reference: ({ table, rows }) => {
        const y = Float64Array.from(table);
        ids.forEach((id, i) => {
          for (let c = 0; c < C; c++) y[id * C + c] = rows[i * C + c];
        });
        const gather = (dy: ArrayLike<number>) =>
          Float64Array.from({ length: ids.length * C }, (_, i) => dy[ids[Math.floor(i / C)] * C + i % C]);
        return { y, gradients: (dy) => ({ rows: gather(dy) }) };
      },
      gate: { rtol: 0, atol: 0 }, // a copy
      gradientGate: { rtol: 0, atol: 0 },
    });
  }
});

Deno.test("replaceRows() refuses tables that train, rows that do not fit, and ids outside or twice", async () => {
  const device = await defaultDevice();
  const make = (shape: number[], requiresGrad = false) =>
    Tensor.from(new Float32Array(shape.reduce((a, b) => a * b)), { device, shape, requiresGrad });
  const [table, rows] = [make([4, 2]), make([2, 2])];
  assertThrows(
    () => replaceRows(make([4, 2], true), [0, 1], rows),
    TypeError,
    "a frozen float32 matrix is required",
  );
  assertThrows(
    () => replaceRows(make([4]), [0, 1], rows),
    TypeError,
    "Cannot replace rows of a float32 table [4]",
  );
  assertThrows(
    () => replaceRows(table, [0], rows),
    TypeError,
    "float32 [1, 2] is required, received float32 [2, 2]",
  );
  for (const ids of [[0, 4], [1, 1], [-1, 0]]) {
    assertThrows(
      () => replaceRows(table, ids, rows),
      RangeError,
      `Cannot replace rows: ids from 0 to 3, each once, are required, received ${ids.join(", ")}`,
    );
  }
});
