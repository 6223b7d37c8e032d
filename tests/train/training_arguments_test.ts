import { assertEquals, assertThrows } from "@std/assert";
import { TrainingArguments } from "../../train/mod.ts";

Deno.test("TrainingArguments has Hugging Face's defaults and names, and checks values", () => {
  const args = new TrainingArguments({ outputDir: "out" });
  const json = args.toJSON();
  // dataclasses.fields(transformers.TrainingArguments) of transformers 5.23.0
  const expected = {
    per_device_train_batch_size: 8,
    num_train_epochs: 3,
    max_steps: -1,
    learning_rate: 5e-5,
    lr_scheduler_type: "linear",
    warmup_steps: 0,
    weight_decay: 0,
    adam_beta1: 0.9,
    adam_beta2: 0.999,
    adam_epsilon: 1e-8,
    gradient_accumulation_steps: 1,
    max_grad_norm: 1,
    logging_strategy: "steps",
    logging_steps: 500,
    logging_first_step: false,
    eval_strategy: "no",
    eval_steps: null,
    per_device_eval_batch_size: 8,
    save_strategy: "steps",
    save_steps: 500,
    save_total_limit: null,
    seed: 42,
    dataloader_drop_last: false,
  };
  for (const [name, value] of Object.entries(expected)) assertEquals(json[name], value, name);
  assertEquals(new TrainingArguments().saveStrategy, "no");
  assertEquals(new TrainingArguments({ warmupRatio: 0.1 }).getWarmupSteps(101), 11);
  assertEquals(new TrainingArguments({ warmupRatio: 0.1, warmupSteps: 3 }).getWarmupSteps(101), 3);
  const bad: [Record<string, unknown>, string][] = [
    [{ perDeviceTrainBatchSize: 0 }, "perDeviceTrainBatchSize must be an integer of at least 1, received 0"],
    [{ learningRate: -1 }, "learningRate must be a number of at least 0, received -1"],
    [{ adamBeta1: 1.5 }, "adamBeta1 must be a number from 0 to 1, received 1.5"],
    [{ evalStrategy: "always" }, `evalStrategy must be "no", "steps" or "epoch", received "always"`],
    [{ saveStrategy: "epoch" }, `outputDir must be a folder when saveStrategy is "epoch", received null`],
    [
      { lrSchedulerType: "step" },
      `lrSchedulerType must be "linear", "cosine", "cosine_with_restarts", "cosine_with_min_lr", "polynomial", "inverse_sqrt", "warmup_stable_decay", "constant" or "constant_with_warmup", received "step"`,
    ],
    [{ learning_rate: 1 }, `unknown option "learning_rate", did you mean "learningRate"?`],
    [{ speed: 1 }, `unknown option "speed", did you mean "seed"?`],
  ];
  for (const [options, message] of bad) {
    assertThrows(() => new TrainingArguments(options as Partial<TrainingArguments>), Error, message);
  }
});
