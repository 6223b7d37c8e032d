import { assertAllClose, assertEquals, assertThrows } from "@std/assert";
import type { Tensor } from "../../autograd/mod.ts";
import {
  getConstantSchedule,
  getConstantScheduleWithWarmup,
  getCosineScheduleWithWarmup,
  getLinearScheduleWithWarmup,
  getScheduler,
  type LRScheduler,
  type Optimizer,
  type SchedulerType,
} from "../../train/mod.ts";

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
  direct: (optimizer: Optimizer) => LRScheduler;
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
];

for (const { name, numWarmupSteps, numTrainingSteps, rates, direct } of EXPECTED) {
  Deno.test(`getScheduler("${name}") with ${numWarmupSteps ?? 0} steps of warmup has Hugging Face's rates`, () => {
    const options = { numWarmupSteps, numTrainingSteps };
    const makers = [(optimizer: Optimizer) => getScheduler(name, optimizer, options), direct];
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
    `Cannot make schedule "liner": one of "linear", "cosine", "constant", "constant_with_warmup" is required`,
  );
  assertThrows(
    () => getScheduler("cosine", optimizerOf(1)),
    TypeError,
    `Cannot make schedule "cosine": numTrainingSteps is required, received none`,
  );
});
