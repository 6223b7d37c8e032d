/** A trainer may minimise another loss than the model's own, and measure more. */
import { assertAllClose, assertEquals, assertRejects } from "@std/assert";
import { add, multiply, noGrad, scale, Tensor, tidy } from "../../autograd/mod.ts";
import { MODEL_LOSS, type Objective, Trainer } from "../../train/mod.ts";
import { countingData, inFolder, tinyModel, weightsOf } from "./tiny_run.ts";

/** The model's loss twice, with the losses of all labels and their number as sums. */
const TWICE: Objective = {
  ...MODEL_LOSS,
  loss: (model, batch, items) => {
    const { loss } = MODEL_LOSS.loss(model, batch, items);
    const [rows, length] = Array.isArray(batch.labels)
      ? [batch.labels.length, batch.labels[0].length]
      : (batch.labels as Tensor).shape;
    const sums = tidy(() =>
      noGrad(() => {
        const device = loss.device;
        const weights = Tensor.from([items, 0], { device });
        const count = Tensor.from([0, rows * (length - 1)], { device });
        return add(multiply(weights, loss), count);
      })
    );
    return { loss: scale(loss, 2), sums };
  },
  sumCount: 2,
  measures: ([sum, labels]) => ({ "own/loss": sum / labels, labels }),
};

const args = {
  perDeviceTrainBatchSize: 4,
  gradientAccumulationSteps: 2,
  maxSteps: 8,
  loggingSteps: 3,
  learningRate: 1e-3,
  reportTo: "none",
} as const;

/** Logs and weights of a run. */
async function run(objective: Objective | undefined, extra = {}, resume = false, isCapturable = true) {
  const model = await tinyModel();
  if (!isCapturable) Object.defineProperty(model, "isCapturable", { value: false });
  const trainDataset = countingData(24);
  const trainer = new Trainer({ model, objective, trainDataset, args: { ...args, ...extra } });
  await trainer.train({ resumeFromCheckpoint: resume });
  const weights = await weightsOf(model);
  model.dispose();
  return { logs: trainer.state.logHistory, weights };
}

Deno.test("Trainer minimises the objective that it is given, and logs what that measures", async () => {
  const settings = { optim: "sgd", maxGradNorm: 0, learningRate: 0.25 };
  const own = await run(undefined, { ...settings, learningRate: 0.5 });
  const twice = await run(TWICE, settings);
  assertAllClose(twice.weights["transformer.wte.weight"], own.weights["transformer.wte.weight"], {
    atol: 1e-5,
  });
  for (const [i, { loss, ...log }] of twice.logs.entries()) {
    assertAllClose([loss], [2 * log["own/loss"]], { rtol: 1e-6 });
    assertAllClose([log["own/loss"]], [own.logs[i].loss], { rtol: 1e-4 });
    assertEquals(log.labels, 3 * 2 * 4 * 15, "the sums of the steps since the last log");
  }
  assertEquals(twice.logs.length, 2);
});

Deno.test("Trainer replays the steps of an objective with the numbers of steps that are run", async () => {
  assertEquals(await run(TWICE), await run(TWICE, {}, false, false));
});

Deno.test("Trainer resumes within a window of logs, with the sums of the objective", async () => {
  await inFolder(async (outputDir) => {
    const whole = await run(TWICE, { outputDir, saveSteps: 4 });
    await Deno.remove(`${outputDir}/checkpoint-8`, { recursive: true });
    assertEquals(await run(TWICE, { outputDir, saveSteps: 4 }, true), whole);
  });
});

Deno.test("Trainer.evaluate() gives the objective's mean loss and its measures", async () => {
  const model = await tinyModel();
  const evalDataset = countingData(10);
  const evaluate = (objective: Objective | undefined) =>
    new Trainer({ model, objective, evalDataset, args: { perDeviceEvalBatchSize: 4, reportTo: "none" } })
      .evaluate();
  const own = await evaluate(undefined);
  const { evalLoss, metrics, perplexity } = await evaluate({ ...TWICE, isTokenLoss: false });
  assertAllClose([evalLoss, metrics["evalOwn/loss"]], [2 * own.evalLoss, own.evalLoss], { rtol: 1e-6 });
  assertEquals([metrics.evalLabels, perplexity], [150, NaN]);
  model.dispose();
});

Deno.test("Trainer names what a step without items needs", async () => {
  const none: Objective = { ...TWICE, countItems: () => 0, required: "pair of answers is required" };
  await assertRejects(
    () => run(none),
    RangeError,
    "Cannot train step 1: at least one pair of answers is required",
  );
});
