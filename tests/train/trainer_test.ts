import {
  assert,
  assertAllClose,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { defaultDevice, Device, noGrad, tidy } from "../../autograd/mod.ts";
import type { GPT2LMHeadModel } from "../../model/mod.ts";
import { OutOfDeviceMemoryError } from "../../gpu/mod.ts";
import { type Example, Trainer, type TrainerCallback, type TrainingArguments } from "../../train/mod.ts";
import { countingData, inFolder, tinyModel, weightsOf } from "./tiny_run.ts";

const BASE: Partial<TrainingArguments> = { perDeviceTrainBatchSize: 4, learningRate: 3e-3, loggingSteps: 1 };

interface Outcome {
  losses: number[];
  weights: Record<string, number[]>;
  model: GPT2LMHeadModel;
  trainer: Trainer;
}

/** Trains a new tiny model; what is returned is on the host, but the model. */
async function run(args: Partial<TrainingArguments>, dropout = 0, data = countingData(20)): Promise<Outcome> {
  const model = await tinyModel(dropout);
  const trainer = new Trainer({ model, args: { ...BASE, ...args }, trainDataset: data });
  await trainer.train();
  const losses = trainer.state.logHistory.map(({ loss }) => loss);
  return { losses, weights: await weightsOf(model), model, trainer };
}

Deno.test("Trainer learns: the loss falls from log V to less than half of it", async () => {
  const { losses, trainer, model } = await run({ maxSteps: 80, learningRate: 1e-2 });
  assertAllClose([losses[0]], [Math.log(40)], { rtol: 0.05 });
  assert(losses.at(-1)! < losses[0] / 2, `${losses[0]} -> ${losses.at(-1)}`);
  assertEquals(trainer.state.globalStep, 80);
  assertEquals(trainer.state.numInputTokensSeen, 80 * 4 * 16);
  model.dispose();
});

Deno.test("Trainer holds the same device bytes after step 3 and step 200, and makes no bind group after step 3", async () => {
  const device = await defaultDevice();
  const model = await tinyModel(0.1);
  const live = new Map<number, number>();
  let misses = 0;
  const follow: TrainerCallback = {
    onStepEnd(_args, { globalStep }) {
      live.set(globalStep, device.memory.liveBytes);
      if (globalStep === 3) misses = device.stats.bindGroupMisses;
    },
  };
  const args = { ...BASE, maxSteps: 200, loggingSteps: 50 };
  const before = device.memory.liveBytes;
  await new Trainer({ model, args, trainDataset: countingData(20), callbacks: [follow] }).train();
  for (let step = 3; step <= 200; step++) assertEquals(live.get(step), live.get(3), `step ${step}`);
  assertEquals(device.stats.bindGroupMisses - misses, 0);
  assertEquals(device.memory.liveBytes, before);
  model.dispose();
});

Deno.test("Trainer with the same seed gives 50 losses and final weights bit for bit, with dropout", async () => {
  const first = await run({ maxSteps: 50 }, 0.1);
  first.model.dispose();
  const second = await run({ maxSteps: 50 }, 0.1);
  second.model.dispose();
  assertEquals(first.losses.length, 50);
  assertEquals(second.losses, first.losses);
  assertEquals(second.weights, first.weights);
  const other = await run({ maxSteps: 2, seed: 43 }, 0.1);
  other.model.dispose();
  assertNotEquals(other.losses[0], first.losses[0]);
});

Deno.test("Trainer accumulates k batches of B / k rows to the loss and update of B rows, labels unequal in number", async () => {
  const data = countingData(16).map((example, i): Example => {
    const labels = example.inputIds.map((id, t) => t < i % 7 ? -100 : id);
    return { ...example, labels };
  });
  // SGD: Adam would show the rounding of gradients that are 0 but for it, such as those of the keys' bias.
  const args = { maxSteps: 6, learningRate: 0.3, maxGradNorm: 0.5, optim: "sgd" } as const;
  const whole = await run({ ...args, perDeviceTrainBatchSize: 8 }, 0, data);
  const parts = await run({ ...args, perDeviceTrainBatchSize: 2, gradientAccumulationSteps: 4 }, 0, data);
  assertAllClose(parts.losses, whole.losses, { rtol: 1e-6, atol: 0 });
  for (const name of Object.keys(whole.weights)) {
    const squares = (values: number[]) => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0));
    const difference = parts.weights[name].map((v, i) => v - whole.weights[name][i]);
    assert(squares(difference) <= 1e-6 * (squares(whole.weights[name]) + 1), name);
  }
  assertEquals(parts.trainer.state.epoch, whole.trainer.state.epoch);
  whole.model.dispose();
  parts.model.dispose();
});

Deno.test("Trainer takes the last, shorter window of an epoch as a step of its own", async () => {
  const args = { numTrainEpochs: 2, perDeviceTrainBatchSize: 3, gradientAccumulationSteps: 2 };
  const { trainer, model } = await run(args, 0, countingData(14)); // 5 batches, the last of 2 rows: 3 steps an epoch
  assertEquals(trainer.state.globalStep, 6);
  assertEquals(trainer.state.epoch, 2);
  assertEquals(trainer.state.numInputTokensSeen, 2 * 14 * 16);
  assertEquals(trainer.state.logHistory.map(({ epoch }) => epoch), [0.4, 0.8, 1, 1.4, 1.8, 2]);
  model.dispose();
});

Deno.test("Trainer logs mean losses, the norm before clipping and the rate of the step", async () => {
  const single = await run({ maxSteps: 6 });
  const triple = await run({ maxSteps: 6, loggingSteps: 3, loggingFirstStep: true });
  const { losses } = single;
  const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const expected = [losses[0], mean(losses.slice(1, 3)), mean(losses.slice(3))];
  assertAllClose(triple.losses, expected, { rtol: 1e-6 });
  assertEquals(triple.trainer.state.logHistory.map(({ step }) => step), [1, 3, 6]);
  const rates = single.trainer.state.logHistory.map(({ learningRate }) => learningRate);
  assertAllClose(rates, [6, 5, 4, 3, 2, 1].map((n) => 3e-3 * n / 6), { rtol: 1e-12 });
  assert(single.trainer.state.logHistory.every(({ gradNorm }) => gradNorm > 0.1));
  single.model.dispose();
  triple.model.dispose();
});

Deno.test("Trainer.train() reports the mean loss of all steps and its speeds", async () => {
  const model = await tinyModel();
  const args = { ...BASE, maxSteps: 5, loggingSteps: 2 };
  const trainer = new Trainer({ model, args, trainDataset: countingData(20) });
  const { globalStep, trainingLoss, metrics } = await trainer.train();
  const { losses, model: second } = await run({ maxSteps: 5 });
  assertEquals(globalStep, 5);
  assertAllClose([trainingLoss], [losses.reduce((a, b) => a + b, 0) / 5], { rtol: 1e-6 });
  assertEquals(metrics.trainLoss, trainingLoss);
  for (
    const name of ["trainRuntime", "trainSamplesPerSecond", "trainStepsPerSecond", "trainTokensPerSecond"]
  ) {
    assert(metrics[name] > 0, name);
  }
  assert(model.training);
  // every example of two epochs counts once, however the last batch is filled; a resumed run counts its own part
  await inFolder(async (outputDir) => {
    const epochs = {
      ...BASE,
      maxSteps: -1,
      numTrainEpochs: 2,
      perDeviceTrainBatchSize: 8,
      outputDir,
      saveSteps: 3,
    };
    const samples = async (resumeFromCheckpoint?: string) => {
      const trainer = new Trainer({ model, args: epochs, trainDataset: countingData(20) });
      const { metrics } = await trainer.train({ resumeFromCheckpoint });
      return [metrics.trainSamplesPerSecond, metrics.trainStepsPerSecond].map((n) =>
        n * metrics.trainRuntime
      );
    };
    assertAllClose(await samples(), [40, 6], { rtol: 1e-12 });
    assertAllClose(await samples(`${outputDir}/checkpoint-3`), [20, 3], { rtol: 1e-12 });
  });
  model.dispose();
  second.dispose();
});

Deno.test("Trainer.evaluate() gives the mean loss of a label over padded rows, whatever the batch size", async () => {
  const model = await tinyModel(0.5);
  const evalDataset = [3, 16, 9, 2, 12].map((length) => countingData(1, length)[0]);
  const one = await new Trainer({ model, evalDataset, args: { perDeviceEvalBatchSize: 1 } }).evaluate();
  const all = await new Trainer({ model, evalDataset, args: { perDeviceEvalBatchSize: 4 } }).evaluate();
  assertEquals(one.evalTokens, 2 + 15 + 8 + 1 + 11);
  assertAllClose([all.evalLoss], [one.evalLoss], { rtol: 1e-6 });
  assertEquals(one.perplexity, Math.exp(one.evalLoss));
  assert(model.training, "the mode is as before");
  model.eval();
  let sum = 0;
  for (const { inputIds } of evalDataset) {
    const ids = [[...inputIds]];
    using loss = tidy(() =>
      noGrad(() => model.forward({ inputIds: ids, labels: ids, numItemsInBatch: 1 }).loss!)
    );
    sum += await loss.item();
  }
  assertAllClose([one.evalLoss], [sum / one.evalTokens], { rtol: 1e-6 });
  model.dispose();
});

Deno.test("Trainer evaluates every evalSteps and frees what it took", async () => {
  const device = await defaultDevice();
  const model = await tinyModel();
  const before = device.memory.liveBytes;
  const data = countingData(20);
  const args: Partial<TrainingArguments> = { ...BASE, maxSteps: 6, evalStrategy: "steps", evalSteps: 3 };
  const trainer = new Trainer({ model, args, trainDataset: data, evalDataset: data.slice(0, 5) });
  await trainer.train();
  const evaluations = trainer.state.logHistory.filter(({ evalLoss }) => evalLoss !== undefined);
  assertEquals(evaluations.map(({ step }) => step), [3, 6]);
  assert(evaluations[1].evalLoss < evaluations[0].evalLoss);
  assertEquals(evaluations[1].evalLoss, (await trainer.evaluate()).evalLoss);
  assertEquals(device.memory.liveBytes, before);
  model.dispose();
});

Deno.test("Trainer tells callbacks every moment in order, and stops when one asks", async () => {
  const model = await tinyModel();
  const seen: string[] = [];
  const note = (name: string) => () => void seen.push(name);
  const callback: TrainerCallback = {
    onTrainBegin: note("begin"),
    onStepEnd: (_args, { globalStep, tokensPerSecond }, control) => {
      seen.push(`step ${globalStep}`);
      assert(tokensPerSecond > 0);
      if (globalStep === 1) control.shouldEvaluate = true;
      if (globalStep === 3) control.shouldTrainingStop = true;
    },
    onLog: (_args, _state, _control, { logs }) => void seen.push(`log ${Object.keys(logs!)}`),
    onEvaluate: (_args, _state, _control, { logs }) => void seen.push(`evaluate ${Object.keys(logs!)}`),
    onEpochEnd: note("epoch"),
    onTrainEnd: note("end"),
  };
  const args = { ...BASE, maxSteps: 10, loggingSteps: 2 };
  const data = countingData(8);
  const trainer = new Trainer({ model, args, trainDataset: data, evalDataset: data });
  trainer.addCallback(callback);
  const { globalStep } = await trainer.train();
  assertEquals(globalStep, 3);
  assertEquals(seen, [
    "begin",
    "step 1",
    "evaluate evalLoss,perplexity,evalMeanTokenAccuracy,evalRuntime",
    "step 2",
    "epoch",
    "log loss,gradNorm,learningRate",
    "step 3",
    "end",
  ]);
  model.dispose();
});

Deno.test("Trainer leaves biases and norms out of weight decay", async () => {
  const model = await tinyModel();
  const before = await weightsOf(model);
  const args = {
    ...BASE,
    maxSteps: 1,
    weightDecay: 0.5,
    learningRate: 1e-2,
    lrSchedulerType: "constant",
  } as const;
  await new Trainer({ model, args, trainDataset: countingData(4) }).train();
  const after = await weightsOf(model);
  model.dispose();
  // The first step of Adam moves each element by at most lr; decay takes lr * 0.5 of the element besides.
  const decay = (name: string) => {
    const moved = after[name].map((value, i) => Math.abs(value - before[name][i]));
    return Math.max(...moved) - 1e-2;
  };
  const norm = "transformer.h.0.ln_1.weight"; // ones: decay would move them by 5e-3 more
  assert(decay(norm) < 1e-4, `${decay(norm)}`);
  const decayed = await decayedShare();
  assert(decayed > 0);

  async function decayedShare(): Promise<number> {
    const plain = await tinyModel();
    await new Trainer({ model: plain, args: { ...args, weightDecay: 0 }, trainDataset: countingData(4) })
      .train();
    const other = await weightsOf(plain);
    plain.dispose();
    const name = "transformer.h.0.attn.c_attn.weight";
    const differ = (key: string) => after[key].filter((value, i) => value !== other[key][i]).length;
    assertEquals(differ(norm), 0);
    assertEquals(differ("transformer.h.0.attn.c_attn.bias"), 0);
    return differ(name);
  }
});

Deno.test("Trainer trains what requires a gradient alone, and an optimizer of the caller's", async () => {
  const model = await tinyModel();
  model.requiresGrad_(false);
  model.transformer.ln_f.weight.requiresGrad = true;
  const before = await weightsOf(model);
  await new Trainer({ model, args: { ...BASE, maxSteps: 2, optim: "sgd" }, trainDataset: countingData(8) })
    .train();
  const after = await weightsOf(model);
  const changed = Object.keys(before).filter((name) => before[name].some((v, i) => v !== after[name][i]));
  assertEquals(changed, ["transformer.ln_f.weight"]);
  model.dispose();
});

Deno.test("Trainer gives every byte back when a step runs out of device memory, and can train again", async () => {
  const device = await Device.create();
  const model = await tinyModel(0, device);
  const before = device.memory.liveBytes;
  const args = { ...BASE, maxSteps: 3 };
  const trainer = new Trainer({ model, args, trainDataset: countingData(8) });
  device.memoryLimitBytes = before + 60_000;
  await assertRejects(() => trainer.train(), OutOfDeviceMemoryError, "Cannot allocate");
  assertEquals(device.memory.liveBytes, before);
  assertEquals(trainer.state.globalStep, 0);
  device.memoryLimitBytes = Infinity;
  await trainer.train();
  const { losses, model: other } = await run({ maxSteps: 3 }, 0, countingData(8));
  assertEquals(trainer.state.logHistory.map(({ loss }) => loss), losses);
  other.dispose();
  device.destroy();
});

Deno.test("Trainer refuses what it cannot train or evaluate, before any step", async () => {
  const model = await tinyModel();
  const before = await weightsOf(model);
  const data = countingData(4);
  const long = countingData(1, 17);
  const make = (options: Partial<ConstructorParameters<typeof Trainer>[0]>) =>
    new Trainer({ model, ...options });
  await assertRejects(
    () => make({}).train(),
    TypeError,
    "Cannot train: a trainDataset is required, received none",
  );
  await assertRejects(
    () => make({ trainDataset: [] }).train(),
    RangeError,
    "Cannot make batches: a dataset of at least one example is required, received none",
  );
  await assertRejects(
    () => make({}).evaluate(),
    TypeError,
    "Cannot evaluate: an evalDataset is required, received none",
  );
  const noLabels = data.map(({ inputIds }) => ({ inputIds, labels: inputIds.map(() => -100) }));
  await assertRejects(
    () => make({ trainDataset: noLabels }).train(),
    RangeError,
    "Cannot train step 1: at least one label after the first of its row is required, all others being -100",
  );
  await assertRejects(() => make({}).evaluate(noLabels), RangeError, "Cannot evaluate: at least one label");
  await assertRejects(() => make({ trainDataset: long }).train(), RangeError, "n_positions 16");
  await assertRejects(
    () => make({ trainDataset: [{ inputIds: [1, 40] }] }).train(),
    RangeError,
    "received 40 at [0, 1]",
  );
  await assertRejects(
    () => make({ trainDataset: data, args: { maxSteps: 1 } }).train({ resumeFromCheckpoint: true }),
    TypeError,
    "Cannot resume: outputDir is required, received none",
  );
  await assertRejects(() => make({}).saveModel(), TypeError, "Cannot save the model: outputDir is required");
  assertThrows(
    () => make({ args: { evalStrategy: "steps" } }),
    TypeError,
    `Cannot make a trainer: an evalDataset is required with evalStrategy "steps", received none`,
  );
  model.requiresGrad_(false);
  await assertRejects(
    () => make({ trainDataset: data }).train(),
    TypeError,
    "Cannot train: at least one parameter with requiresGrad is required, received none",
  );
  assertEquals(await weightsOf(model), before);
  model.dispose();
});
