import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { defaultDevice, multiply, Tensor, tidy } from "../../autograd/mod.ts";
import { Module, Parameter } from "../../nn/mod.ts";
import { type Batch, DataLoader, type Example, Trainer, type TrainingArguments } from "../../train/mod.ts";

/** loss = w * factor summed over the batch's first ids, with a factor that the ids choose. */
class Linear extends Module {
  weight: Parameter;
  readonly factors: readonly number[];
  constructor(weight: Parameter, factors: readonly number[]) {
    super();
    this.weight = weight;
    this.factors = factors;
  }
  forward({ inputIds }: Batch): { loss: Tensor } {
    const values = inputIds.map(([id]) => this.factors[id]);
    const factor = Tensor.from(Float32Array.of(values.reduce((a, b) => a + b)), {
      device: this.weight.device,
    });
    return { loss: tidy(() => multiply(this.weight, factor)) };
  }
}

for (const onNonFinite of ["error", "skip"] as const) {
  Deno.test(`Trainer with onNonFinite "${onNonFinite}" changes no weight in a step whose loss is not finite`, async () => {
    const device = await defaultDevice();
    const model = new Linear(Parameter.from([1], { device }), [1, NaN]);
    const before = device.memory.liveBytes;
    const data = [0, 0, 1, 0].map((id) => ({ inputIds: [id, id] }));
    const weights: number[] = [];
    const losses: number[] = [];
    const trainer = new Trainer({
      model,
      trainDataset: data,
      args: {
        learningRate: 3e-3,
        loggingSteps: 1,
        perDeviceTrainBatchSize: 1,
        numTrainEpochs: 1,
        lrSchedulerType: "constant",
        onNonFinite,
      },
      callbacks: [{
        onStepEnd: async () => void weights.push(await model.weight.item()),
        onLog: (_args, _state, _control, { logs }) => void losses.push(logs!.loss),
      }],
    });
    const bad = 1 + [...Array(4).keys()].findIndex((step) => orderOf(data, trainer)[step] === 2);
    if (onNonFinite === "error") {
      const error = await assertRejects(() => trainer.train(), Error, "Cannot go on training: a finite loss");
      assert(error.message.includes(`at step ${bad}, which changed no weight`), error.message);
      assertEquals(weights.length, bad);
    } else {
      const { trainingLoss } = await trainer.train();
      assertEquals(weights.length, 4);
      assertEquals(losses.map(Number.isNaN), [1, 2, 3, 4].map((step) => step === bad), "no step, no mean");
      assertEquals(trainer.state.logHistory.map(({ skippedSteps = 0 }) => skippedSteps), [
        ...[1, 2, 3, 4].map((step) => Number(step === bad)),
      ]);
      const finite = losses.filter(Number.isFinite);
      assertAlmostEquals(trainingLoss, finite.reduce((sum, loss) => sum + loss) / 3, 1e-7);
    }
    const steps = [1, ...weights];
    for (let step = 1; step < steps.length; step++) {
      assertEquals(steps[step] === steps[step - 1], step === bad, `step ${step}`);
    }
    assertEquals(device.memory.liveBytes, before);
    model.dispose();
  });
}

/** The order in which a trainer of seed 42 takes a dataset in its first epoch. */
function orderOf(data: readonly Example[], trainer: Trainer): number[] {
  return new DataLoader(data as Example[], { batchSize: 1, shuffle: true, seed: trainer.args.seed }).order(0);
}

Deno.test("Trainer's mean loss of a window leaves out skipped steps, and the loss watchdog sees windows without others", async () => {
  const device = await defaultDevice();
  const run = async (factors: readonly number[], args: Partial<TrainingArguments>) => {
    const model = new Linear(Parameter.from([1], { device }), factors);
    const trainer = new Trainer({
      model,
      trainDataset: [0, 1, 2, 3].map((id) => ({ inputIds: [id, id] })),
      args: { perDeviceTrainBatchSize: 1, learningRate: 0, onNonFinite: "skip", ...args },
    });
    const output = await trainer.train();
    model.dispose();
    return { output, logs: trainer.state.logHistory };
  };
  const mixed = await run([6, NaN, 6, NaN], { maxSteps: 4, loggingSteps: 4 });
  assertEquals([mixed.output.trainingLoss, mixed.logs[0].loss, mixed.logs[0].skippedSteps], [6, 6, 2]);
  const whole = await run([6, 6, 6, 6], { maxSteps: 4, loggingSteps: 4 });
  assertEquals("skippedSteps" in whole.logs[0], false);
  const broken = await run([NaN, NaN, NaN, NaN], {
    ...{ maxSteps: 8, loggingSteps: 1, lossWatchdogThreshold: 5, lossWatchdogPatience: 3 },
  });
  assertEquals([broken.output.globalStep, broken.output.trainingLoss], [3, NaN]);
  assertEquals(
    broken.output.stopReason,
    "none of the steps of the log at step 3 was finite: no loss at or below lossWatchdogThreshold 5 in 3 logs in a row",
  );
});

Deno.test("Trainer looks for the value that was not finite in the batches of that step alone", async () => {
  const factors = [NaN, 1, NaN];
  const model = new Linear(Parameter.from([1], { device: await defaultDevice() }), factors);
  const trainer = new Trainer({
    model,
    trainDataset: [{ inputIds: [0, 0] }, { inputIds: [1, 1], labels: [-100, -100] }, { inputIds: [2, 2] }],
    args: {
      ...{ perDeviceTrainBatchSize: 1, gradientAccumulationSteps: 2, trainSamplingStrategy: "sequential" },
      loggingSteps: 1,
    },
    callbacks: [{ onStepEnd: () => void (factors[0] = 1) }], // now the step would be finite; the next one is not
  });
  await assertRejects(() => trainer.train(), Error, "finds no single value that is not finite");
  model.dispose();
});
