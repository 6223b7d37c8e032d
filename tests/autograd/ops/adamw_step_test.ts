import { assert, assertAllClose, assertEquals, assertThrows } from "@std/assert";
import { SlotState } from "../../../autograd/ops/_slot_state.ts";
import { adamwRule, type AdamWValues } from "../../../autograd/ops/adamw_step.ts";
import { Tensor } from "../../../autograd/tensor.ts";
import { defaultDevice, Device } from "../../../gpu/mod.ts";
import { randomValues } from "../../reference/matmul.ts";
import { pretendHardware } from "../../reference/profiles.ts";
import { anotherDevice } from "../../reference/another_device.ts";

const VALUES: Omit<AdamWValues, "step"> = { lr: 1e-2, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.1 };

/** One step of torch.optim.AdamW (_single_tensor_adam, decoupled) in float64; p, m and v are replaced. */
function reference(p: Float64Array, g: ArrayLike<number>, m: Float64Array, v: Float64Array, o: AdamWValues) {
  const [beta1, beta2] = o.betas;
  for (let i = 0; i < p.length; i++) {
    p[i] *= 1 - o.lr * o.weightDecay;
    m[i] += (1 - beta1) * (g[i] - m[i]);
    v[i] = beta2 * v[i] + (1 - beta2) * g[i] * g[i];
    const denominator = Math.sqrt(v[i]) / Math.sqrt(1 - beta2 ** o.step) + o.eps;
    p[i] -= o.lr / (1 - beta1 ** o.step) * m[i] / denominator;
  }
}

const read = async (tensor: Tensor) => await tensor.data() as Float32Array<ArrayBuffer>;

/** Runs steps at the given counts on tensors of these sizes and compares p, m and v with the reference. */
async function check(
  device: Device,
  sizes: number[],
  steps: number[],
  scale = 1,
): Promise<SlotState<AdamWValues>> {
  const params = sizes.map((size, i) => Tensor.from(randomValues(i, size), { device }));
  const state = new SlotState(params, adamwRule);
  const expected = sizes.map((size, i) => ({
    p: Float64Array.from(randomValues(i, size)),
    m: new Float64Array(size),
    v: new Float64Array(size),
  }));
  for (const step of steps) {
    const grads = sizes.map((size, i) => randomValues(1000 * step + i, size).map((g) => g * scale));
    state.prepare(() => {}, () => ({ ...VALUES, step }));
    const tensors = grads.map((grad) => Tensor.from(grad, { device }));
    state.launch(tensors);
    for (const tensor of tensors) tensor.dispose();
    grads.forEach((grad, i) =>
      reference(expected[i].p, grad, expected[i].m, expected[i].v, { ...VALUES, step })
    );
  }
  for (const [i, { p, m, v }] of expected.entries()) {
    // Relative to what an update moves: an element that lands near 0 keeps the error of its terms.
    const label = `size ${sizes[i]}, steps ${steps}`;
    assertAllClose(await read(params[i]), p, { rtol: 2e-6, atol: 2e-7, label: `p, ${label}` });
    const moments = await state.read(i);
    const tiny = 2e-6 * scale;
    assertAllClose(moments![0], m, { rtol: 2e-6, atol: tiny * 0.1, label: `m, ${label}` });
    assertAllClose(moments![1], v, { rtol: 2e-6, atol: 0, label: `v, ${label}` });
  }
  for (const param of params) param.dispose();
  return state;
}

Deno.test("SlotState with adamwRule agrees with the float64 reference for sizes that fill no vector, group or pack", async () => {
  const device = await defaultDevice();
  (await check(device, [1, 2, 3, 4, 5, 63, 64, 257, 1000, 7, 20001, 1, 12], [1, 2])).dispose();
});

Deno.test("SlotState with adamwRule agrees with the float64 reference at t = 1, 10 and 1,000,000", async () => {
  const device = await defaultDevice();
  for (const step of [1, 10, 1_000_000]) (await check(device, [300], [step])).dispose();
});

Deno.test("SlotState with adamwRule stays finite and close where the squares of gradients are denormal", async () => {
  const device = await defaultDevice();
  const param = Tensor.from(Float32Array.of(1, -1, 0.5, 2), { device });
  const state = new SlotState([param], adamwRule);
  const grad = Float32Array.of(1e-20, -1e-21, 3e-23, 1e-30);
  state.prepare(() => {}, () => ({ ...VALUES, step: 1 }));
  using tensor = Tensor.from(grad, { device });
  state.launch([tensor]);
  const p = Float64Array.of(1, -1, 0.5, 2);
  reference(p, grad, new Float64Array(4), new Float64Array(4), { ...VALUES, step: 1 });
  assertAllClose(await read(param), p, { rtol: 2e-6, atol: 0 });
  param.dispose();
  state.dispose();
});

Deno.test("SlotState with adamwRule works on a device with 8 and with 10 storage buffers a stage", async () => {
  const sizes = [5, 100, 3, 64, 9, 17000, 2];
  for (const maxStorageBuffersPerShaderStage of [8, 10]) {
    const device = await Device.create({ limits: { maxStorageBuffersPerShaderStage } });
    assertEquals(device.limits.maxStorageBuffersPerShaderStage, maxStorageBuffersPerShaderStage);
    (await check(device, sizes, [1, 2])).dispose();
    device.destroy();
  }
});

Deno.test("SlotState with adamwRule fills the slots that a device beyond software offers", async () => {
  const device = await anotherDevice();
  pretendHardware(device);
  const most = Math.floor((device.limits.maxStorageBuffersPerShaderStage - 2) / 2);
  const state = await check(device, Array.from({ length: 2 * most }, (_, i) => 3 + 37 * i), [1, 2]);
  assertEquals(state.launches, 2);
  state.dispose();
  device.trim();
});

Deno.test("SlotState with adamwRule updates a tensor larger than a binding in windows, each a slot of its own", async () => {
  const device = await anotherDevice();
  // WebGPU grants no less than 128 MiB, so the limit is what this object says.
  const limits = new Proxy(device.limits, {
    get: (target, name) =>
      name === "maxStorageBufferBindingSize" ? 64 * 1024 : Reflect.get(target, name, target),
  });
  Object.defineProperty(device, "limits", { value: limits });
  const state = await check(device, [30_000, 10], [1, 2]);
  assert(state.launches >= 4, `${state.launches} launches`);
  state.dispose();
  device.trim();
});

Deno.test("SlotState with adamwRule takes few launches whatever the number of tensors", async () => {
  const device = await defaultDevice();
  const params = Array.from({ length: 48 }, () => Tensor.from(new Float32Array(8), { device }));
  const state = new SlotState(params, adamwRule);
  assert(state.launches <= 12, `${state.launches} launches`);
  for (const param of params) param.dispose();
  state.dispose();
});

Deno.test("SlotState with adamwRule leaves tensors without a gradient as they are, and their neighbours right", async () => {
  const device = await defaultDevice();
  const values = [0, 1, 2].map((i) => randomValues(i, 6));
  const params = values.map((value) => Tensor.from(value, { device }));
  const state = new SlotState(params, adamwRule);
  const grad = randomValues(9, 6);
  state.prepare(() => {}, () => ({ ...VALUES, step: 1 }));
  using tensor = Tensor.from(grad, { device });
  state.launch([null, tensor, null]);
  const p = Float64Array.from(values[1]);
  reference(p, grad, new Float64Array(6), new Float64Array(6), { ...VALUES, step: 1 });
  assertAllClose(await read(params[1]), p, { rtol: 2e-6, atol: 2e-7 });
  assertEquals(await read(params[0]), values[0]);
  assertEquals(await read(params[2]), values[2]);
  for (const param of params) param.dispose();
  state.dispose();
});

Deno.test("SlotState with adamwRule gives back every byte", async () => {
  const device = await defaultDevice();
  const before = device.memory.liveBytes;
  (await check(device, [5, 6, 7], [1])).dispose();
  assertEquals(device.memory.liveBytes, before);
});

Deno.test("SlotState with adamwRule wants float32 tensors, at least one", async () => {
  const device = await defaultDevice();
  using ids = Tensor.from(Int32Array.of(1), { device });
  assertThrows(
    () => new SlotState([ids], adamwRule),
    TypeError,
    "Cannot make AdamW: float32 tensors are required, received int32 [1]",
  );
  assertThrows(
    () => new SlotState([], adamwRule),
    RangeError,
    "Cannot make AdamW: at least one tensor is required",
  );
});
