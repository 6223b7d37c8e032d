/**
 * AdamW8bit in training: its memory, its losses beside those of float32 moments, and resuming.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { captureStep, type Device, type Tensor } from "../../../autograd/mod.ts";
import { GPT2Config, GPT2LMHeadModel } from "../../../model/mod.ts";
import { AdamW, AdamW8bit, type Optimizer, Trainer, type TrainingArguments } from "../../../train/mod.ts";
import { ownDevice } from "../../reference/fixtures.ts";
import { trainingStep } from "../../reference/training_step.ts";

const LENGTH = 16;
const config = () =>
  new GPT2Config({
    vocabSize: 101,
    nPositions: LENGTH,
    nEmbd: 64,
    nLayer: 2,
    nHead: 2,
    ...{ residPdrop: 0, embdPdrop: 0, attnPdrop: 0 },
  });

/** Texts that count up from a start in steps, so that there is something to learn and not all to know. */
function textOf(step: number): number[][] {
  return Array.from({ length: 4 }, (_, row) => {
    const random = (step * 4 + row) * 48271 % 2147483647;
    const [start, stride] = [random % 101, 1 + Math.floor(random / 101) % 5];
    return Array.from({ length: LENGTH }, (_, t) => (start + t * stride) % 101);
  });
}

async function train(make: (params: Iterable<Tensor>) => Optimizer, steps: number) {
  const device: Device = await ownDevice();
  const model = new GPT2LMHeadModel(config(), { device, seed: 1 });
  const optimizer = make(model.parameters());
  const weights = device.memory.liveBytes;
  const step = captureStep(
    device,
    ({ inputIds }: { inputIds: Tensor }) => trainingStep(model, optimizer, inputIds),
  );
  const losses: number[] = [];
  for (let i = 0; i < steps; i++) losses.push(await step({ inputIds: textOf(i) }).item());
  step.dispose();
  const bytes = device.memory.liveBytes - weights;
  const sizes = [...model.parameters()].map(({ size }) => size);
  optimizer.dispose();
  model.dispose();
  return { losses, bytes, sizes };
}

Deno.test("AdamW8bit's losses over 200 steps stay within 1% of AdamW's, with about a quarter of its state", async () => {
  const options = { lr: 2e-3, weightDecay: 0 };
  const full = await train((params) => new AdamW(params, options), 200);
  const small = await train((params) => new AdamW8bit(params, options), 200);
  assert(full.losses.at(-1)! < full.losses[0] / 2, `it learns: ${full.losses.at(-1)}`);
  const mean = (losses: number[], from: number) => losses.slice(from, from + 20).reduce((a, b) => a + b) / 20;
  const ratios = Array.from({ length: 10 }, (_, i) => mean(small.losses, 20 * i) / mean(full.losses, 20 * i));
  console.log(`losses, 8-bit by float32, means of 20 steps: ${ratios.map((r) => r.toFixed(4)).join(" ")}`);
  assert(ratios.every((ratio) => Math.abs(ratio - 1) < 0.01), `${ratios}`);
  const [large, rest] = [full.sizes.filter((n) => n >= 4096), full.sizes.filter((n) => n < 4096)];
  const elements = (sizes: number[]) => sizes.reduce((a, b) => a + b, 0);
  const expected = elements(large) * (2 + 8 / 256) + elements(rest) * 8;
  assert(small.bytes < expected * 1.1 + 4096, `${small.bytes} bytes of state, ${full.bytes} with float32`);
});

Deno.test("AdamW8bit goes on from its state bit for bit, and its state loads into AdamW and back", async () => {
  const device = await ownDevice();
  const run = async (cut: boolean) => {
    const model = new GPT2LMHeadModel(config(), { device, seed: 1 });
    let optimizer = new AdamW8bit(model.parameters(), { lr: 1e-3 });
    for (let i = 0; i < 4; i++) {
      if (cut && i === 2) {
        const state = await optimizer.stateDict();
        const wide = new AdamW(model.parameters());
        wide.loadStateDict(state);
        optimizer.dispose();
        optimizer = new AdamW8bit(model.parameters(), { lr: 1e-3 });
        optimizer.loadStateDict(await wide.stateDict());
        wide.dispose();
      }
      trainingStep(model, optimizer, textOf(i)).dispose();
    }
    const values = await Promise.all([...model.parameters()].map((parameter) => parameter.data()));
    optimizer.dispose();
    model.dispose();
    return values;
  };
  assertEquals(await run(true), await run(false));
});

for (const optim of ["adamw_8bit", "adamw_bnb_8bit"] as const) {
  Deno.test(`Trainer with optim "${optim}" trains with 8-bit moments, and resumes bit for bit`, async () => {
    const folder = await Deno.makeTempDir();
    const run = async (maxSteps: number, outputDir: string | null, resume = false) => {
      const device = await ownDevice();
      const model = new GPT2LMHeadModel(config(), { device, seed: 1 });
      const trainDataset = textOf(0).concat(textOf(1)).map((inputIds) => ({ inputIds }));
      const args: Partial<TrainingArguments> = {
        ...{ optim, maxSteps, outputDir, saveSteps: 2, learningRate: 1e-3 },
        lrSchedulerType: "constant",
        perDeviceTrainBatchSize: 4,
        reportTo: "none",
      };
      const trainer = new Trainer({ model, trainDataset, args });
      await trainer.train({ resumeFromCheckpoint: resume });
      const values = await Promise.all([...model.parameters()].map((parameter) => parameter.data()));
      model.dispose();
      return values;
    };
    const whole = await run(4, null);
    await run(2, folder);
    assertEquals(await run(4, folder, true), whole);
    await Deno.remove(folder, { recursive: true });
  });
}
