import { assert, assertEquals } from "@std/assert";
import {
  AdamW,
  captureStep,
  type Device,
  getPeftModel,
  GPT2Config,
  GPT2LMHeadModel,
  LoraConfig,
  SGD,
  type Tensor,
  Tensor as TensorClass,
  tidy,
} from "@peft/webgpu";
import { add, cast, scale, softmax, sum } from "@peft/webgpu/tensor";
import { anotherDevice } from "../reference/another_device.ts";

const CONFIG = {
  nLayer: 2,
  nEmbd: 32,
  nHead: 2,
  vocabSize: 61,
  nPositions: 24,
  bosTokenId: 0,
  eosTokenId: 0,
};

/** A LoRA step with dropout; the same seed gives the same model. */
function makeStep(device: Device, optimizerName: "adamw" | "sgd" = "adamw") {
  const model = new GPT2LMHeadModel(new GPT2Config(CONFIG), { device, seed: 1 });
  const peftModel = getPeftModel(
    model,
    new LoraConfig({ r: 4, loraDropout: 0.1, targetModules: ["c_attn"] }),
  );
  const trained = [...peftModel.parameters()].filter((parameter) => parameter.requiresGrad);
  const optimizer = optimizerName === "adamw"
    ? new AdamW(trained, { lr: 1e-2 })
    : new SGD(trained, { lr: 0.1 });
  const step = ({ inputIds }: { inputIds: Tensor }): Tensor => {
    const loss = tidy(() => {
      const output = peftModel.forward({ inputIds, labels: inputIds });
      output.loss!.backward();
      return output.loss!;
    });
    optimizer.step();
    optimizer.zeroGrad();
    return loss;
  };
  return { step, trained, optimizer };
}

const batch = (seed: number, length = 24) =>
  Array.from({ length: 3 }, (_, b) => Array.from({ length }, (_, t) => (b * 7 + t * t * 3 + seed * 5) % 61));

async function eagerLosses(
  device: Device,
  step: (inputs: { inputIds: Tensor }) => Tensor,
  batches: number[][][],
) {
  const losses: number[] = [];
  for (const rows of batches) {
    using inputIds = TensorClass.from(rows, { dtype: "int32", device });
    using loss = step({ inputIds });
    losses.push(await loss.item());
  }
  return losses;
}

for (const name of ["adamw", "sgd"] as const) {
  Deno.test(`captureStep() replays a ${name} step with dropout bit for bit`, async () => {
    const device = await anotherDevice();
    const batches = Array.from({ length: 8 }, (_, i) => batch(i));
    const eager = makeStep(device, name);
    const expected = await eagerLosses(device, eager.step, batches);
    assertEquals(new Set(expected).size, expected.length); // every step is another one
    const replayed = makeStep(device, name);
    const step = captureStep(device, replayed.step);
    const losses: number[] = [];
    for (const inputIds of batches) losses.push(await step({ inputIds }).item());
    assertEquals(losses, expected);
    for (const [i, parameter] of eager.trained.entries()) {
      assertEquals(await replayed.trained[i].data(), await parameter.data());
    }
  });
}

Deno.test("captureStep() records again for another shape and goes on with the same optimizer", async () => {
  const device = await anotherDevice();
  const lengths = [24, 24, 24, 16, 16, 24, 16, 16];
  const batches = lengths.map((length, i) => batch(i, length));
  const expected = await eagerLosses(device, makeStep(device).step, batches);
  const step = captureStep(device, makeStep(device).step);
  const losses: number[] = [];
  for (const inputIds of batches) losses.push(await step({ inputIds }).item());
  assertEquals(losses, expected);
});

Deno.test("captureStep() replays without new bind groups, buffers or live bytes", async () => {
  const device = await anotherDevice();
  const step = captureStep(device, makeStep(device).step);
  for (let i = 0; i < 3; i++) await step({ inputIds: batch(i) }).item();
  const { bindGroupMisses, pipelines } = device.stats;
  const { liveBytes } = device.memory;
  for (let i = 3; i < 10; i++) await step({ inputIds: batch(i) }).item();
  assertEquals(device.stats.bindGroupMisses, bindGroupMisses);
  assertEquals(device.stats.pipelines, pipelines);
  assertEquals(device.memory.liveBytes, liveBytes);
});

Deno.test("captureStep() makes one submission a step whose result is read", async () => {
  const device = await anotherDevice();
  const step = captureStep(device, makeStep(device).step);
  for (let i = 0; i < 3; i++) await step({ inputIds: batch(i) }).item();
  const { submissions } = device.stats;
  for (let i = 3; i < 6; i++) await step({ inputIds: batch(i) }).item();
  assertEquals(device.stats.submissions - submissions, 3);
});

Deno.test("captureStep() gives each replay its own inputs when no result is read in between", async () => {
  const device = await anotherDevice();
  const batches = Array.from({ length: 7 }, (_, i) => batch(i));
  const expected = await eagerLosses(device, makeStep(device).step, batches);
  const step = captureStep(device, makeStep(device).step);
  let last = NaN;
  for (const [i, inputIds] of batches.entries()) {
    const loss = step({ inputIds });
    if (i === batches.length - 1) last = await loss.item();
  }
  assertEquals(last, expected.at(-1));
});

Deno.test("captureStep() with verify replays a step whatever ran before each of its recordings", async () => {
  const device = await anotherDevice();
  let calls = 0;
  const step = captureStep(device, ({ inputIds }: { inputIds: Tensor }) => {
    calls++;
    return scale(cast(inputIds, "float32"), 2);
  }, { verify: true });
  for (let i = 0; i < 6; i++) {
    using x = TensorClass.from(new Float32Array(60 + i).fill(i), { device, shape: [1, 60 + i] });
    using y = softmax(add(x, x)); // other parameters in the places that the step's take
    await y.data();
    assertEquals([...await step({ inputIds: [[i, -3]] }).data()], [2 * i, -6]);
  }
  assertEquals(calls, 3); // run, recorded and recorded again
});

Deno.test("captureStep() keeps its buffers from tensors made between replays", async () => {
  const device = await anotherDevice();
  const batches = Array.from({ length: 6 }, (_, i) => batch(i));
  const expected = await eagerLosses(device, makeStep(device).step, batches);
  const step = captureStep(device, makeStep(device).step);
  const losses: number[] = [];
  const others: Tensor[] = [];
  for (const inputIds of batches) {
    losses.push(await step({ inputIds }).item());
    for (const size of [64, 256, 2304, 7296]) {
      others.push(TensorClass.from(new Float32Array(size).fill(7), { device }));
    }
  }
  assertEquals(losses, expected);
  for (const tensor of others) assert((await tensor.data()).every((value) => value === 7));
});

Deno.test("captureStep() replays host writes of any number of bytes", async () => {
  const device = await anotherDevice();
  for (const count of [1, 2, 3, 5]) {
    const halves = new Uint16Array(count).fill(0x3c00); // ones
    const step = captureStep(
      device,
      () => tidy(() => sum(cast(TensorClass.from(halves, { device }), "float32"))),
    );
    for (let i = 0; i < 4; i++) assertEquals(await step({}).item(), count);
    step.dispose();
  }
});
