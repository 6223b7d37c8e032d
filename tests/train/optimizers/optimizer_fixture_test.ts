/** Optimizers beside those of torch, transformers and lion-pytorch in float64, by their state dicts too. */
import { assert, assertAllClose, assertEquals, assertThrows } from "@std/assert";
import { defaultDevice, Tensor, tidy } from "../../../autograd/mod.ts";
import { gradNorm } from "../../../autograd/ops/grad_norm.ts";
import { Device } from "../../../gpu/mod.ts";
import { Adafactor, AdamW, Lion, type Optimizer, SGD, TrainingArguments } from "../../../train/mod.ts";
import { makeOptimizer, OPTIMIZER_NAMES, type OptimizerName } from "../../../train/optimizers/table.ts";
import { expectedOf } from "../../reference/fixtures.ts";

interface Fixture {
  readonly shapes: number[][];
  readonly steps: number;
  readonly kept: number[];
  readonly cases: Record<string, Record<string, number | boolean | [number, number]>>;
}
const fixture = await expectedOf<Fixture>("optimizers");
const { shapes, steps, kept, cases } = fixture.json;

const camel = (name: string) => name.replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase());

function make(name: string, params: readonly Tensor[]): Optimizer {
  // what our Adafactor never does is no option of it
  const { scale_parameter: _s, relative_step: _r, ...given } = cases[name];
  const options = Object.fromEntries(Object.entries(given).map(([key, value]) => [camel(key), value]));
  const Kind = { adafactor: Adafactor, lion: Lion, sgd: SGD, adamw: AdamW }[name.split("_")[0]];
  assert(Kind, name);
  return new (Kind as new (params: Iterable<Tensor>, options: object) => Optimizer)(params, options);
}

/** As `numbers` of tests/oracle/optimizers_fixture.py. */
function numbers(size: number, seed: number, scale = 1): Float32Array<ArrayBuffer> {
  return Float32Array.from(
    { length: size },
    (_, i) => ((i * 7919 + seed * 104729) % 2003 - 1001) / 1024 * scale,
  );
}

const sizeOf = (shape: readonly number[]) => shape.reduce((product, n) => product * n);

function parameters(device: Device): Tensor[] {
  return shapes.map((shape, i) =>
    Tensor.from(numbers(sizeOf(shape), i), { shape, device, requiresGrad: true })
  );
}

function step(optimizer: Optimizer, params: readonly Tensor[], number: number, clipped: boolean): void {
  tidy(() => {
    params.forEach((param, i) => {
      const values = numbers(param.size, 17 + 5 * number + i, 2 ** -(number % 4));
      param.grad = Tensor.from(values, { device: param.device, shape: param.shape });
    });
    const grads = params.map(({ grad }) => grad!);
    optimizer.step(clipped ? { clip: gradNorm(grads, 1e6).clip } : {});
    optimizer.zeroGrad();
  });
}

async function flat(params: readonly Tensor[]): Promise<number[]> {
  return (await Promise.all(params.map((param) => param.data()))).flatMap((values) => [...values]);
}

for (const name of Object.keys(cases)) {
  for (const clipped of [false, true]) {
    Deno.test(`${name} takes the twelve steps of the fixture within 1e-6${clipped ? ", with a clip" : ""}`, async () => {
      const params = parameters(await defaultDevice());
      const optimizer = make(name, params);
      for (let number = 0; number < steps; number++) {
        step(optimizer, params, number, clipped);
        if (!kept.includes(number)) continue;
        const label = `${name}, step ${number}`;
        assertAllClose(await flat(params), fixture.tensor(`${name}.${number}`), {
          rtol: 1e-6,
          atol: 1e-6,
          label,
        });
      }
      const { state } = await optimizer.stateDict();
      let compared = 0;
      for (const [index, { step, buffers }] of state) {
        assertEquals(step, steps);
        for (const [key, values] of Object.entries(buffers)) {
          const expected = fixture.tensor(`${name}.state.${index}.${key}`);
          assertAllClose(values, expected, { rtol: 2e-6, atol: 1e-7, label: `${name} ${index} ${key}` });
          compared++;
        }
      }
      const inFixture = fixture.names.filter((key) => key.startsWith(`${name}.state.`));
      if (clipped) assert(compared >= inFixture.length, `${compared} of ${inFixture.length}`);
      for (const param of params) param.dispose();
      optimizer.dispose();
    });
  }
}

Deno.test("Adafactor works through a tensor larger than a binding in windows of rows, with the same numbers", async () => {
  const results: Float32Array[] = [];
  for (const limit of [null, 64 * 1024]) {
    const { gpuDevice } = await defaultDevice();
    const device = await Device.create({ device: gpuDevice });
    if (limit !== null) {
      const limits = new Proxy(device.limits, {
        get: (target, name) =>
          name === "maxStorageBufferBindingSize" ? limit : Reflect.get(target, name, target),
      });
      Object.defineProperty(device, "limits", { value: limits });
    }
    const shape = [700, 40]; // 109 KiB
    const param = Tensor.from(numbers(28_000, 1), { shape, device, requiresGrad: true });
    const vector = Tensor.from(numbers(20_000, 2), { device, requiresGrad: true });
    const optimizer = new Adafactor([param, vector], { lr: 0.1 });
    for (let i = 0; i < 2; i++) step(optimizer, [param, vector], i, true);
    results.push(await param.data() as Float32Array, await vector.data() as Float32Array);
    for (const tensor of [param, vector]) tensor.dispose();
    optimizer.dispose();
    assertEquals(device.memory.liveBytes, 0);
  }
  // The update's root mean square is added up in other groups.
  assertAllClose(results[2], results[0], { rtol: 1e-6, atol: 1e-7 });
  assertAllClose(results[3], results[1], { rtol: 1e-6, atol: 1e-7 });
});

Deno.test("every optimizer of the table is made with its optimArgs, as an object and as text", async () => {
  const device = await defaultDevice();
  const settings = new TrainingArguments({ learningRate: 0.25, adamBeta1: 0.8 });
  const groupOf = (name: OptimizerName, optimArgs: TrainingArguments["optimArgs"]) => {
    const params = parameters(device);
    const args = new TrainingArguments({ ...settings, optim: name, optimArgs });
    const optimizer = makeOptimizer(name, [{ params, weightDecay: 0.5 }], args);
    assert(optimizer.isCapturable, name);
    const { params: _, ...group } = optimizer.paramGroups[0];
    optimizer.dispose();
    for (const param of params) param.dispose();
    return group as Record<string, unknown>;
  };
  for (const name of OPTIMIZER_NAMES) {
    const { lr, weightDecay } = groupOf(name, null);
    assertEquals([lr, weightDecay], [0.25, 0.5], name);
  }
  assertEquals(groupOf("lion", "betas=(0.9, 0.5)").betas, [0.9, 0.5]);
  assertEquals(groupOf("lion_32bit", null).betas, [0.8, 0.999]);
  const sgd = groupOf("sgd", "momentum=0.9, nesterov=True");
  assertEquals([sgd.momentum, sgd.nesterov], [0.9, true]);
  assertEquals(groupOf("adafactor", { clip_threshold: 2 }).clipThreshold, 2);
  assertThrows(
    () => groupOf("adafactor", { momentum: 0.9 }),
    TypeError,
    'Cannot make the optimizer "adafactor" of optimArgs: unknown option "momentum"',
  );
  assertThrows(
    () => new TrainingArguments({ optimArgs: "momentum" }),
    RangeError,
    'Cannot read optimArgs: name=value with commas between is required, received "momentum"',
  );
  assertThrows(
    () => new TrainingArguments({ optimArgs: "momentum=high" }),
    RangeError,
    'Cannot read optimArgs: numbers, true, false or lists of numbers are required, received "high"',
  );
});
