import { assertAllClose, assertEquals } from "@std/assert";
import { SlotState } from "../../../autograd/ops/_slot_state.ts";
import { sgdRule, type SGDValues } from "../../../autograd/ops/sgd_step.ts";
import { Tensor } from "../../../autograd/tensor.ts";
import { defaultDevice } from "../../../gpu/mod.ts";
import { randomValues } from "../../reference/matmul.ts";

/** One step of torch.optim.SGD (_single_tensor_sgd) in float64; returns the new p and momentum buffer. */
function reference(p: Float64Array, g: ArrayLike<number>, buffer: Float64Array | null, o: SGDValues) {
  const d = p.map((value, i) => g[i] + o.weightDecay * value);
  if (o.momentum === 0) return { p: p.map((value, i) => value - o.lr * d[i]), buffer: null };
  const next = buffer ? buffer.map((b, i) => o.momentum * b + (1 - o.dampening) * d[i]) : d;
  const step = o.nesterov ? d.map((value, i) => value + o.momentum * next[i]) : next;
  return { p: p.map((value, i) => value - o.lr * step[i]), buffer: next };
}

const BASE = { lr: 0.1, momentum: 0, dampening: 0, weightDecay: 0, nesterov: false };
const CASES: Omit<SGDValues, "step">[] = [
  BASE,
  { ...BASE, weightDecay: 0.2 },
  { ...BASE, momentum: 0.9 },
  { ...BASE, momentum: 0.9, dampening: 0.3, weightDecay: 0.1 },
  { ...BASE, momentum: 0.9, nesterov: true, weightDecay: 0.1 },
];

for (const values of CASES) {
  Deno.test(`SlotState with sgdRule agrees with the float64 reference over three steps with ${JSON.stringify(values)}`, async () => {
    const device = await defaultDevice();
    const sizes = [1, 6, 64, 1001, 5, 3];
    const params = sizes.map((size, i) => Tensor.from(randomValues(i, size), { device }));
    const state = new SlotState(params, sgdRule(values.momentum !== 0));
    const expected = sizes.map((size, i) => ({
      p: Float64Array.from(randomValues(i, size)),
      buffer: null as Float64Array | null,
    }));
    for (let step = 0; step < 3; step++) {
      const now = { ...values, step: step + 1 };
      state.prepare(() => {}, () => now);
      const grads = sizes.map((size, i) => randomValues(100 * step + i + 50, size));
      const tensors = grads.map((grad) => Tensor.from(grad, { device }));
      state.launch(tensors);
      for (const tensor of tensors) tensor.dispose();
      grads.forEach((grad, i) => expected[i] = reference(expected[i].p, grad, expected[i].buffer, now));
    }
    for (const [i, { p, buffer }] of expected.entries()) {
      const label = `size ${sizes[i]}`;
      assertAllClose(await params[i].data(), p, { rtol: 2e-6, atol: 5e-7, label });
      if (buffer) assertAllClose((await state.read(i))![0], buffer, { rtol: 2e-6, atol: 5e-7, label });
    }
    for (const param of params) param.dispose();
    state.dispose();
  });
}

Deno.test("SlotState with sgdRule without momentum keeps nothing for the elements", async () => {
  const device = await defaultDevice();
  using param = Tensor.from(randomValues(1, 100_000), { device });
  using grad = Tensor.from(randomValues(2, 100_000), { device });
  const before = device.memory.liveBytes;
  const state = new SlotState([param], sgdRule(false));
  state.prepare(() => {}, () => ({ ...BASE, step: 1 }));
  state.launch([grad]);
  assertEquals(device.memory.liveBytes - before, 256);
  assertEquals(await state.read(0), []);
  state.dispose();
  assertEquals(device.memory.liveBytes, before);
});
