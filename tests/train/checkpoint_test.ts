import { assert, assertEquals, assertRejects } from "@std/assert";
import { defaultDevice, multiply, Tensor, tidy } from "../../autograd/mod.ts";
import { Module, Parameter } from "../../nn/mod.ts";
import { AdaLoraConfig, getPeftModel, LoraConfig, PeftModel } from "../../peft/mod.ts";
import {
  AdamW,
  type Batch,
  getLastCheckpoint,
  type TrainableModel,
  Trainer,
  type TrainerCallback,
  type TrainingArguments,
} from "../../train/mod.ts";
import { countingData, inFolder, tinyModel } from "./tiny_run.ts";

/** 9 batches an epoch, so that the fifth step of an epoch has one batch; checkpoints within epochs and between. */
const ARGS: Partial<TrainingArguments> = {
  perDeviceTrainBatchSize: 2,
  gradientAccumulationSteps: 2,
  learningRate: 1e-2,
  weightDecay: 0.1,
  lrSchedulerType: "cosine",
  warmupSteps: 2,
  maxSteps: 12,
  loggingSteps: 2,
  saveSteps: 3,
};
const DATA = countingData(18);

/** The base model, or an adapter on it, with dropout everywhere. */
async function build(
  kind: "full" | "lora" | "adalora",
  initialSeed = 3,
): Promise<TrainableModel & Module> {
  const model = await tinyModel(0.2, undefined, initialSeed);
  if (kind === "full") return model;
  if (kind === "adalora") {
    const config = { initR: 4, targetR: 1, tinit: 2, tfinal: 4, totalStep: 11, loraDropout: 0.3 };
    return getPeftModel(model, new AdaLoraConfig(config));
  }
  return getPeftModel(model, new LoraConfig({ r: 4, targetModules: ["c_attn", "c_proj"], loraDropout: 0.3 }));
}

const names = (folder: string) => Array.from(Deno.readDirSync(folder), ({ name }) => name).sort();
const bytesOf = async (folder: string) =>
  Object.fromEntries(
    await Promise.all(
      names(folder).map(async (name) => [name, [...await Deno.readFile(`${folder}/${name}`)]]),
    ),
  );

for (const kind of ["full", "lora", "adalora"] as const) {
  Deno.test(`Trainer resumes a run of ${kind} with dropout within an epoch to the same losses, weights and state, bit for bit`, async () => {
    await inFolder(async (root) => {
      const straight = await build(kind);
      const callbacksOf = (model: TrainableModel): TrainerCallback[] =>
        kind === "adalora" && model instanceof PeftModel
          ? [{ onOptimizerStep: (_args, { globalStep }) => model.updateAndAllocate(globalStep) }]
          : [];
      const first = new Trainer({
        model: straight,
        callbacks: callbacksOf(straight),
        trainDataset: DATA,
        args: { ...ARGS, outputDir: `${root}/a` },
      });
      const whole = await first.train();
      straight.dispose();
      for (const step of [3, 6]) {
        const model = await build(kind, kind === "full" ? 77 : 3); // full weights come from the checkpoint alone
        const outputDir = `${root}/b${step}`;
        const callbacks = callbacksOf(model);
        const trainer = new Trainer({ model, callbacks, trainDataset: DATA, args: { ...ARGS, outputDir } });
        const resumed = await trainer.train({ resumeFromCheckpoint: `${root}/a/checkpoint-${step}` });
        model.dispose();
        assertEquals(trainer.state.logHistory, first.state.logHistory);
        assertEquals(resumed.trainingLoss, whole.trainingLoss);
        const [a, b] = [
          await bytesOf(`${root}/a/checkpoint-12`),
          await bytesOf(`${outputDir}/checkpoint-12`),
        ];
        delete a["training_args.json"]; // outputDir differs, and so does the manifest
        delete b["training_args.json"];
        delete a["manifest.json"];
        delete b["manifest.json"];
        assertEquals(Object.keys(b), Object.keys(a));
        for (const name of Object.keys(a)) assertEquals(b[name], a[name], name);
      }
    });
  });
}

Deno.test("Trainer saves the model's own files, and the weights that those lack", async () => {
  await inFolder(async (root) => {
    const args = { ...ARGS, maxSteps: 1, saveSteps: 1 };
    const common = [
      "manifest.json",
      "optimizer.safetensors",
      "rng_state.json",
      "scheduler.json",
      "trainer_state.json",
      "training_args.json",
    ];
    for (const kind of ["full", "lora", "adalora"] as const) {
      const model = await build(kind);
      const outputDir = `${root}/${kind}`;
      await new Trainer({ model, trainDataset: DATA, args: { ...args, outputDir } }).train();
      model.dispose();
      const own = kind === "full"
        ? ["config.json", "model.safetensors"]
        : ["adapter_config.json", "adapter_model.safetensors", "trainable.safetensors"];
      const found = names(`${outputDir}/checkpoint-1`).filter((name) => name !== "README.md");
      assertEquals(found, [...common, ...own].sort());
    }
    const state = JSON.parse(await Deno.readTextFile(`${root}/full/checkpoint-1/trainer_state.json`));
    assertEquals([state.global_step, state.max_steps, state.train_batch_size], [1, 1, 2]);
    assertEquals(state.num_input_tokens_seen, 4 * 16);
  });
});

Deno.test("Trainer keeps saveTotalLimit checkpoints, saves by epoch, and tells callbacks the folder", async () => {
  await inFolder(async (root) => {
    const model = await tinyModel();
    const saved: string[] = [];
    const args = { ...ARGS, outputDir: root, saveTotalLimit: 2, saveStrategy: "epoch" } as const;
    const onSave = (_: unknown, __: unknown, ___: unknown, { checkpoint }: { checkpoint?: string }) =>
      void saved.push(checkpoint!.slice(root.length + 1));
    await new Trainer({ model, trainDataset: DATA, args, callbacks: [{ onSave }] }).train();
    model.dispose();
    assertEquals(saved, ["checkpoint-5", "checkpoint-10", "checkpoint-12"]);
    assertEquals(names(root), ["checkpoint-10", "checkpoint-12"]);
  });
});

/** One weight, and a file format of its own. */
class Scalar extends Module {
  weight: Parameter;
  constructor(weight: Parameter) {
    super();
    this.weight = weight;
  }
  forward({ inputIds }: Batch): { loss: Tensor } {
    const { device } = this.weight;
    return { loss: tidy(() => multiply(this.weight, Tensor.from([inputIds[0][0]], { device }))) };
  }
}

async function scalarTrainer(
  root: string,
  args: Partial<TrainingArguments> = {},
  examples = 5,
): Promise<Trainer> {
  const model = new Scalar(Parameter.from([1], { device: await defaultDevice() }));
  const trainDataset = Array.from({ length: examples }, (_, i) => ({ inputIds: [i + 1, 0] }));
  return new Trainer({
    model,
    trainDataset,
    args: { perDeviceTrainBatchSize: 1, maxSteps: 4, saveSteps: 1, outputDir: root, ...args },
  });
}

Deno.test("Trainer resumes from the newest whole checkpoint and says which damaged one it passes over", async () => {
  await inFolder(async (root) => {
    await (await scalarTrainer(root)).train();
    assertEquals(names(`${root}/checkpoint-4`).includes("trainable.safetensors"), true);
    const file = `${root}/checkpoint-4/optimizer.safetensors`;
    const bytes = await Deno.readFile(file);
    bytes[bytes.length - 1] ^= 1;
    await Deno.writeFile(file, bytes);
    await Deno.mkdir(`${root}/checkpoint-9`); // of a writer without a manifest
    const warnings: string[] = [];
    const { warn } = console;
    console.warn = (text: string) => void warnings.push(text);
    const steps: number[] = [];
    try {
      const trainer = await scalarTrainer(root, { saveStrategy: "no" });
      trainer.addCallback({ onStepEnd: (_, { globalStep }) => void steps.push(globalStep) });
      await trainer.train({ resumeFromCheckpoint: true });
    } finally {
      console.warn = warn;
    }
    assertEquals(steps, [4]);
    assertEquals(warnings.length, 2);
    assert(warnings[0].includes("checkpoint-9"), warnings[0]);
    assert(warnings[1].includes(`"optimizer.safetensors" has another SHA-256`), warnings[1]);
    await assertRejects(
      async () => (await scalarTrainer(root)).train({ resumeFromCheckpoint: `${root}/checkpoint-4` }),
      Error,
      `Cannot trust folder "${root}/checkpoint-4": "optimizer.safetensors" has another SHA-256 than the manifest`,
    );
  });
});

Deno.test("Trainer refuses to resume with other data, batches or parameters", async () => {
  await inFolder(async (root) => {
    await (await scalarTrainer(root)).train();
    const refused = async (trainer: Trainer, message: string) =>
      await assertRejects(
        () => trainer.train({ resumeFromCheckpoint: `${root}/checkpoint-2` }),
        TypeError,
        `Cannot resume from "${root}/checkpoint-2": ${message}`,
      );
    await refused(await scalarTrainer(root, {}, 6), "examples must be 5 as before, received 6");
    await refused(
      await scalarTrainer(root, { perDeviceTrainBatchSize: 2 }),
      "batchSize must be 1 as before, received 2",
    );
    await refused(await scalarTrainer(root, { seed: 1 }), "seed must be 42 as before, received 1");
    const other = await tinyModel();
    const args = { perDeviceTrainBatchSize: 1, maxSteps: 4, outputDir: root };
    const trainer = new Trainer({ model: other, trainDataset: countingData(5), args });
    await refused(trainer, "0 random states are required, received 1");
    await assertRejects(
      async () => (await scalarTrainer(`${root}/none`)).train({ resumeFromCheckpoint: true }),
      Error,
      `Cannot resume from "${root}/none": at least one whole checkpoint is required, received none`,
    );
    other.dispose();
  });
});

Deno.test("Trainer.saveModel() writes model, tokenizer and settings", async () => {
  await inFolder(async (root) => {
    const model = await tinyModel();
    const savePretrained = (folder: string) => Deno.writeTextFile(`${folder}/tokenizer.json`, "{}");
    const tokenizer = { padTokenId: null, eosTokenId: 0, savePretrained };
    const trainer = new Trainer({ model, tokenizer, args: { outputDir: `${root}/out`, saveStrategy: "no" } });
    await trainer.saveModel();
    assertEquals(names(`${root}/out`), [
      "config.json",
      "model.safetensors",
      "tokenizer.json",
      "training_args.json",
    ]);
    model.dispose();
  });
});

Deno.test("a run that begins anew goes before an earlier run's checkpoints in its folder, whatever their steps", async () => {
  await inFolder(async (root) => {
    const stepsOf = () =>
      names(root).flatMap((name) => /^checkpoint-(\d+)$/.exec(name)?.[1] ?? []).map(Number);
    await (await scalarTrainer(root, { maxSteps: 9, saveSteps: 3 })).train();
    assertEquals(stepsOf(), [3, 6, 9]);
    const fresh = await scalarTrainer(root, { maxSteps: 4, saveSteps: 1, saveTotalLimit: 2 });
    const kept: number[][] = [];
    fresh.addCallback({ onSave: () => void kept.push(stepsOf()) });
    await fresh.train();
    assertEquals(kept, [[1, 9], [1, 2], [2, 3], [3, 4]]);
    await (await scalarTrainer(root, { maxSteps: 2, saveSteps: 1 })).train(); // 3 and 4 stay
    assertEquals(stepsOf(), [1, 2, 3, 4]);
    assertEquals(await getLastCheckpoint(root), `${root}/checkpoint-2`);
    const steps: number[] = [];
    const resumed = await scalarTrainer(root, { maxSteps: 4, saveSteps: 1, saveTotalLimit: 3 });
    resumed.addCallback({ onStepEnd: (_, { globalStep }) => void steps.push(globalStep) });
    await resumed.train({ resumeFromCheckpoint: true });
    assertEquals(steps, [3, 4]);
    assertEquals(stepsOf(), [2, 3, 4]);
  });
});

Deno.test("Trainer refuses the checkpoint of another optimizer before anything changes, and takes one without a name", async () => {
  await inFolder(async (root) => {
    await (await scalarTrainer(root, { saveSteps: 2 })).train();
    for (const [optim, name] of [["lion", "Lion"], ["sgd", "SGD"], ["adafactor", "Adafactor"]] as const) {
      const trainer = await scalarTrainer(root, { optim });
      await assertRejects(
        () => trainer.train({ resumeFromCheckpoint: `${root}/checkpoint-2` }),
        TypeError,
        `Cannot resume from "${root}/checkpoint-2": Cannot load the optimizer's state: the state of ${name} is required, received that of AdamW`,
      );
      assertEquals(await (trainer.model as unknown as Scalar).weight.item(), 1);
    }
    const parameter = Parameter.from([1], { device: await defaultDevice() });
    const adamw = new AdamW([parameter]);
    const { optimizer, ...unnamed } = await adamw.stateDict();
    assertEquals(optimizer, "AdamW");
    adamw.loadStateDict(unnamed);
    await (await scalarTrainer(root, { optim: "adamw_8bit", maxSteps: 5 })).train({
      resumeFromCheckpoint: true,
    });
  });
});
