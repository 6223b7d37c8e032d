import { assertAllClose, assertEquals, assertThrows } from "@std/assert";
import { defaultDevice, full, Tensor, updateImportance } from "../../../autograd/mod.ts";
import { randomValues } from "../../reference/matmul.ts";

Deno.test("updateImportance() agrees with the float64 reference over steps", async () => {
  const device = await defaultDevice();
  const before = device.memory.liveBytes;
  for (const shape of [[1], [5, 13], [67, 3]]) {
    const size = shape.reduce((a, b) => a * b);
    const importance = { sensitivity: full(device, shape, 0), uncertainty: full(device, shape, 0) };
    const s = new Float64Array(size);
    const u = new Float64Array(size);
    for (let step = 0; step < 3; step++) {
      const [p, g] = [randomValues(10 + step, size), randomValues(20 + step, size)];
      using parameter = Tensor.from(p, { device, shape });
      using grad = Tensor.from(g, { device, shape });
      updateImportance(parameter, grad, importance, 0.8, 0.9);
      for (let i = 0; i < size; i++) {
        const ipt = Math.abs(p[i] * g[i]);
        s[i] = 0.8 * s[i] + 0.2 * ipt;
        u[i] = 0.9 * u[i] + 0.1 * Math.abs(ipt - s[i]);
      }
    }
    assertAllClose(await importance.sensitivity.data(), s, { rtol: 1e-6, atol: 1e-7 });
    assertAllClose(await importance.uncertainty.data(), u, { rtol: 1e-6, atol: 1e-7 });
    importance.sensitivity.dispose();
    importance.uncertainty.dispose();
  }
  assertEquals(device.memory.liveBytes, before);
});

Deno.test("updateImportance() refuses a gradient of another shape", async () => {
  const device = await defaultDevice();
  using p = full(device, [2, 3], 1);
  using g = full(device, [3, 2], 1);
  assertThrows(
    () => updateImportance(p, g, { sensitivity: p, uncertainty: p }, 0.5, 0.5),
    TypeError,
    "Cannot take the importance of [2, 3]: tensors of the same shape are required, received [3, 2]",
  );
});
