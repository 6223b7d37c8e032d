/** Trainers of preferences replay recorded steps where they can, with the numbers of steps that are run. */
import { assert, assertEquals } from "@std/assert";
import { getPeftModel, LoraConfig, PrefixTuningConfig } from "../../../peft/mod.ts";
import {
  CPOTrainer,
  DPOTrainer,
  type DPOTrainerOptions,
  KTOTrainer,
  ORPOTrainer,
  type PreferenceRows,
} from "../../../train/mod.ts";
import { changeProfile } from "../../reference/profiles.ts";
import { inFolder, LENGTH, tinyModel, trainedWeightsOf } from "../tiny_run.ts";
import { beginLora, drawnIds } from "./preference_rows.ts";
import { anotherDevice } from "../../reference/another_device.ts";

const ids = drawnIds(8, 2000);

/** Pairs whose longest row has `length` tokens, most of them of the prompt unless it is short. */
const pairs = (count: number, { prompt = 9, length = LENGTH, rejected = (i: number) => 2 + i % 4 } = {}) =>
  Array.from({ length: count }, (_, i) => ({
    promptIds: ids(30 * i, prompt - i % 2),
    chosenIds: ids(30 * i + 10, length - prompt),
    rejectedIds: ids(30 * i + 20, rejected(i)),
  }));
const answers = (count: number) =>
  pairs(count).map(({ promptIds, chosenIds, rejectedIds }, i) => ({
    ...{ promptIds, completionIds: i % 2 === 0 ? chosenIds : rejectedIds, label: i % 3 !== 0 },
  }));

interface Run {
  readonly Trainer?: typeof DPOTrainer;
  readonly rows?: PreferenceRows;
  readonly args?: Record<string, unknown>;
  readonly replays?: boolean;
  /** Rows of the head are filled up to a multiple of this, as on hardware; 1: not, as on software. */
  readonly labelRowStep?: number;
  readonly reference?: "model" | "adapter";
  readonly method?: "lora" | "prefix";
}

const LORA = { r: 4, targetModules: ["c_attn", "c_proj"], loraDropout: 0.1 };

/** Logs and trained weights, and how many launches were replayed. */
async function run(test: Run, captured: boolean, more: { outputDir?: string; resume?: boolean } = {}) {
  const { Trainer = DPOTrainer, rows = pairs(12), args, labelRowStep = 8, reference, method = "lora" } = test;
  const device = await anotherDevice();
  changeProfile(device, { recordedBytes: 64 * 2 ** 20, labelRowStep });
  const model = getPeftModel(
    await tinyModel(0.1, device),
    method === "lora" ? new LoraConfig(LORA) : new PrefixTuningConfig({ numVirtualTokens: 2 }),
  );
  if (reference === "adapter") model.addAdapter("ref", new LoraConfig({ r: 2, targetModules: ["c_attn"] }));
  beginLora(model);
  if (!captured) Object.defineProperty(model, "isCapturable", { value: false });
  const refModel = reference === "model" ? await tinyModel(0, device, 5) : undefined;
  const before = device.stats;
  const trainer = new Trainer({
    ...{ model, trainDataset: rows },
    ...refModel && { refModel },
    args: {
      ...{ perDeviceTrainBatchSize: 2, learningRate: 1e-2, maxSteps: 12, loggingSteps: 1, seed: 5 },
      ...{ reportTo: "none", gradientCheckpointing: false, outputDir: more.outputDir ?? null },
      ...args,
    },
  } as DPOTrainerOptions);
  await trainer.train({ resumeFromCheckpoint: more.resume });
  const after = device.stats;
  const ran = after.bindGroupHits + after.bindGroupMisses - before.bindGroupHits - before.bindGroupMisses;
  const weights = await trainedWeightsOf(model);
  const { logHistory } = trainer.state;
  model.dispose();
  refModel?.dispose();
  return { logs: logHistory, weights, replayed: after.dispatches - before.dispatches - ran };
}

const CASES: Record<string, Run> = {
  "DPO with dropout and accumulation": {
    args: { disableDropout: false, gradientAccumulationSteps: 2, maxSteps: 10 },
  },
  "DPO, losses by token counts, desensitized to length, a last batch of one pair": {
    args: { lossType: ["ipo", "sigmoid_norm", "sft", "aot"], ldAlpha: 0.5, maxSteps: 21 },
    rows: pairs(13),
  },
  "DPO with the reference computed before": { args: { precomputeRefLogProbs: true } },
  "DPO with a reference model": { reference: "model" },
  "DPO with an adapter as the reference": { reference: "adapter" },
  "DPO in float16 with gradient checkpointing": { args: { fp16: true, gradientCheckpointing: true } },
  KTO: { Trainer: KTOTrainer as never, rows: answers(12) },
  "KTO with the reference computed before, without mismatched answers": {
    ...{ Trainer: KTOTrainer as never, rows: answers(12) },
    args: { precomputeRefLogProbs: true, lossType: "apo_zero_unpaired", desirableWeight: 1.5 },
  },
  ORPO: { Trainer: ORPOTrainer as never },
  SimPO: { Trainer: CPOTrainer as never, args: { lossType: "simpo", cpoAlpha: 0, beta: 2 } },
  "DPO on software, where most positions have a label": {
    labelRowStep: 1,
    rows: pairs(12, { prompt: 2, rejected: () => LENGTH - 3 }),
    replays: true,
  },
  "DPO on software with short answers": { labelRowStep: 1, replays: false },
  "DPO of a prefix": { method: "prefix", rows: pairs(12, { length: LENGTH - 4 }), replays: false },
};

for (const [name, test] of Object.entries(CASES)) {
  const { replays = true } = test;
  Deno.test(`${name}: steps are ${replays ? "replayed as they are" : "not replayed, but"} run, bit for bit`, async () => {
    const [eager, captured] = [await run(test, false), await run(test, true)];
    assertEquals(captured.logs, eager.logs);
    assertEquals(captured.weights, eager.weights);
    assertEquals(eager.replayed, 0);
    assertEquals(captured.replayed > 0, replays, `${captured.replayed} launches replayed`);
  });
}

Deno.test("DPO resumes with recorded steps as without, bit for bit", async () => {
  const results: Pick<Awaited<ReturnType<typeof run>>, "logs" | "weights">[] = [];
  const test = { args: { disableDropout: false, saveSteps: 5, maxSteps: 5 } };
  for (const [first, second] of [[false, false], [true, true], [true, false]]) {
    await inFolder(async (outputDir) => {
      await run(test, first, { outputDir });
      const { logs, weights, replayed } = await run(
        { args: { ...test.args, maxSteps: 20 } },
        second,
        { outputDir, resume: true },
      );
      assert(second === replayed > 0);
      results.push({ logs, weights });
    });
  }
  assertEquals(results[1], results[0]);
  assertEquals(results[2], results[0]);
});
