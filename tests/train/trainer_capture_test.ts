/** The Trainer replays recorded steps where it can, with the numbers of steps that are run. */
import { assert, assertEquals } from "@std/assert";
import { Tensor } from "../../autograd/mod.ts";
import { AdaLoraConfig, getPeftModel, LoraConfig, PromptTuningConfig } from "../../peft/mod.ts";
import {
  MODEL_LOSS,
  type Objective,
  packExamples,
  Trainer,
  type TrainerCallback,
  type TrainingArguments,
} from "../../train/mod.ts";
import { DFT_LOSS } from "../../train/sft/dft_objective.ts";
import { withTokenMeasures } from "../../train/token_measures.ts";
import { changeProfile } from "../reference/profiles.ts";
import { countingData, inFolder, tinyModel, trainedWeightsOf } from "./tiny_run.ts";
import { anotherDevice } from "../reference/another_device.ts";

interface Run {
  args?: Partial<TrainingArguments>;
  dropout?: number;
  adapter?: "lora" | "adalora" | "prompt" | "none";
  data?: ReturnType<typeof countingData>;
  objective?: Objective;
  evaluates?: boolean;
  callbacks?: TrainerCallback[];
  resume?: boolean;
  idleFloorBytes?: number;
  /** Bytes that records may keep beside the latest, as on hardware. */
  keeps?: number;
  /** Rows of the head with a label are filled up to a multiple of this; default 8 where records are kept. */
  labelRowStep?: number;
}

/** Losses, norms and trained weights of a run, and the launches that were replayed. */
async function run(options: Run, captured: boolean) {
  const { args, dropout = 0, adapter = "lora", data = countingData(24), evaluates, callbacks, resume } =
    options;
  const { idleFloorBytes, keeps, labelRowStep = keeps && 8, objective } = options;
  const device = await anotherDevice({ idleFloorBytes });
  if (labelRowStep) changeProfile(device, { recordedBytes: keeps ?? 0, labelRowStep });
  const base = await tinyModel(dropout, device);
  const model = adapter === "none" ? base : getPeftModel(
    base,
    adapter === "adalora"
      ? new AdaLoraConfig({
        initR: 4,
        targetR: 2,
        totalStep: 40,
        tinit: 1,
        tfinal: 4,
        targetModules: ["c_attn"],
      })
      : adapter === "prompt"
      ? new PromptTuningConfig({ numVirtualTokens: 3 })
      : new LoraConfig({ r: 4, loraDropout: dropout, targetModules: ["c_attn"] }),
  );
  if (!captured) Object.defineProperty(model, "isCapturable", { value: false });
  const before = device.stats;
  const trainer = new Trainer({
    model,
    objective,
    trainDataset: data,
    evalDataset: evaluates ? countingData(6) : undefined,
    callbacks,
    args: {
      perDeviceTrainBatchSize: 4,
      learningRate: 1e-2,
      maxSteps: 12,
      loggingSteps: 1,
      reportTo: "none",
      seed: 5,
      ...args,
    },
  });
  await trainer.train({ resumeFromCheckpoint: resume });
  const after = device.stats;
  const { peakBytes } = device.memory;
  const ran = after.bindGroupHits + after.bindGroupMisses - before.bindGroupHits - before.bindGroupMisses;
  const weights = await trainedWeightsOf(model);
  const logs = trainer.state.logHistory.map(
    ({ loss, gradNorm, learningRate, evalLoss, meanTokenAccuracy, entropy }) => ({
      ...{ loss, gradNorm, learningRate, evalLoss, meanTokenAccuracy, entropy },
    }),
  );
  model.dispose();
  return { logs, weights, replayed: after.dispatches - before.dispatches - ran, launches: ran, peakBytes };
}

const padded = () =>
  countingData(24).map(({ inputIds }, i) => ({ inputIds: inputIds.slice(0, i % 3 === 0 ? 10 : 16) }));

const lengths = () =>
  countingData(24).map(({ inputIds }, i) => ({ inputIds: inputIds.slice(0, i < 12 ? 10 : 16) }));

/** Bytes of the ids, labels and losses that records keep: a few buffers of 256. */
const RECORD_INPUTS = 2048;

const CASES: Record<string, Run & { replays: boolean }> = {
  "LoRA with a schedule": { args: { lrSchedulerType: "cosine", warmupSteps: 4 }, replays: true },
  "all weights with dropout": { adapter: "none", dropout: 0.1, replays: true },
  "dropout, accumulation and weight decay": {
    dropout: 0.1,
    args: { gradientAccumulationSteps: 2, perDeviceTrainBatchSize: 2, weightDecay: 0.1 },
    replays: true,
  },
  Lion: { dropout: 0.1, args: { optim: "lion", learningRate: 1e-3, weightDecay: 0.1 }, replays: true },
  "Adafactor and LoRA+": { args: { optim: "adafactor", loraplusLrRatio: 8 }, replays: true },
  "NEFTune with dropout and checkpointing": {
    dropout: 0.1,
    args: { neftuneNoiseAlpha: 5, gradientCheckpointing: true },
    replays: true,
  },
  "SGD without clipping": { args: { optim: "sgd", maxGradNorm: 0 }, replays: true },
  "a last batch of fewer rows": { data: countingData(22), args: { maxSteps: 24 }, replays: true },
  "evaluation between": { evaluates: true, args: { evalStrategy: "steps", evalSteps: 5 }, replays: true },
  "several lengths": { data: lengths(), args: { perDeviceTrainBatchSize: 1, maxSteps: 30 }, replays: true },
  "less memory to keep than a record needs": { idleFloorBytes: 0, replays: false },
  "padded batches": { data: padded(), replays: true },
  "padded batches, tokens weighed by their probability": {
    data: padded(),
    objective: DFT_LOSS,
    keeps: 64 * 2 ** 20,
    args: { maxSteps: 30 },
    replays: true,
  },
  "padded batches of several lengths, accumulation, float16, tokens measured": {
    data: padded(),
    objective: withTokenMeasures(MODEL_LOSS),
    args: { gradientAccumulationSteps: 2, perDeviceTrainBatchSize: 2, maxSteps: 24, fp16: true },
    dropout: 0.1,
    keeps: 64 * 2 ** 20,
    replays: true,
  },
  "packed rows": {
    data: packExamples(
      countingData(60).map(({ inputIds }, i) => ({ inputIds: inputIds.slice(0, 5 + i % 7) })),
      16,
    ),
    args: { maxSteps: 20 },
    replays: true,
  },
  "padded and packed rows where several shapes are kept": {
    data: [...padded(), ...lengths()],
    args: { maxSteps: 30, perDeviceTrainBatchSize: 2 },
    keeps: 64 * 2 ** 20,
    replays: true,
  },
  "labels of a few tokens": {
    data: countingData(24).map(({ inputIds }) => ({
      inputIds,
      labels: inputIds.map((id, t) => t < 9 ? -100 : id),
    })),
    labelRowStep: 1,
    replays: false,
  },
  "labels of a few tokens, their rows filled up as on hardware": {
    data: padded().map(({ inputIds }, i) => ({
      inputIds,
      labels: inputIds.map((id, t) => t < 8 + i % 3 ? -100 : id),
    })),
    dropout: 0.1,
    keeps: 64 * 2 ** 20,
    args: { maxSteps: 20 },
    replays: true,
  },
  "virtual tokens and padded rows": {
    data: padded().map(({ inputIds }) => ({ inputIds: inputIds.slice(0, 13) })),
    adapter: "prompt",
    replays: false,
  },
  AdaLoRA: {
    adapter: "adalora",
    callbacks: [{
      onOptimizerStep: (_args, state, _control, { model }) =>
        (model as unknown as { updateAndAllocate(step: number): Promise<void> }).updateAndAllocate(
          state.globalStep,
        ),
    }],
    replays: false,
  },
  "a callback that freezes and scales on the way": {
    callbacks: [{
      onStepEnd: (_args, { globalStep }, _control, { model }) => {
        const [first] = [...model.namedParameters()].filter(([name]) => name.includes("lora_A"));
        if (globalStep === 4) first[1].requiresGrad = false;
        if (globalStep === 8) first[1].requiresGrad = true;
      },
    }],
    replays: true,
  },
};

for (const [name, { replays, ...options }] of Object.entries(CASES)) {
  Deno.test(`Trainer trains with recorded steps as without, bit for bit: ${name}`, async () => {
    const [eager, captured] = [await run(options, false), await run(options, true)];
    assertEquals(captured.logs, eager.logs);
    assertEquals(captured.weights, eager.weights);
    assertEquals(eager.replayed, 0);
    const allowed = eager.peakBytes + RECORD_INPUTS + (options.keeps ?? 0);
    assert(captured.peakBytes <= allowed, `${captured.peakBytes} bytes for ${eager.peakBytes}`);
    assertEquals(captured.replayed > 0, replays, `${captured.replayed} launches replayed`);
    if (options.objective && options.objective !== DFT_LOSS) {
      assert(captured.logs.every(({ meanTokenAccuracy, entropy }) => meanTokenAccuracy >= 0 && entropy > 0));
    }
    if (name === "LoRA with a schedule") {
      assert(
        captured.replayed > 2 * captured.launches,
        `${captured.replayed} replayed, ${captured.launches} run`,
      );
    }
  });
}

Deno.test("Trainer resumes with recorded steps as without, bit for bit", async () => {
  const results: Pick<Awaited<ReturnType<typeof run>>, "logs" | "weights">[] = [];
  for (const [first, second] of [[false, false], [true, true], [true, false]]) {
    await inFolder(async (outputDir) => {
      // a checkpoint within a logging window
      const args = { outputDir, saveStrategy: "steps" as const, saveSteps: 7, maxSteps: 7, loggingSteps: 2 };
      const objective = withTokenMeasures(MODEL_LOSS);
      await run({ dropout: 0.1, args, objective }, first);
      const { logs, weights } = await run(
        { dropout: 0.1, args: { ...args, maxSteps: 14 }, objective, resume: true },
        second,
      );
      assert(logs.every(({ entropy }) => entropy > 0));
      results.push({ logs, weights });
    });
  }
  assertEquals(results[1], results[0]);
  assertEquals(results[2], results[0]);
});

Deno.test("Trainer does not replay a model whose numbers change from step to step on the host", async () => {
  const device = await anotherDevice();
  const model = await tinyModel(0, device);
  const drop = model.transformer.drop;
  let calls = 0;
  drop.forward = (x: Tensor) => {
    calls++;
    return x;
  };
  const scaled = model.transformer.ln_f;
  const own = scaled.forward.bind(scaled);
  scaled.forward = (x: Tensor) => {
    using factor = Tensor.from([calls], { device });
    assertEquals(factor.size, 1);
    return own(x);
  };
  const before = device.stats;
  const trainer = new Trainer({
    model,
    trainDataset: countingData(24),
    args: { perDeviceTrainBatchSize: 4, maxSteps: 6, reportTo: "none" },
  });
  await trainer.train();
  assertEquals(calls, 6);
  const { dispatches, bindGroupHits, bindGroupMisses } = device.stats;
  const ran = bindGroupHits + bindGroupMisses - before.bindGroupHits - before.bindGroupMisses;
  assertEquals(dispatches - before.dispatches, ran);
  model.dispose();
});
