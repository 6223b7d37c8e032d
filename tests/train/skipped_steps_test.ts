/** Optimizer steps that cannot be done: refused memory, and gradients that are not finite. */
import { assert, assertAllClose, assertEquals, assertThrows } from "@std/assert";
import { defaultDevice, Tensor, tidy } from "../../autograd/mod.ts";
import { gradNorm } from "../../autograd/ops/grad_norm.ts";
import { Device, OutOfDeviceMemoryError } from "../../gpu/mod.ts";
import { Adafactor, AdamW, Lion, type Optimizer, SGD } from "../../train/mod.ts";
import { randomValues } from "../reference/matmul.ts";

const MAKERS: Record<string, (params: Tensor[]) => Optimizer> = {
  AdamW: (params) => new AdamW(params, { lr: 0.1 }),
  "AdamW with beta1 0": (params) => new AdamW(params, { lr: 0.1, betas: [0, 0.999] }),
  SGD: (params) => new SGD(params, { lr: 0.1, momentum: 0.9, dampening: 0.5 }),
  Lion: (params) => new Lion(params, { lr: 0.01 }),
  Adafactor: (params) => new Adafactor(params, { lr: 0.1, weightDecay: 0.1 }),
};
const SHAPES = [[5], [300], [200, 150], [7]];
const sizeOf = (shape: readonly number[]) => shape.reduce((product, n) => product * n);

function parameters(device: Device): Tensor[] {
  return SHAPES.map((shape, i) =>
    Tensor.from(randomValues(i, sizeOf(shape)), { shape, device, requiresGrad: true })
  );
}

/** Step `step`'s gradients, all finite or one of them not, and the clipped optimizer step on them. */
function clippedStep(optimizer: Optimizer, params: readonly Tensor[], step: number, broken = false): void {
  tidy(() => {
    params.forEach((param, i) => {
      const values = randomValues(10 * step + i, param.size);
      if (broken && i === 1) values[3] = Infinity;
      param.grad?.dispose();
      param.grad = Tensor.from(values, { device: param.device, shape: param.shape });
    });
    const { clip } = gradNorm(params.map(({ grad }) => grad!), 1e4);
    optimizer.step({ clip });
    optimizer.zeroGrad();
  });
}

const read = (params: readonly Tensor[]) => Promise.all(params.map((param) => param.data()));

for (const [name, make] of Object.entries(MAKERS)) {
  Deno.test(`${name} does not count steps whose gradients are not finite`, async () => {
    const device = await defaultDevice();
    const results: Float32Array[][] = [];
    for (const broken of [[0, 1, 4], []]) {
      const params = parameters(device);
      const optimizer = make(params);
      let done = 0;
      for (let i = 0; done < 4; i++) {
        if (broken.includes(i)) clippedStep(optimizer, params, 50, true);
        else clippedStep(optimizer, params, done++);
      }
      results.push(await read(params) as Float32Array[]);
      const { state } = await optimizer.stateDict();
      // Lion's steps are all alike, so that the device does not count them.
      if (name !== "Lion") assertEquals([...state.values()].map(({ step }) => step), [4, 4, 4, 4]);
      optimizer.dispose();
    }
    assertEquals(results[0], results[1]);
  });

  Deno.test(`${name} goes on from its state bit for bit after a skipped step`, async () => {
    const device = await defaultDevice();
    const params = parameters(device);
    const optimizer = make(params);
    clippedStep(optimizer, params, 0);
    clippedStep(optimizer, params, 1, true);
    clippedStep(optimizer, params, 2);
    const again = parameters(device);
    for (const [i, values] of (await read(params)).entries()) again[i].write(values);
    const resumed = make(again);
    resumed.loadStateDict(await optimizer.stateDict());
    for (let step = 3; step < 5; step++) {
      clippedStep(optimizer, params, step);
      clippedStep(resumed, again, step);
    }
    assertEquals(await read(again), await read(params));
  });

  Deno.test(`${name} changes nothing when the device has no memory for its state`, async () => {
    const device = await Device.create({ device: (await defaultDevice()).gpuDevice });
    const params = parameters(device);
    const setGrads = (all: readonly Tensor[]) =>
      all.forEach((param, i) =>
        param.grad = Tensor.from(randomValues(90 + i, param.size), { shape: param.shape, device })
      );
    setGrads(params);
    const before = await read(params);
    const optimizer = make(params);
    const free = device.memory.liveBytes;
    const refused: number[] = [];
    const more = name === "Adafactor" ? 1024 : 4096; // its state is small
    for (let extra = 0;; extra += more) {
      device.trim();
      device.memoryLimitBytes = free + extra;
      try {
        optimizer.step();
        break;
      } catch (error) {
        assert(error instanceof OutOfDeviceMemoryError, `${error}`);
        refused.push(extra);
        assertEquals(await read(params), before);
        assertEquals((await optimizer.stateDict()).state.size, 0);
      }
    }
    assert(refused.length > 2, `refused ${refused}`);
    device.memoryLimitBytes = Infinity;
    const expected = parameters(device);
    setGrads(expected);
    make(expected).step();
    assertEquals(await read(params), await read(expected));
    assertThrows(() => new AdamW([]), RangeError);
  });
}

Deno.test("AdamW's corrections on the device are those of float64", async () => {
  const device = await defaultDevice();
  for (const betas of [[0.9, 0.999], [0.5, 0.9999], [0, 0.9]] as const) {
    const clipped = [Tensor.from([1, -2, 3], { device, requiresGrad: true })];
    const plain = [Tensor.from([1, -2, 3], { device, requiresGrad: true })];
    const [one, two] = [new AdamW(clipped, { lr: 0.1, betas }), new AdamW(plain, { lr: 0.1, betas })];
    for (let step = 0; step < 40; step++) {
      clippedStep(one, clipped, step);
      plain[0].grad = Tensor.from(randomValues(10 * step, 3), { device });
      two.step();
      two.zeroGrad();
      assertAllClose(await clipped[0].data(), await plain[0].data(), { rtol: 2e-6, atol: 2e-6 });
    }
  }
});
