/**
 * Runs of a training that is killed and resumed, compared bit by bit with the run that was not: what `resume_matrix.ts`
 * does for every step of every option, and a test for a few of them.
 * @module
 */
import type { Device } from "../gpu/mod.ts";
import { AutoModelForCausalLM, type CausalLM, GPT2Config, GPT2LMHeadModel } from "../model/mod.ts";
import { LlamaConfig, LlamaForCausalLM } from "../model/llama/mod.ts";
import { AdaLoraConfig, getPeftModel, LoraConfig, type PeftConfig, VeraConfig } from "../peft/mod.ts";
import {
  type Dataset,
  type DPOConfig,
  DPOTrainer,
  EarlyStoppingCallback,
  type Example,
  KTOTrainer,
  ORPOTrainer,
  packExamples,
  SampleCallback,
  type SFTConfig,
  SFTTrainer,
  Trainer,
  type TrainerCallback,
  type TrainingArguments,
} from "../train/mod.ts";

const VOCABULARY = 40;
const LENGTH = 16;

/** The part of a model that a comparison reads. */
interface Trained {
  namedParameters(): Iterable<[string, { requiresGrad: boolean; data(): Promise<ArrayLike<number>> }]>;
  dispose(): void;
}

/** One run that is killed and resumed. */
export interface ResumeCase {
  /** The model, with the same weights at each call. */
  readonly model: (device: Device, folder: string) => Promise<CausalLM> | CausalLM;
  /** Its adapter; default none: all weights train. */
  readonly adapter?: () => PeftConfig;
  readonly args?: Partial<TrainingArguments>;
  readonly data?: () => Dataset;
  readonly callbacks?: () => TrainerCallback[];
  /** Whether resumed runs save at every step too, as what is saved decides more than files. Default false. */
  readonly savesAll?: boolean;
  /** Another trainer than `Trainer`. */
  readonly trainer?: (options: ConstructorParameters<typeof Trainer>[0]) => Trainer;
}

/** Rows that count up, of lengths from `shortest` on. */
function rows(count: number, shortest = LENGTH): Example[] {
  return Array.from({ length: count }, (_, i) => {
    const random = (i + 1) * 48271 % 2147483647;
    const [start, step] = [random % VOCABULARY, 1 + Math.floor(random / VOCABULARY) % 3];
    const length = shortest + random % (LENGTH - shortest + 1);
    return { inputIds: Array.from({ length }, (_, t) => (start + t * step) % VOCABULARY) };
  });
}

const gpt2 = (dropout = 0) => (device: Device) =>
  new GPT2LMHeadModel(
    new GPT2Config({
      ...{
        vocabSize: VOCABULARY,
        nPositions: LENGTH,
        nEmbd: 32,
        nLayer: 2,
        nHead: 2,
        bosTokenId: 0,
        eosTokenId: 0,
      },
      ...{ residPdrop: dropout, embdPdrop: dropout, attnPdrop: dropout },
    }),
    { device, seed: 3 },
  );

const llama = (device: Device) =>
  new LlamaForCausalLM(
    new LlamaConfig("llama", {
      ...{ vocabSize: VOCABULARY, hiddenSize: 64, intermediateSize: 64, numHiddenLayers: 2 },
      ...{ numAttentionHeads: 2, numKeyValueHeads: 1 },
    }),
    { device, seed: 3 },
  );

/** A Llama whose frozen weights are stored in few bits: written once, and loaded. */
const quantized = (quantization: "nf4" | "int8") => async (device: Device, folder: string) => {
  const path = `${folder}/base`;
  if (!await Deno.stat(path).catch(() => null)) {
    await Deno.mkdir(path);
    const model = llama(device);
    await model.savePretrained(path);
    model.dispose();
  }
  return await AutoModelForCausalLM.fromPretrained<CausalLM>(path, { device, quantization });
};

const lora = (options: ConstructorParameters<typeof LoraConfig>[0] = {}) => () =>
  new LoraConfig({ r: 4, targetModules: "all-linear", ...options });

/** Numbers as text, for a model whose tokens are numbers. */
const numbers = {
  encode: (text: string) => text.split(" ").map(Number),
  decode: (ids: readonly number[]) => ids.join(" "),
  padTokenId: 0,
  eosTokenId: 0,
};

const allocate: TrainerCallback = {
  onOptimizerStep: (_args, { globalStep }, _control, { model }) =>
    (model as unknown as { updateAndAllocate(step: number): Promise<void> }).updateAndAllocate(globalStep),
};

/** Pairs of answers that share a prompt. */
const pairs = () =>
  rows(30).map(({ inputIds }, i) => ({
    prompt_ids: inputIds.slice(0, 5),
    chosen_ids: inputIds.slice(5, 9 + i % 6),
    rejected_ids: inputIds.slice(4, 8 + i % 5).toReversed(),
  }));

/** A trainer of preferences in place of the plain one. */
const preferences =
  (kind: "dpo" | "orpo" | "kto", own: object = {}): ResumeCase["trainer"] => ({ model, args, callbacks }) => {
    const data = kind === "kto"
      ? pairs().map(({ prompt_ids, chosen_ids, rejected_ids }, i) => ({
        ...{ prompt_ids, completion_ids: i % 2 ? chosen_ids : rejected_ids, label: i % 2 === 1 },
      }))
      : pairs();
    const Kind = { dpo: DPOTrainer, orpo: ORPOTrainer, kto: KTOTrainer }[kind] as typeof DPOTrainer;
    return new Kind({
      ...{ model: model as never, callbacks, trainDataset: data as never },
      args: { ...args, gradientCheckpointing: false, ...own } as Partial<DPOConfig>,
    });
  };

/** Every option of a run, each in a case of its own. */
export const CASES: Readonly<Record<string, ResumeCase>> = {
  "AdamW, all weights, dropout": { model: gpt2(0.1) },
  "8-bit AdamW": { model: gpt2(), args: { optim: "adamw_8bit" } },
  "Lion": { model: gpt2(), args: { optim: "lion", learningRate: 1e-3, weightDecay: 0.1 } },
  "Adafactor": { model: gpt2(0.1), args: { optim: "adafactor" } },
  "SGD with Nesterov's momentum": {
    model: gpt2(),
    args: { optim: "sgd", optimArgs: "momentum=0.9, nesterov=true", learningRate: 0.1 },
  },
  "cosine with warmup": { model: gpt2(), args: { lrSchedulerType: "cosine", warmupSteps: 6 } },
  "cosine with restarts": {
    model: gpt2(),
    args: { lrSchedulerType: "cosine_with_restarts", lrSchedulerKwargs: { numCycles: 3 } },
  },
  "inverse square root": { model: gpt2(), args: { lrSchedulerType: "inverse_sqrt", warmupSteps: 5 } },
  "warmup, stable, decay": {
    model: gpt2(),
    args: {
      lrSchedulerType: "warmup_stable_decay",
      warmupSteps: 4,
      lrSchedulerKwargs: { numDecaySteps: 12 },
    },
  },
  "accumulation, windows that epochs cut": {
    model: gpt2(0.1),
    args: { gradientAccumulationSteps: 3, perDeviceTrainBatchSize: 3 },
  },
  "gradient checkpointing with dropout": { model: gpt2(0.1), args: { gradientCheckpointing: true } },
  "activations as float16": { model: gpt2(0.1), args: { fp16: true } },
  "NEFTune, LoRA with dropout": {
    model: llama,
    adapter: lora({ loraDropout: 0.1 }),
    args: { neftuneNoiseAlpha: 5 },
  },
  "packed rows": { model: llama, adapter: lora(), data: () => packExamples(rows(90, 4), LENGTH) },
  "padded rows, grouped by length": {
    model: gpt2(0.1),
    data: () => rows(50, 4),
    args: { trainSamplingStrategy: "group_by_length" },
  },
  "SFTTrainer, packing, completions": {
    model: gpt2(0.1),
    trainer: ({ model, args, callbacks }) => {
      const trainDataset = rows(60, 9).map(({ inputIds }) => ({
        input_ids: inputIds,
        labels: inputIds.map((id, t) => t < 3 ? -100 : id),
      }));
      return new SFTTrainer({
        ...{ model, callbacks, trainDataset, processingClass: numbers as never },
        args: { ...args as Partial<SFTConfig>, packing: true, maxLength: LENGTH },
      });
    },
  },
  "DPO": { model: gpt2(), adapter: lora(), trainer: preferences("dpo") },
  "DPO, reference computed before": {
    model: gpt2(),
    adapter: lora(),
    trainer: preferences("dpo", { precomputeRefLogProbs: true }),
  },
  "ORPO": { model: gpt2(), adapter: lora(), trainer: preferences("orpo") },
  "KTO": { model: gpt2(), adapter: lora(), trainer: preferences("kto") },
  "NF4 base, LoRA": { model: quantized("nf4"), adapter: lora({ loraDropout: 0.1 }) },
  "int8 base, LoRA": { model: quantized("int8"), adapter: lora() },
  "AdaLoRA": {
    model: gpt2(),
    adapter: () =>
      new AdaLoraConfig({
        ...{
          initR: 4,
          targetR: 2,
          totalStep: 40,
          tinit: 4,
          tfinal: 8,
          deltaT: 2,
          targetModules: ["c_attn", "c_fc"],
        },
      }),
    callbacks: () => [allocate],
  },
  "DoRA with dropout": { model: llama, adapter: lora({ useDora: true, loraDropout: 0.1 }) },
  "LoftQ": { model: llama, adapter: lora({ initLoraWeights: "loftq", loraDropout: 0.1 }) },
  "VeRA": { model: llama, adapter: () => new VeraConfig({ r: 8, targetModules: ["q_proj", "v_proj"] }) },
  "LoRA+, 8-bit AdamW": {
    model: llama,
    adapter: lora({ r: 64 }),
    args: { loraplusLrRatio: 8, optim: "adamw_8bit", learningRate: 1e-3 },
  },
  "best model, early stopping": {
    model: gpt2(0.1),
    args: {
      ...{ evalStrategy: "steps", evalSteps: 1, loadBestModelAtEnd: true, learningRate: 0.05 },
      lrSchedulerType: "constant",
    },
    callbacks: () => [new EarlyStoppingCallback({ earlyStoppingPatience: 4 })],
    savesAll: true,
  },
  "samples, evaluation, loss watchdog": {
    model: gpt2(0.1),
    args: { evalStrategy: "steps", evalSteps: 7, lossWatchdogThreshold: 100 },
    callbacks: () => [
      new SampleCallback({
        ...{ prompts: ["1 2 3"], tokenizer: numbers, everySteps: 5 },
        generation: { maxNewTokens: 4, eosTokenId: null },
      }),
    ],
  },
};

/** A run, its last checkpoint and what it trained. */
interface Finished {
  readonly lastStep: number;
  readonly weights: ReadonlyMap<string, ArrayLike<number>>;
}

async function runCase(
  given: ResumeCase,
  device: Device,
  base: string,
  args: Partial<TrainingArguments>,
  resumeFromCheckpoint: string | false,
): Promise<Finished> {
  const bare = await given.model(device, base);
  const model = given.adapter ? getPeftModel(bare, given.adapter()) : bare;
  const options = {
    ...{ model, trainDataset: given.data?.() ?? rows(26), callbacks: given.callbacks?.() ?? [] },
    evalDataset: rows(6),
    args: {
      ...{
        perDeviceTrainBatchSize: 4,
        learningRate: 1e-2,
        loggingSteps: 3,
        reportTo: "none" as const,
        seed: 11,
      },
      ...given.args,
      ...args,
    },
  };
  const trainer = given.trainer?.(options) ?? new Trainer(options);
  try {
    const { globalStep: lastStep } = await trainer.train({ resumeFromCheckpoint });
    const trained = [...(model as Trained).namedParameters()].filter(([, { requiresGrad }]) => requiresGrad);
    const values = await Promise.all(
      trained.map(async ([name, parameter]) => [name, await parameter.data()] as const),
    );
    return { lastStep, weights: new Map(values) };
  } finally {
    (model as Trained).dispose();
  }
}

/** Settings and times are no part of what is compared, nor are the folders that checkpoints lie in. */
function comparable(name: string, bytes: Uint8Array): string | Uint8Array {
  if (!name.endsWith(".json")) return bytes;
  const drop = (key: string, value: unknown) =>
    key === "eval_runtime" || key === "save_steps"
      ? undefined
      : key === "best_model_checkpoint" && typeof value === "string"
      ? value.split("/").at(-1)
      : value;
  return JSON.stringify(JSON.parse(new TextDecoder().decode(bytes), drop));
}

/** Fails where two checkpoints differ in a bit of weights, moments, random states, schedule, logs or place in the data. */
async function compareFolders(label: string, expected: string, received: string): Promise<number> {
  const names = (folder: string) =>
    Array.from(Deno.readDirSync(folder), ({ name }) => name)
      .filter((name) => !["manifest.json", "training_args.json"].includes(name)).sort();
  const files = names(expected);
  if (names(received).join() !== files.join()) throw new Error(`${label}: other files, ${names(received)}`);
  let total = 0;
  for (const name of files) {
    const [a, b] = await Promise.all(
      [expected, received].map((folder) => Deno.readFile(`${folder}/${name}`)),
    );
    const [left, right] = [comparable(name, a), comparable(name, b)];
    const same = typeof left === "string" || typeof right === "string"
      ? left === right
      : left.length === right.length && left.every((byte, i) => byte === right[i]);
    if (!same) throw new Error(`${label}: ${name} differs`);
    total += a.length;
  }
  return total;
}

/** What was compared. */
export interface ResumeResult {
  /** Kill points. */
  readonly points: number;
  /** Bytes of checkpoint compared at each. */
  readonly bytes: number;
}

/**
 * Runs a case of `steps` steps once, saving at every step, and again from each of `points` (default every step) to the
 * end, with a model made anew; the last checkpoints and the weights must be the same to the bit.
 * @throws {Error} naming the kill point and the file that differs
 */
export async function checkResumption(
  name: string,
  given: ResumeCase,
  { device, steps, points }: { device: Device; steps: number; points?: readonly number[] },
): Promise<ResumeResult> {
  const folder = await Deno.makeTempDir();
  try {
    const whole = `${folder}/whole`;
    const common = { maxSteps: steps, saveStrategy: "steps" as const };
    const expected = await runCase(
      given,
      device,
      folder,
      { ...common, outputDir: whole, saveSteps: 1 },
      false,
    );
    const { lastStep } = expected;
    let bytes = 0;
    const all = points ?? Array.from({ length: lastStep - 1 }, (_, i) => i + 1);
    for (const point of all) {
      const label = `${name}, killed after step ${point} of ${lastStep}`;
      const outputDir = `${folder}/resumed`;
      const saveSteps = given.savesAll ? 1 : lastStep;
      const from = `${whole}/checkpoint-${point}`;
      const { lastStep: last, weights } = await runCase(given, device, folder, {
        ...common,
        outputDir,
        saveSteps,
      }, from);
      if (last !== lastStep) throw new Error(`${label}: ended at ${last}`);
      bytes = await compareFolders(
        label,
        `${whole}/checkpoint-${lastStep}`,
        `${outputDir}/checkpoint-${lastStep}`,
      );
      for (const [key, values] of expected.weights) {
        const other = weights.get(key);
        if (!other || Array.from(values).some((value, i) => !Object.is(value, other[i]))) {
          throw new Error(`${label}: the weights "${key}" differ`);
        }
      }
      await Deno.remove(outputDir, { recursive: true });
    }
    return { points: all.length, bytes };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
