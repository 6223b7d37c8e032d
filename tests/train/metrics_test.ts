/**
 * A caller's own measures in evaluations.
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { Trainer } from "@peft/webgpu";
import { cast, reshape, slice, Tensor } from "@peft/webgpu/tensor";
import type { EvalPrediction } from "@peft/webgpu/train";
import { countingData, tinyModel, VOCABULARY } from "./tiny_run.ts";

const dataset = countingData(16);
const args = {
  maxSteps: 8,
  perDeviceTrainBatchSize: 4,
  learningRate: 1e-2,
  loggingSteps: 1,
  reportTo: "none",
} as const;

Deno.test("computeMetrics is given every row's logits and labels, or what is made of them", async () => {
  const model = await tinyModel();
  const seen: EvalPrediction[] = [];
  const computeMetrics = (prediction: EvalPrediction) => {
    seen.push(prediction);
    let right = 0;
    let all = 0;
    prediction.predictions.forEach(({ data, shape: [T, V] }, row) => {
      for (let t = 0; t + 1 < T; t++) {
        const logits = [...data.slice(t * V, (t + 1) * V)];
        right += logits.indexOf(Math.max(...logits)) === prediction.labelIds[row][t + 1] ? 1 : 0;
        all++;
      }
    });
    return { accuracy: right / all };
  };
  const trainer = new Trainer({
    model,
    args: { ...args, maxSteps: 60, evalStrategy: "steps", evalSteps: 60 },
    trainDataset: dataset,
    evalDataset: dataset,
    computeMetrics,
  });
  const before = await trainer.evaluate();
  await trainer.train();
  const after = await trainer.evaluate();
  assert(after.metrics.evalAccuracy > before.metrics.evalAccuracy + 0.2, JSON.stringify([before, after]));
  assertEquals(trainer.state.logHistory.at(-1)!.evalAccuracy, after.metrics.evalAccuracy);
  assertEquals(seen[0].predictions.length, 16);
  assertEquals(seen[0].predictions[0].shape, [16, VOCABULARY]);
  assertEquals(seen[0].labelIds.map((row) => [...row]), dataset.map(({ inputIds }) => [...inputIds]));

  const small = new Trainer({
    model,
    args,
    evalDataset: dataset,
    computeMetrics: ({ predictions }) => ({ size: predictions[0].data.length }),
    preprocessLogitsForMetrics: (logits) =>
      slice(reshape(logits, [logits.shape[0], 16 * VOCABULARY]), 1, 0, 3),
  });
  assertEquals((await small.evaluate()).metrics, { evalSize: 3 });
  model.dispose();
});

Deno.test("computeMetrics is given numbers, whatever the type of the tensor that was made of the logits", async () => {
  const model = await tinyModel();
  const rows = dataset.map(() => [1, 2, 3, 4]);
  for (const dtype of ["int32", "uint32", "float16"] as const) {
    const trainer = new Trainer({
      model,
      args: { ...args, perDeviceEvalBatchSize: 16 },
      evalDataset: dataset,
      computeMetrics: ({ predictions }) => ({ sum: predictions[0].data.reduce((sum, value) => sum + value) }),
      preprocessLogitsForMetrics: ({ device }) =>
        dtype === "float16"
          ? cast(Tensor.from(rows, { device }), dtype)
          : Tensor.from(rows, { device, dtype }),
    });
    assertEquals((await trainer.evaluate()).metrics, { evalSum: 10 }, dtype);
  }
  model.dispose();
});
