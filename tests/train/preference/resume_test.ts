/** Preference tuning that is killed and resumed continues to the bit. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { getPeftModel, LoraConfig, type PeftModel } from "../../../peft/mod.ts";
import {
  CPOTrainer,
  DPOTrainer,
  type DPOTrainerOptions,
  KTOTrainer,
  ORPOTrainer,
  type PreferenceRows,
} from "../../../train/mod.ts";
import { inFolder, tinyModel, trainedWeightsOf } from "../tiny_run.ts";
import { beginLora, drawnIds } from "./preference_rows.ts";

const ids = drawnIds(5, 400);
const PAIRS = Array.from({ length: 9 }, (_, i) => ({
  promptIds: ids(20 * i, 2 + i % 4),
  chosenIds: ids(20 * i + 6, 1 + i % 5),
  rejectedIds: ids(20 * i + 12, 1 + (2 * i) % 7),
}));
const ANSWERS = PAIRS.map(({ promptIds, chosenIds }, i) => ({
  ...{ promptIds, completionIds: chosenIds, label: i % 3 !== 0 },
}));
const STEPS = 6;

/** An adapter with dropout; another seed stands for another process, whose model has not trained. */
async function adapted(seed: number): Promise<PeftModel> {
  const model = await tinyModel(0.2);
  const config = new LoraConfig({ r: 4, targetModules: ["c_attn", "c_proj"], loraDropout: 0.3 });
  const peft = getPeftModel(model, config) as unknown as PeftModel;
  beginLora(peft, seed);
  return peft;
}

interface Run {
  readonly Trainer: typeof DPOTrainer;
  readonly rows?: PreferenceRows;
  readonly args?: Record<string, unknown>;
}

/** Logs, an evaluation at the end, and trained weights. @param killedAt the step after which the process "dies" */
async function run(
  { Trainer, rows = PAIRS, args }: Run,
  folder: string,
  { seed = 1, killedAt = 0, resume = false } = {},
) {
  const model = await adapted(seed);
  const trainer = new Trainer({
    ...{ model, trainDataset: rows, evalDataset: rows },
    args: {
      ...{ outputDir: folder, perDeviceTrainBatchSize: 2, gradientAccumulationSteps: 2, learningRate: 1e-2 },
      ...{ maxSteps: STEPS, loggingSteps: 2, saveSteps: 3, reportTo: "none", gradientCheckpointing: false },
      ...args,
    },
    callbacks: [{
      onSave: (_args, { globalStep }) => {
        if (globalStep === killedAt) throw new Error("killed");
      },
    }],
  } as DPOTrainerOptions);
  try {
    await trainer.train({ resumeFromCheckpoint: resume });
    const weights = await trainedWeightsOf(model);
    const { evalLoss, metrics } = await trainer.evaluate();
    return { logs: trainer.state.logHistory, weights, evaluation: { evalLoss, ...metrics } };
  } finally {
    model.dispose();
  }
}

const RUNS: Record<string, Run> = {
  "DPO with dropout": { Trainer: DPOTrainer, args: { disableDropout: false, saveSteps: 1 } },
  "DPO with log-probabilities of the reference computed before": {
    Trainer: DPOTrainer,
    args: { precomputeRefLogProbs: true, lossType: ["ipo", "sft"], fp16: true, saveSteps: 1 },
  },
  "DPO with gradient checkpointing": { Trainer: DPOTrainer, args: { gradientCheckpointing: true } },
  KTO: { Trainer: KTOTrainer as never, rows: ANSWERS },
  "KTO with log-probabilities of the reference computed before": {
    Trainer: KTOTrainer as never,
    rows: ANSWERS,
    args: { precomputeRefLogProbs: true },
  },
  ORPO: { Trainer: ORPOTrainer as never },
  SimPO: { Trainer: CPOTrainer as never, args: { lossType: "simpo", cpoAlpha: 0, beta: 2 } },
};

for (const [name, test] of Object.entries(RUNS)) {
  const kills = test.args?.saveSteps === 1 ? [1, 4] : [3];
  Deno.test(`${name}, killed after step ${kills.join(" or ")}, resumes to the same logs, weights and evaluation, bit for bit`, async () => {
    await inFolder(async (folder) => {
      const straight = await run(test, `${folder}/straight`);
      assertEquals(straight.logs.length, STEPS / 2);
      assert(Object.values(straight.logs[0]).every((value) => Number.isFinite(value)));
      for (const killedAt of kills) {
        const outputDir = `${folder}/${killedAt}`;
        await assertRejects(() => run(test, outputDir, { killedAt }), Error, "killed");
        assertEquals(await run(test, outputDir, { seed: 7, resume: true }), straight);
      }
    });
  });
}

Deno.test("a run that is aborted while the reference is asked ends before its first step, and can be started again", async () => {
  const model = await adapted(1);
  const controller = new AbortController();
  controller.abort();
  const args = { precomputeRefLogProbs: true, maxSteps: 2, reportTo: "none", learningRate: 1e-2 } as const;
  const trainer = new DPOTrainer({ model: model as never, trainDataset: PAIRS, args });
  assertEquals((await trainer.train({ signal: controller.signal })).globalStep, 0);
  assertEquals((await trainer.train()).globalStep, 2);
  model.dispose();
});
