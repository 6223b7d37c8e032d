/**
 * Preference tuning whose steps several trainers share, against one trainer that accumulates the same batches.
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { getPeftModel, LoraConfig } from "@peft/webgpu";
import {
  CPOTrainer,
  DPOTrainer,
  type DPOTrainerOptions,
  type GradientExchange,
  KTOTrainer,
  ORPOTrainer,
} from "@peft/webgpu/train";
import { ownDevice } from "../../reference/fixtures.ts";
import { exchanges } from "../exchanges.ts";
import { tinyModel, trainedWeightsOf } from "../tiny_run.ts";
import { beginLora, drawnIds } from "./preference_rows.ts";

const ids = drawnIds(5, 400);
const PAIRS = Array.from({ length: 10 }, (_, i) => ({
  promptIds: ids(20 * i, 2 + i % 4),
  chosenIds: ids(20 * i + 6, 1 + i % 5),
  rejectedIds: ids(20 * i + 12, 1 + (2 * i) % 7),
}));
const ANSWERS = PAIRS.map(({ promptIds, chosenIds }, i) => ({
  ...{ promptIds, completionIds: chosenIds, label: i % 3 !== 0 },
}));

/** Trainers, their rows, and settings that matter for shares: who asks the reference when, and what draws dropout. */
const CASES: Readonly<Record<string, readonly [unknown, readonly object[], Record<string, unknown>]>> = {
  "DPO": [DPOTrainer, PAIRS, {}],
  "DPO with dropout": [DPOTrainer, PAIRS, { disableDropout: false }],
  "DPO with a reference asked before": [DPOTrainer, PAIRS, { precomputeRefLogProbs: true }],
  "ORPO with dropout": [ORPOTrainer, PAIRS, { disableDropout: false }],
  "SimPO": [CPOTrainer, PAIRS, { lossType: "simpo", cpoAlpha: 0, beta: 2 }],
  "KTO": [KTOTrainer, ANSWERS, {}],
  "KTO with dropout": [KTOTrainer, ANSWERS, { disableDropout: false }],
  "KTO without KL and with dropout": [
    KTOTrainer,
    ANSWERS,
    { lossType: "apo_zero_unpaired", disableDropout: false },
  ],
};

/** Trained weights and logs. */
async function trained(
  [Trainer, rows, extra]: typeof CASES[string],
  gradientExchange: GradientExchange | undefined,
) {
  const device = await ownDevice();
  const config = new LoraConfig({ r: 4, targetModules: ["c_attn", "c_proj"], loraDropout: 0.3 });
  const model = getPeftModel(await tinyModel(0.2, device), config, "default", { seed: 5 });
  beginLora(model);
  const trainer = new (Trainer as typeof DPOTrainer)({
    ...{ model, trainDataset: rows },
    args: {
      // five batches: the second step of each epoch has two of three
      ...{ maxSteps: 5, perDeviceTrainBatchSize: 2, gradientAccumulationSteps: 3, loggingSteps: 1 },
      ...{ learningRate: 1e-2, reportTo: "none", ...extra },
    },
    ...gradientExchange && { gradientExchange },
  } as DPOTrainerOptions);
  await trainer.train();
  const weights = await trainedWeightsOf(model);
  const logs = trainer.state.logHistory.map(({ tokensPerSecond: _, ...log }) =>
    Object.fromEntries(Object.entries(log).filter(([name]) => !/runtime|PerSecond/i.test(name)))
  );
  model.dispose();
  assertEquals(device.memory.liveBytes, 0, "nothing is left on the device");
  return { weights, logs };
}

for (const [name, settings] of Object.entries(CASES)) {
  Deno.test(`${name}: three trainers with a batch each make the updates and logs of one that accumulates three, bit for bit`, async () => {
    const alone = await trained(settings, undefined);
    assert(
      alone.logs.length >= 5 && Object.keys(alone.logs[0]).some((name) => /^(?:rewards|log_odds)/.test(name)),
    );
    const together = await Promise.all(exchanges(3).map((exchange) => trained(settings, exchange)));
    for (const one of together) assertEquals(one, alone);
  });
}
