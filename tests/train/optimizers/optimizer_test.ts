import { assert, assertAllClose, assertEquals, assertThrows } from "@std/assert";
import { defaultDevice, Tensor, tidy } from "../../../autograd/mod.ts";
import { gradNorm } from "../../../autograd/ops/grad_norm.ts";
import { GPT2LMHeadModel } from "../../../model/mod.ts";
import {
  Adafactor,
  AdamW,
  AdamW8bit,
  clipGradNorm,
  Lion,
  type Optimizer,
  type OptimizerStateDict,
  SGD,
} from "../../../train/mod.ts";
import { randomValues } from "../../reference/matmul.ts";

const FIXTURE = new URL("../../fixtures/gpt2_tiny/", import.meta.url).pathname;

async function parameters(...values: Float32Array<ArrayBuffer>[]): Promise<Tensor[]> {
  const device = await defaultDevice();
  return values.map((value) => Tensor.from(value, { device, requiresGrad: true }));
}

/** Gives each parameter the gradient of its seed, in place of what it had. */
function setGrads(params: readonly Tensor[], seed: number): void {
  params.forEach((param, i) => {
    param.grad?.dispose();
    param.grad = Tensor.from(randomValues(seed + i, param.size), {
      device: param.device,
      shape: param.shape,
    });
  });
}

const read = (params: readonly Tensor[]) => Promise.all(params.map((param) => param.data()));

function dispose(optimizer: Optimizer, params: readonly Tensor[]): void {
  for (const param of params) param.dispose();
  optimizer.dispose();
}

Deno.test("AdamW follows torch's ten losses of the tiny GPT-2 within 1e-5, all weights training", async () => {
  const device = await defaultDevice();
  const expected = JSON.parse(await Deno.readTextFile(`${FIXTURE}expected.json`));
  const model = await GPT2LMHeadModel.load(FIXTURE, { device });
  model.train();
  const { lr, weight_decay: weightDecay, betas, eps, losses } = expected.adamw;
  const optimizer = new AdamW(model.parameters(), { lr, weightDecay, betas, eps });
  const received: number[] = [];
  for (let step = 0; step < losses.length; step++) {
    using loss = tidy(() => {
      const { loss } = model.forward({ inputIds: expected.input_ids, labels: expected.labels });
      loss!.backward();
      return loss!;
    });
    optimizer.step();
    optimizer.zeroGrad();
    received.push(await loss.item());
  }
  assertAllClose(received, losses, { rtol: 0, atol: 1e-5, label: "losses" });
  assert(optimizer.launches <= 20, `${optimizer.launches} launches for 40 tensors`);
  optimizer.dispose();
  model.dispose();
});

Deno.test("AdamW takes options of groups before its own, and shares launches among groups", async () => {
  const params = await parameters(randomValues(1, 9), randomValues(2, 5), randomValues(3, 6));
  const [a, b, c] = params;
  const optimizer = new AdamW([{ params: [a], lr: 0.5 }, { params: [b, c], weightDecay: 0 }], {
    lr: 0.1,
    weightDecay: 0.2,
  });
  assertEquals(optimizer.paramGroups.map(({ lr, weightDecay }) => [lr, weightDecay]), [[0.5, 0.2], [0.1, 0]]);
  setGrads(params, 40);
  optimizer.step();
  assertEquals(optimizer.launches, 1);
  // The first step of Adam moves every element by lr, whatever the gradient's size.
  const moved = (seed: number, size: number, lr: number, decay: number) =>
    Array.from(
      randomValues(seed, size),
      (p, i) => p * (1 - lr * decay) - lr * Math.sign(randomValues(40 + seed - 1, size)[i]),
    );
  assertAllClose(await a.data(), moved(1, 9, 0.5, 0.2), { atol: 1e-6 });
  assertAllClose(await b.data(), moved(2, 5, 0.1, 0), { atol: 1e-6 });
  assertAllClose(await c.data(), moved(3, 6, 0.1, 0), { atol: 1e-6 });
  dispose(optimizer, params);
});

Deno.test("AdamW skips parameters without a gradient, and their steps count from their first one", async () => {
  const values = randomValues(1, 7);
  const params = await parameters(values, values);
  const optimizer = new AdamW(params, { lr: 0.1 });
  setGrads([params[0]], 5);
  optimizer.step();
  assertEquals(await params[1].data(), values);
  const state = await optimizer.stateDict();
  assertEquals([...state.state.keys()], [0]);
  const first = await params[0].data();
  optimizer.zeroGrad();
  setGrads([params[1]], 5);
  optimizer.step();
  assertEquals(await params[1].data(), first);
  assertEquals(await params[0].data(), first);
  dispose(optimizer, params);
});

Deno.test("zeroGrad() disposes gradients and sets them to null", async () => {
  const params = await parameters(randomValues(1, 3));
  const optimizer = new SGD(params);
  setGrads(params, 1);
  const { grad } = params[0];
  optimizer.zeroGrad();
  assertEquals(params[0].grad, null);
  assert(grad!.isDisposed);
  dispose(optimizer, params);
});

const MAKERS: Record<string, (params: Tensor[]) => Optimizer> = {
  AdamW: (params) => new AdamW([{ params: params.slice(0, 1), lr: 0.05 }, { params: params.slice(1) }]),
  SGD: (params) => new SGD(params, { lr: 0.05, momentum: 0.9, nesterov: true, weightDecay: 0.1 }),
  Lion: (params) => new Lion([{ params: params.slice(0, 1), lr: 0.05 }, { params: params.slice(1) }]),
  Adafactor: (params) => new Adafactor(params, { lr: 0.05, weightDecay: 0.1 }),
};
for (const [name, make] of Object.entries(MAKERS)) {
  Deno.test(`${name} continues from its state dict bit for bit`, async () => {
    const values = [randomValues(1, 70_001), randomValues(2, 5), randomValues(3, 300)];
    const params = await parameters(...values);
    const optimizer = make(params);
    for (let step = 0; step < 3; step++) {
      setGrads(params, 10 * step);
      optimizer.step();
    }
    const state = await optimizer.stateDict();
    // The host's form survives JSON, as a checkpoint does.
    const copy: OptimizerStateDict = {
      state: new Map([...state.state].map(([i, s]) => [i, structuredClone(s)])),
      paramGroups: JSON.parse(JSON.stringify(state.paramGroups)),
    };
    const resumed = await parameters(...await read(params) as Float32Array<ArrayBuffer>[]);
    const second = make(resumed);
    for (const group of second.paramGroups) group.lr = 123;
    second.loadStateDict(copy);
    for (const [own, opt] of [[params, optimizer], [resumed, second]] as const) {
      setGrads(own, 99);
      opt.step();
      setGrads(own, 77);
      opt.step();
    }
    assertEquals(await read(resumed), await read(params));
    assertEquals(await second.stateDict(), await optimizer.stateDict());
    dispose(optimizer, params);
    dispose(second, resumed);
  });
}

Deno.test("loadStateDict() refuses the state of other groups or sizes", async () => {
  const params = await parameters(randomValues(1, 4), randomValues(2, 5));
  const optimizer = new AdamW(params);
  setGrads(params, 1);
  optimizer.step();
  const state = await optimizer.stateDict();
  const [one] = params;
  assertThrows(
    () => new AdamW([one]).loadStateDict(state),
    TypeError,
    "Cannot load the optimizer's state: groups of 1 parameters are required, received 2",
  );
  state.state.get(1)!.buffers.exp_avg = new Float32Array(3);
  assertThrows(
    () => optimizer.loadStateDict(state),
    TypeError,
    `Cannot load the optimizer's state: "exp_avg" of parameter 1 must have 5 elements, received 3`,
  );
  dispose(optimizer, params);
});

Deno.test("AdamW with the clip of gradNorm() equals clipGradNorm() and then AdamW", async () => {
  const values = [randomValues(1, 1000), randomValues(2, 33)];
  const fused = await parameters(...values);
  const separate = await parameters(...values);
  const optimizers = [new AdamW(fused), new AdamW(separate)];
  for (let step = 0; step < 2; step++) {
    setGrads(fused, 7 + step);
    setGrads(separate, 7 + step);
    tidy(() => optimizers[0].step({ clip: gradNorm(fused.map(({ grad }) => grad!), 0.5).clip }));
    clipGradNorm(separate, 0.5).dispose();
    optimizers[1].step();
  }
  // A product in the kernel may be fused into the next sum.
  const [a, b] = [await read(fused), await read(separate)];
  a.forEach((value, i) => assertAllClose(value, b[i], { rtol: 1e-6, atol: 1e-7 }));
  dispose(optimizers[0], fused);
  dispose(optimizers[1], separate);
});

for (const bad of [NaN, Infinity]) {
  Deno.test(`optimizers change nothing when the gradient norm in clip is ${bad}`, async () => {
    for (const make of Object.values(MAKERS)) {
      const params = await parameters(randomValues(1, 40), randomValues(2, 3));
      const optimizer = make(params);
      setGrads(params, 1);
      optimizer.step();
      const before = await read(params);
      const { state } = await optimizer.stateDict();
      setGrads(params, 3);
      const values = randomValues(4, 3);
      values[1] = bad;
      params[1].grad!.write(values);
      tidy(() => optimizer.step({ clip: gradNorm(params.map(({ grad }) => grad!), 1).clip }));
      assertEquals(await read(params), before);
      const after = await optimizer.stateDict();
      for (const [i, { buffers }] of state) assertEquals(after.state.get(i)!.buffers, buffers);
      dispose(optimizer, params);
    }
  });
}

Deno.test("clipGradNorm() gives the norm before clipping, scales in place, and passes over null gradients", async () => {
  const params = await parameters(new Float32Array(2), new Float32Array(3), new Float32Array(2));
  const { device } = params[0];
  params[0].grad = Tensor.from([3, 0], { device });
  params[1].grad = Tensor.from([0, 4, 0], { device });
  using norm = clipGradNorm(new Set(params), 1);
  assertEquals(norm.shape, []);
  assertEquals(await norm.item(), 5);
  assertAllClose(await params[0].grad.data(), [3 / 5.000001, 0], { rtol: 2e-7, atol: 0 });
  assertAllClose(await params[1].grad.data(), [0, 4 / 5.000001, 0], { rtol: 2e-7, atol: 0 });
  using unchanged = clipGradNorm(params[0], 100);
  assertAllClose([await unchanged.item()], [3 / 5.000001], { rtol: 2e-7, atol: 0 });
  using none = clipGradNorm(params[2], 1);
  assertEquals(await none.item(), 0);
  assertThrows(
    () => clipGradNorm([], 1),
    RangeError,
    "Cannot clip gradients: at least one parameter is required",
  );
  for (const param of params) param.dispose();
});

Deno.test("Optimizers check parameters and options before any work", async () => {
  const params = await parameters(randomValues(1, 4));
  const cases: [() => unknown, typeof RangeError | typeof TypeError, string][] = [
    [() => new AdamW([]), RangeError, "Cannot make AdamW: at least one parameter is required, received none"],
    [
      () => new AdamW(params, { lr: -1 }),
      RangeError,
      "Cannot make AdamW: lr must be at least 0, received -1",
    ],
    [
      () => new AdamW(params, { lr: NaN }),
      RangeError,
      "Cannot make AdamW: lr must be at least 0, received NaN",
    ],
    [
      () => new AdamW(params, { betas: [0.9, 1] }),
      RangeError,
      "Cannot make AdamW: betas[1] must be from 0 to below 1, received 1",
    ],
    [() => new AdamW([...params, ...params]), TypeError, "each parameter may come once, received one twice"],
    [
      () => new SGD(params, { nesterov: true }),
      RangeError,
      "Cannot make SGD: nesterov needs momentum and no dampening, received momentum 0 and dampening 0",
    ],
    [() => new SGD(params, { momentum: -0.1 }), RangeError, "Cannot make SGD: momentum must be at least 0"],
    [
      () => new Lion(params, { betas: [1, 0] }),
      RangeError,
      "Cannot make Lion: betas[0] must be from 0 to below 1, received 1",
    ],
    [
      () => new Adafactor(params, { decayRate: 0.8 }),
      RangeError,
      "Cannot make Adafactor: decayRate must be from -16 to below 0, received 0.8",
    ],
    [
      () => new Adafactor(params, { clipThreshold: 0 }),
      RangeError,
      "Cannot make Adafactor: clipThreshold must be at least",
    ],
  ];
  for (const [make, kind, message] of cases) assertThrows(make, kind, message);
  params[0].dispose();
});

Deno.test("optimizers refuse options that do not exist, of groups too, and what is no tensor", async () => {
  const device = await defaultDevice();
  const weight = Tensor.from([1], { device, requiresGrad: true });
  const params = (of: unknown) => of as Tensor[];
  for (const [name, Optimizer] of Object.entries({ Lion, AdamW, AdamW8bit, SGD, Adafactor })) {
    const action = `Cannot make ${name === "AdamW8bit" ? "AdamW" : name}: `;
    const misspelt = { weight_decay: 0.1 } as object;
    for (
      const make of [
        () => new Optimizer([weight], misspelt),
        () => new Optimizer([{ params: [weight], ...misspelt }]),
      ]
    ) {
      assertThrows(make, TypeError, `${action}unknown option "weight_decay", did you mean "weightDecay"?`);
    }
    const required =
      `${action}tensors, such as model.parameters(), or groups { params } of them are required, received `;
    const named = () => new Map([["weight", weight]]).entries();
    for (
      const [given, received] of [
        [named(), "pairs of a name and a parameter"],
        [[{ params: named() }], "pairs of a name and a parameter"],
        [[{}], "undefined"],
        [undefined, "undefined"],
        [new (class Model {})(), "a Model"],
      ] as const
    ) assertThrows(() => new Optimizer(params(given)), TypeError, required + received);
    new Optimizer([{ params: new Set([weight]).values(), lr: 0.5 }], { weightDecay: 0 }).dispose();
  }
});
