import { assertAllClose, assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { Tensor } from "../../../autograd/mod.ts";
import {
  getConstantSchedule,
  getConstantScheduleWithWarmup,
  getCosineScheduleWithWarmup,
  getLinearScheduleWithWarmup,
  getScheduler,
  type LRScheduler,
  type Optimizer,
  type SchedulerOptions,
  type SchedulerSettings,
  type SchedulerType,
  Trainer,
  type TrainingArguments,
} from "../../../train/mod.ts";
import { loadFixture, ownDevice } from "../../reference/fixtures.ts";

/** Groups alone: a schedule looks at nothing else. */
function optimizerOf(...rates: number[]): Optimizer {
  const paramGroups = rates.map((lr) => ({ params: [] as Tensor[], lr, weightDecay: 0 }));
  return { paramGroups } as unknown as Optimizer;
}

// `get_scheduler` of transformers 5.23.0 on torch.optim.SGD with lr 2e-3: `get_last_lr()[0]` before each of 12 steps.
const EXPECTED: {
  name: SchedulerType;
  numWarmupSteps?: number;
  numTrainingSteps?: number;
  rates: number[];
  settings?: SchedulerSettings;
  direct?: (optimizer: Optimizer) => LRScheduler;
}[] = [
  {
    name: "linear",
    numWarmupSteps: 3,
    numTrainingSteps: 10,
    // deno-fmt-ignore
    rates: [0.0, 0.0006666666666666666, 0.0013333333333333333, 0.002, 0.0017142857142857142, 0.0014285714285714286,
      0.0011428571428571427, 0.0008571428571428571, 0.0005714285714285714, 0.0002857142857142857, 0.0, 0.0],
    direct: (optimizer) => getLinearScheduleWithWarmup(optimizer, 3, 10),
  },
  {
    name: "linear",
    numTrainingSteps: 7,
    // deno-fmt-ignore
    rates: [0.002, 0.0017142857142857142, 0.0014285714285714286, 0.0011428571428571427, 0.0008571428571428571,
      0.0005714285714285714, 0.0002857142857142857, 0.0, 0.0, 0.0, 0.0, 0.0],
    direct: (optimizer) => getLinearScheduleWithWarmup(optimizer, 0, 7),
  },
  {
    name: "cosine",
    numWarmupSteps: 2,
    numTrainingSteps: 9,
    // deno-fmt-ignore
    rates: [0.0, 0.001, 0.002, 0.001900968867902419, 0.0016234898018587336, 0.0012225209339563144,
      0.0007774790660436857, 0.0003765101981412665, 9.903113209758097e-05, 0.0, 9.903113209758086e-05,
      0.0003765101981412663],
    direct: (optimizer) => getCosineScheduleWithWarmup(optimizer, 2, 9),
  },
  { name: "constant", rates: new Array(12).fill(0.002), direct: getConstantSchedule },
  {
    name: "constant_with_warmup",
    numWarmupSteps: 4,
    rates: [0.0, 0.0005, 0.001, 0.0015, ...new Array(8).fill(0.002)],
    direct: (optimizer) => getConstantScheduleWithWarmup(optimizer, 4),
  },
  {
    name: "cosine_with_restarts",
    numWarmupSteps: 2,
    numTrainingSteps: 9,
    settings: { numCycles: 2 },
    // deno-fmt-ignore
    rates: [0.0, 0.001, 0.002, 0.0016234898018587336, 0.0007774790660436857, 9.903113209758097e-05, 0.0019009688679024193, 0.0012225209339563144, 0.00037651019814126683, 0.0, 0.0, 0.0],
  },
  {
    name: "cosine_with_restarts",
    numWarmupSteps: 0,
    numTrainingSteps: 8,
    settings: {},
    // deno-fmt-ignore
    rates: [0.002, 0.0019238795325112869, 0.0017071067811865474, 0.00138268343236509, 0.001, 0.0006173165676349102, 0.00029289321881345256, 7.612046748871326e-05, 0.0, 0.0, 0.0, 0.0],
  },
  {
    name: "inverse_sqrt",
    numWarmupSteps: 3,

    settings: {},
    // deno-fmt-ignore
    rates: [0.0, 0.0006666666666666666, 0.0013333333333333333, 0.002, 0.0017320508075688774, 0.0015491933384829668, 0.001414213562373095, 0.001309307341415954, 0.001224744871391589, 0.0011547005383792518, 0.0010954451150103322, 0.001044465935734187],
  },
  {
    name: "inverse_sqrt",
    numWarmupSteps: 0,

    settings: { timescale: 4 },
    // deno-fmt-ignore
    rates: [0.002, 0.0017888543819998318, 0.0016329931618554523, 0.0015118578920369089, 0.001414213562373095, 0.0013333333333333333, 0.0012649110640673518, 0.0012060453783110546, 0.0011547005383792518, 0.0011094003924504584, 0.0010690449676496977, 0.0010327955589886444],
  },
  {
    name: "polynomial",
    numWarmupSteps: 2,
    numTrainingSteps: 9,
    settings: { power: 2.0, lrEnd: 0.0001 },
    // deno-fmt-ignore
    rates: [0.0, 0.001, 0.002, 0.001495918367346939, 0.0010693877551020408, 0.0007204081632653061, 0.00044897959183673474, 0.0002551020408163265, 0.00013877551020408167, 0.0001, 0.0001, 0.0001],
  },
  {
    name: "polynomial",
    numWarmupSteps: 0,
    numTrainingSteps: 8,
    settings: {},
    // deno-fmt-ignore
    rates: [0.002, 0.0017500125000000002, 0.001500025, 0.0012500375000000002, 0.0010000500000000002, 0.0007500625, 0.000500075, 0.00025008750000000003, 1e-07, 1e-07, 1e-07, 1e-07],
  },
  {
    name: "cosine_with_min_lr",
    numWarmupSteps: 2,
    numTrainingSteps: 9,
    settings: { minLrRate: 0.1 },
    // deno-fmt-ignore
    rates: [0.0, 0.001, 0.002, 0.0019108719811121771, 0.0016611408216728604, 0.001300268840560683, 0.0008997311594393172, 0.0005388591783271399, 0.00028912801888782293, 0.0002, 0.0002891280188878228, 0.0005388591783271397],
  },
  {
    name: "cosine_with_min_lr",
    numWarmupSteps: 0,
    numTrainingSteps: 8,
    settings: { minLr: 0.0005 },
    // deno-fmt-ignore
    rates: [0.002, 0.001942909649383465, 0.0017803300858899105, 0.0015370125742738174, 0.00125, 0.0009629874257261827, 0.0007196699141100894, 0.000557090350616535, 0.0005, 0.0005570903506165349, 0.0007196699141100893, 0.0009629874257261824],
  },
  {
    name: "warmup_stable_decay",
    numWarmupSteps: 2,
    numTrainingSteps: 10,
    settings: { numDecaySteps: 4 },
    // deno-fmt-ignore
    rates: [0.0, 0.001, 0.002, 0.002, 0.002, 0.002, 0.002, 0.0017071067811865474, 0.001, 0.00029289321881345256, 0.0, 0.0],
  },
  {
    name: "warmup_stable_decay",
    numWarmupSteps: 2,
    numTrainingSteps: 10,
    settings: { numDecaySteps: 4, minLrRatio: 0.1, decayType: "linear" },
    // deno-fmt-ignore
    rates: [0.0002, 0.0011, 0.002, 0.002, 0.002, 0.002, 0.002, 0.0015500000000000002, 0.0011, 0.0006500000000000001, 0.0002, 0.0002],
  },
  {
    name: "warmup_stable_decay",
    numWarmupSteps: 3,

    settings: { numStableSteps: 3, numDecaySteps: 4, decayType: "1-sqrt", warmupType: "cosine" },
    // deno-fmt-ignore
    rates: [0.0, 0.0004999999999999999, 0.0014999999999999998, 0.002, 0.002, 0.002, 0.002, 0.001, 0.0005857864376269049, 0.0002679491924311228, 0.0, 0.0],
  },
];

for (const { name, numWarmupSteps, numTrainingSteps, settings, rates, direct } of EXPECTED) {
  const what = settings ? ` and ${JSON.stringify(settings)}` : "";
  Deno.test(`getScheduler("${name}") with ${numWarmupSteps ?? 0} steps of warmup${what} has Hugging Face's rates`, () => {
    const options = { numWarmupSteps, numTrainingSteps, ...settings };
    const makers = [
      (optimizer: Optimizer) => getScheduler(name, optimizer, options),
      ...direct ? [direct] : [],
    ];
    for (const make of makers) {
      const optimizer = optimizerOf(2e-3, 0.5);
      const scheduler = make(optimizer);
      rates.forEach((rate, step) => {
        const tolerance = { rtol: 1e-14, atol: 1e-18, label: `step ${step}` };
        assertAllClose(scheduler.getLastLr(), [rate, rate * 250], tolerance);
        assertEquals(optimizer.paramGroups.map(({ lr }) => lr), scheduler.getLastLr());
        scheduler.step();
      });
    }
  });
}

Deno.test("LRScheduler continues from its state", () => {
  const first = getScheduler("cosine", optimizerOf(0.1), { numWarmupSteps: 2, numTrainingSteps: 20 });
  for (let step = 0; step < 7; step++) first.step();
  const optimizer = optimizerOf(5);
  const second = getScheduler("cosine", optimizer, { numWarmupSteps: 2, numTrainingSteps: 20 });
  second.loadStateDict(JSON.parse(JSON.stringify(first.stateDict())));
  assertEquals(second.getLastLr(), first.getLastLr());
  assertEquals(optimizer.paramGroups[0].lr, first.getLastLr()[0]);
  first.step();
  second.step();
  assertEquals(second.getLastLr(), first.getLastLr());
  assertThrows(
    () => getScheduler("constant", optimizerOf(1, 2)).loadStateDict(first.stateDict()),
    TypeError,
    "Cannot load the schedule's state: learning rates of 2 groups are required, received 1",
  );
});

Deno.test("getScheduler() wants a known name, and the number of steps where it matters", () => {
  assertThrows(
    () => getScheduler("liner" as SchedulerType, optimizerOf(1)),
    RangeError,
    `Cannot make schedule "liner": one of "linear", "cosine", "cosine_with_restarts", "cosine_with_min_lr", "polynomial", "inverse_sqrt", "warmup_stable_decay", "constant", "constant_with_warmup" is required`,
  );
  assertThrows(
    () => getScheduler("cosine", optimizerOf(1)),
    TypeError,
    `Cannot make schedule "cosine": numTrainingSteps is required, received none`,
  );
  const refused: [SchedulerType, SchedulerOptions, string][] = [
    [
      "linear",
      { numTrainingSteps: 3, numCycles: 2 },
      '"linear": no settings can be used, received numCycles',
    ],
    [
      "polynomial",
      { numTrainingSteps: 3, minLr: 0 },
      "of settings, only power, lrEnd can be used, received minLr",
    ],
    [
      "polynomial",
      { numTrainingSteps: 3, lrEnd: 2 },
      "lrEnd below the initial rate 1 is required, received 2",
    ],
    [
      "cosine_with_min_lr",
      { numTrainingSteps: 3 },
      "either minLr or minLrRate is required, received neither",
    ],
    ["cosine_with_min_lr", { numTrainingSteps: 3, minLr: 0, minLrRate: 0 }, "is required, received both"],
    ["warmup_stable_decay", { numTrainingSteps: 3 }, "numDecaySteps is required, received none"],
    ["warmup_stable_decay", { numDecaySteps: 3 }, "numTrainingSteps is required, received none"],
    [
      "warmup_stable_decay",
      { numTrainingSteps: 9, numDecaySteps: 3, decayType: "sine" as "cosine" },
      'decayType must be one of "linear", "cosine", "1-sqrt", received "sine"',
    ],
  ];
  for (const [name, options, message] of refused) {
    assertThrows(() => getScheduler(name, optimizerOf(1), options), TypeError, message);
  }
});

Deno.test("Trainer gives lrSchedulerKwargs to its schedule", async () => {
  const device = await ownDevice();
  const model = await loadFixture("gpt2_tiny", { device });
  const trainDataset = [{ inputIds: [1, 2, 3, 4] }];
  const args: Partial<TrainingArguments> = {
    ...{ maxSteps: 6, learningRate: 2e-3, warmupSteps: 2, loggingSteps: 1, perDeviceTrainBatchSize: 1 },
    lrSchedulerType: "warmup_stable_decay",
    lrSchedulerKwargs: { numDecaySteps: 2, decayType: "linear" },
    reportTo: "none",
  };
  const trainer = new Trainer({ model, trainDataset, args });
  await trainer.train();
  const rates = trainer.state.logHistory.flatMap(({ learningRate }) =>
    learningRate === undefined ? [] : [learningRate]
  );
  assertEquals(rates, [0, 1e-3, 2e-3, 2e-3, 2e-3, 1e-3]);
  const wrong = new Trainer({ model, trainDataset, args: { ...args, lrSchedulerKwargs: { power: 2 } } });
  await assertRejects(() => wrong.train(), TypeError, "received power");
  model.dispose();
});
