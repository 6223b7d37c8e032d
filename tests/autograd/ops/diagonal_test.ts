import { assertThrows } from "@std/assert";
import { addDiagonal, defaultDevice, full } from "../../../autograd/mod.ts";
import { checkOp } from "../../reference/check_op.ts";
import { randomValues } from "../../reference/matmul.ts";

Deno.test("addDiagonal() agrees with the float64 reference", async () => {
  for (const shape of [[1, 1], [4, 4], [3, 5, 5], [2, 2, 33, 33]]) {
    const k = shape.at(-1)!;
    await checkOp({
      label: `addDiagonal ${shape}`,
      inputs: { x: { data: randomValues(7, shape.reduce((a, b) => a * b)), shape } },
      op: ({ x }) => addDiagonal(x, -1.5),
      shape,
      reference: ({ x }) => ({
        y: Float64Array.from(x, (v, i) => v + (i % k === Math.floor(i / k) % k ? -1.5 : 0)),
        gradients: (dy) => ({ x: Float64Array.from(dy) }),
      }),
    });
  }
});

Deno.test("addDiagonal() refuses what is not square", async () => {
  using x = full(await defaultDevice(), [3, 4], 0);
  assertThrows(
    () => addDiagonal(x, 1),
    TypeError,
    "Cannot add to the diagonal of [3, 4]: square matrices [..., k, k] are required",
  );
});
