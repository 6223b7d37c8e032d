/**
 * How a run is ended, followed and measured.
 * @module
 */

import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "@std/path";
import {
  DataLoader,
  EarlyStoppingCallback,
  getLastCheckpoint,
  GPT2Config,
  GPT2LMHeadModel,
  setSeed,
  Trainer,
  type TrainerCallback,
  TrainingArguments,
} from "@peft/webgpu";
import type { TrainerOptions } from "@peft/webgpu/train";
import { ConsoleReport } from "../../train/reports/console_report.ts";
import { countingData, inFolder, tinyModel, weightsOf } from "./tiny_run.ts";
import { anotherDevice } from "../reference/another_device.ts";

const dataset = countingData(16);
const args = {
  maxSteps: 8,
  perDeviceTrainBatchSize: 4,
  learningRate: 1e-2,
  loggingSteps: 1,
  reportTo: "none",
} as const;

Deno.test("Trainer.train({ signal }) ends after the step, saves, and goes on to the same weights, bit for bit", async () => {
  await inFolder(async (folder) => {
    const whole = await tinyModel(0.1);
    await new Trainer({ model: whole, args, trainDataset: dataset }).train();

    const model = await tinyModel(0.1);
    const controller = new AbortController();
    const stop: TrainerCallback = {
      onStepEnd: (_, state) => void (state.globalStep === 3 && controller.abort()),
    };
    const outputDir = join(folder, "new", "run");
    const options = {
      model,
      args: { ...args, outputDir, saveStrategy: "no" as const },
      trainDataset: dataset,
    };
    const trainer = new Trainer({ ...options, callbacks: [stop] });
    const first = await trainer.train({ signal: controller.signal });
    assertEquals([first.aborted, first.globalStep, first.checkpoint], [
      true,
      3,
      join(outputDir, "checkpoint-3"),
    ]);

    const fresh = await tinyModel(0.1, undefined, 99);
    const resumed = await new Trainer({ ...options, model: fresh }).train({
      resumeFromCheckpoint: first.checkpoint!,
    });
    assertEquals([resumed.aborted, resumed.globalStep, resumed.checkpoint], [false, 8, null]);
    assertEquals(await weightsOf(fresh), await weightsOf(whole));
    for (const each of [whole, model, fresh]) each.dispose();
  });
});

Deno.test("Trainer.train() with a signal that is aborted already does no step", async () => {
  const model = await tinyModel();
  const before = await weightsOf(model);
  const result = await new Trainer({ model, args, trainDataset: dataset }).train({
    signal: AbortSignal.abort(),
  });
  assertEquals([result.aborted, result.globalStep, result.checkpoint], [true, 0, null]);
  assertEquals(await weightsOf(model), before);
  model.dispose();
});

Deno.test("Trainer.train() checks outputDir before the first step", async () => {
  await inFolder(async (folder) => {
    const file = join(folder, "file");
    await Deno.writeTextFile(file, "kept");
    const model = await tinyModel();
    let steps = 0;
    for (const outputDir of [file, join(file, "below"), ""]) {
      const trainer = new Trainer({
        model,
        args: { ...args, outputDir },
        trainDataset: dataset,
        callbacks: [{ onStepEnd: () => void steps++ }],
      });
      await assertRejects(
        () => trainer.train(),
        Error,
        "Cannot train: a folder that can be written to is required",
      );
    }
    assertEquals(steps, 0);
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["file"]);
    assertEquals(await Deno.readTextFile(file), "kept");
    model.dispose();
  });
});

Deno.test("getLastCheckpoint() gives null where there is none", async () => {
  await inFolder(async (folder) => {
    assertEquals(await getLastCheckpoint(folder), null);
    assertEquals(await getLastCheckpoint(join(folder, "none")), null);
  });
});

Deno.test("EarlyStoppingCallback stops after the patience, keeps its count in checkpoints, and the best model comes back", async () => {
  await inFolder(async (outputDir) => {
    // A learning rate that makes it worse from the first step on: step 1 is the best.
    const model = await tinyModel();
    const weights: Record<number, Record<string, number[]>> = {};
    const trainer = new Trainer({
      model,
      args: {
        ...args,
        maxSteps: 12,
        learningRate: 0.5,
        outputDir,
        evalStrategy: "steps",
        evalSteps: 1,
        saveStrategy: "steps",
        saveSteps: 1,
        saveTotalLimit: 1,
        loadBestModelAtEnd: true,
      },
      trainDataset: dataset,
      evalDataset: dataset,
      callbacks: [
        new EarlyStoppingCallback({ earlyStoppingPatience: 3 }),
        { onSave: async (_, state) => void (weights[state.globalStep] = await weightsOf(model)) },
      ],
    });
    const { globalStep } = await trainer.train();
    const losses = trainer.state.logHistory.filter((entry) => "evalLoss" in entry).map(({ evalLoss }) =>
      evalLoss
    );
    const best = losses.indexOf(Math.min(...losses)) + 1;
    assertEquals([trainer.state.bestGlobalStep, trainer.state.bestMetric], [best, Math.min(...losses)]);
    assertEquals(globalStep, best + 3);
    assertEquals(await weightsOf(model), weights[best]);
    const kept = [...Deno.readDirSync(outputDir)].map(({ name }) => name).sort();
    assertEquals(kept, [`checkpoint-${best}`, `checkpoint-${globalStep}`].sort());
    const saved = JSON.parse(
      await Deno.readTextFile(join(outputDir, `checkpoint-${globalStep}`, "trainer_state.json")),
    );
    assertEquals(saved.stateful_callbacks.EarlyStoppingCallback, { early_stopping_patience_counter: 3 });
    assertEquals([saved.best_global_step, saved.best_metric], [best, Math.min(...losses)]);
    model.dispose();
  });
});

Deno.test("the best model comes back from a folder that was moved between two runs", async () => {
  await inFolder(async (folder) => {
    const settings = {
      ...args,
      learningRate: 0.5, // worse with every step: the first checkpoint is the best
      evalStrategy: "steps",
      evalSteps: 1,
      saveStrategy: "steps",
      saveSteps: 1,
      loadBestModelAtEnd: true,
    } as const;
    const run = async (outputDir: string, maxSteps: number, resume: boolean) => {
      const model = await tinyModel();
      const data = { trainDataset: dataset, evalDataset: dataset };
      const trainer = new Trainer({ model, args: { ...settings, outputDir, maxSteps }, ...data });
      await trainer.train({ resumeFromCheckpoint: resume });
      const weights = await weightsOf(model);
      model.dispose();
      return { weights, best: trainer.state.bestGlobalStep };
    };
    const first = await run(join(folder, "old"), 2, false);
    await Deno.rename(join(folder, "old"), join(folder, "new"));
    const second = await run(join(folder, "new"), 4, true);
    assert(
      first.best !== null && first.best <= 2 && second.best === first.best,
      JSON.stringify([first.best, second.best]),
    );
    assertEquals(second.weights, first.weights);
  });
});

Deno.test("EarlyStoppingCallback refuses a run without evaluations, and bad settings", async () => {
  const model = await tinyModel();
  const trainer = new Trainer({
    model,
    args,
    trainDataset: dataset,
    callbacks: [new EarlyStoppingCallback()],
  });
  await assertRejects(() => trainer.train(), TypeError, "Cannot stop early: evalStrategy");
  assertThrows(
    () => new EarlyStoppingCallback({ earlyStoppingPatience: 0 }),
    RangeError,
    "earlyStoppingPatience",
  );
  assertThrows(
    () => new EarlyStoppingCallback({ earlyStoppingThreshold: -1 }),
    RangeError,
    "earlyStoppingThreshold",
  );
  model.dispose();
});

Deno.test("Trainer and train() refuse options that do not exist, with the name that was meant", async () => {
  const model = await tinyModel();
  const make = (options: Record<string, unknown>) => () =>
    new Trainer({ model, ...options } as TrainerOptions);
  assertThrows(make({ compute_metrics: () => ({}) }), TypeError, 'did you mean "computeMetrics"?');
  assertThrows(make({ trainDatset: dataset }), TypeError, 'did you mean "trainDataset"?');
  assertThrows(make({ args: { maxStep: 3 } }), TypeError, 'did you mean "maxSteps"?');
  const trainer = new Trainer({ model, args: { ...args, maxSteps: undefined }, trainDataset: undefined });
  assertEquals(trainer.args.maxSteps, -1);
  await assertRejects(
    () => trainer.train({ resume_from_checkpoint: true } as Record<string, unknown>),
    TypeError,
    'did you mean "resumeFromCheckpoint"?',
  );
  model.dispose();
});

Deno.test("TrainingArguments refuses a best model that would not be saved", () => {
  const make = (options: Partial<TrainingArguments>) => () =>
    new TrainingArguments({ outputDir: "o", loadBestModelAtEnd: true, ...options });
  assertThrows(
    make({}),
    RangeError,
    "loadBestModelAtEnd must be used with the same evalStrategy and saveStrategy",
  );
  assertThrows(
    make({ evalStrategy: "steps", evalSteps: 4, saveSteps: 6 }),
    RangeError,
    "saveSteps must be a multiple of evalSteps (4)",
  );
  const good = make({ evalStrategy: "epoch", saveStrategy: "epoch", metricForBestModel: "accuracy" })();
  assertEquals([good.metricForBestModel, good.greaterIsBetter], ["evalAccuracy", true]);
});

Deno.test("Trainer prints what begins, each log, each evaluation and the end; nothing with reportTo none", async () => {
  const { log } = console;
  const lines: string[] = [];
  console.log = (line: string) => void lines.push(line);
  const model = await tinyModel();
  try {
    const options = { model, trainDataset: dataset, evalDataset: dataset };
    const shown = { ...args, maxSteps: 4, loggingSteps: 2, evalStrategy: "steps", evalSteps: 4 } as const;
    await new Trainer({ ...options, args: shown }).train();
    assertEquals(lines, []);
    await new Trainer({ ...options, args: { ...shown, reportTo: "console" } }).train();
  } finally {
    console.log = log;
  }
  assertEquals(lines[0], "training: 4 steps, a log every 2");
  const logged = lines.filter((line) => line.includes("| learning rate"));
  assertEquals(logged.length, 2);
  assert(
    /^step 2\/4 \| loss \d\.\d{4} \| [\d,]+ tokens\/s \| \d:\d\d left \| grad norm /.test(logged[0]),
    logged[0],
  );
  assertEquals(
    lines.filter((line) => /^step 4\/4 \| eval loss \d\.\d{4} \| perplexity /.test(line)).length,
    1,
  );
  assert(/^trained 4 steps in \d+\.\d s, mean loss \d\.\d{4}$/.test(lines.at(-1)!), lines.at(-1));
  model.dispose();
});

Deno.test("ConsoleReport breaks a silence of more than 2 s between logs", () => {
  const lines: string[] = [];
  const report = new ConsoleReport((line) => void lines.push(line));
  const { now } = performance;
  let clock = 10_000;
  performance.now = () => clock;
  try {
    const state = { globalStep: 1, maxSteps: 900, tokensPerSecond: 0, logHistory: [] } as never;
    const control = { shouldLog: false } as never;
    const settings = new TrainingArguments();
    report.onTrainBegin(settings, { globalStep: 0, maxSteps: 900 } as never);
    for (let second = 1; second <= 10; second++) {
      clock += 1000;
      report.onStepEnd(settings, state, control);
    }
  } finally {
    performance.now = now;
  }
  assertStringIncludes(lines[0], "training: 900 steps");
  assertEquals(lines.slice(1), ["step 1/900", "step 1/900", "step 1/900"]);
});

Deno.test("DataLoader is iterated an epoch at a time, in the orders of batches()", () => {
  const loader = new DataLoader(dataset, { batchSize: 5, shuffle: true, seed: 7 });
  const first = [...loader];
  const second = [...loader];
  assertEquals(first.map(({ inputIds }) => inputIds.length), [5, 5, 5, 1]);
  assertEquals([first, second], [[...loader.batches(0)], [...loader.batches(1)]]);
  assert(JSON.stringify(first) !== JSON.stringify(second));
  assertThrows(
    () => new DataLoader(dataset, { batchSize: 5, shufle: true } as never),
    TypeError,
    '"shuffle"?',
  );
});

Deno.test("setSeed() is the seed of what is given none", async () => {
  const device = await anotherDevice();
  const config = new GPT2Config({ vocabSize: 10, nPositions: 8, nEmbd: 8, nLayer: 1, nHead: 1 });
  const weight = async (seed?: number) => {
    const model = new GPT2LMHeadModel(config, { device, seed });
    const values = [...await model.transformer.wte.weight.data()];
    model.dispose();
    return values;
  };
  try {
    const zero = await weight();
    setSeed(5);
    const five = await weight();
    assertEquals(five, await weight(5));
    assertEquals(await weight(0), zero);
    assert(five.join() !== zero.join());
    assertThrows(() => setSeed(-1), RangeError, "seed");
  } finally {
    setSeed(0);
    device.trim();
  }
});

Deno.test("Every trainer takes its tokenizer as tokenizer or as processingClass, and refuses two different ones", async () => {
  const model = await tinyModel();
  const [one, other] = [{ padTokenId: 7, eosTokenId: 0 }, { padTokenId: 8, eosTokenId: 0 }];
  const options = { model, trainDataset: [{ inputIds: [1, 2, 3] }], args: { reportTo: "none" as const } };
  new Trainer({ ...options, processingClass: one });
  new Trainer({ ...options, processingClass: one, tokenizer: one });
  assertThrows(
    () => new Trainer({ ...options, processingClass: one, tokenizer: other }),
    TypeError,
    "tokenizer and processingClass are two names of one thing, received two different ones",
  );
  model.dispose();
});
