/**
 * What a training step costs on the host beside the device: JavaScript and WebGPU calls of data, step, schedule and
 * callbacks, against the time of the whole step.
 * Usage: deno run -A bench/loop_host_bench.ts [tiny|small] [steps, default 40] [whole|padded|dpo|short-dpo, default all]
 * @module
 */
import { initDevice } from "../gpu/mod.ts";
import { GPT2Config, GPT2LMHeadModel } from "../model/mod.ts";
import { getPeftModel, LoraConfig } from "../peft/mod.ts";
import { DPOTrainer, Trainer } from "../train/mod.ts";
import { TrainingRun } from "../train/training_run.ts";
import { median } from "./harness.ts";

const [size = "tiny", count = "40", only] = Deno.args;
const steps = Number(count);
/** Steps that are left out: the first compile kernels, the next are recorded. */
const WARM_UP = Math.min(5, steps - 3);
const LENGTH = 128;
/** Rows of a batch: fewer of the large model, whose step takes long on software. */
const BATCH = size === "small" ? 1 : 4;
const ROWS = 64;
const device = await initDevice();
// The demo's model, or GPT-2 small.
const config = size === "small"
  ? new GPT2Config({ residPdrop: 0, embdPdrop: 0, attnPdrop: 0 })
  : new GPT2Config({
    ...{ vocabSize: 1024, nPositions: LENGTH, nEmbd: 128, nLayer: 4, nHead: 4 },
    ...{ residPdrop: 0, embdPdrop: 0, attnPdrop: 0 },
  });
const model = getPeftModel(
  new GPT2LMHeadModel(config, { device, seed: 1 }),
  new LoraConfig({ r: 8, targetModules: "all-linear" }),
);

const ids = (i: number, length: number) =>
  Array.from({ length }, (_, t) => (i * 7 + t * (1 + i % 3)) % config.vocabSize);
const texts = (shorter: number) =>
  Array.from({ length: ROWS }, (_, i) => ({ inputIds: ids(i, i % 2 === 0 ? LENGTH : LENGTH - shorter) }));
/** Pairs with answers of `answer` tokens, the worse one 8 tokens shorter. */
const pairs = (answer: number) =>
  Array.from({ length: ROWS }, (_, i) => ({
    promptIds: ids(i, LENGTH - answer),
    chosenIds: ids(i + 100, answer),
    rejectedIds: ids(i + 200, answer - 8),
  }));
const ARGS = { maxSteps: steps, loggingSteps: 1, reportTo: "none", learningRate: 1e-4 } as const;

type Callbacks = NonNullable<ConstructorParameters<typeof Trainer>[0]["callbacks"]>;
const text = (shorter: number) => (callbacks: Callbacks) =>
  new Trainer({
    ...{ model, trainDataset: texts(shorter), callbacks },
    args: { ...ARGS, perDeviceTrainBatchSize: BATCH },
  });
const dpo = (answer: number) => (callbacks: Callbacks) =>
  new DPOTrainer({
    ...{ model: model as never, trainDataset: pairs(answer), callbacks },
    args: { ...ARGS, perDeviceTrainBatchSize: 2, gradientCheckpointing: false },
  });
const KINDS: Record<string, [name: string, make: (callbacks: Callbacks) => Trainer]> = {
  whole: [`whole rows, ${BATCH} x ${LENGTH}`, text(0)],
  padded: [`padded rows, ${BATCH} x ${LENGTH}`, text(8)],
  dpo: [`DPO, 2 pairs of ${LENGTH} tokens, answers of 112`, dpo(112)],
  "short-dpo": [`DPO, 2 pairs of ${LENGTH} tokens, answers of 32`, dpo(32)],
};

const own = TrainingRun.prototype.readLosses;
for (const [kind, [name, make]] of Object.entries(KINDS)) {
  if (only && only !== kind) continue;
  const host: number[] = [];
  const waits: number[] = [];
  let waited = 0;
  TrainingRun.prototype.readLosses = async function () {
    const begin = performance.now();
    try {
      return await own.call(this);
    } finally {
      waited += performance.now() - begin;
    }
  };
  let begin = 0;
  const trainer = make([{
    onLog: () => {
      const now = performance.now();
      host.push(now - begin - waited);
      waits.push(waited);
      begin = now;
      waited = 0;
    },
  }]);
  begin = performance.now();
  await trainer.train();
  TrainingRun.prototype.readLosses = own;
  const [h, w] = [median(host.slice(WARM_UP)), median(waits.slice(WARM_UP))];
  console.log(
    `${size}, ${name}: step ${(h + w).toFixed(1)} ms, host ${h.toFixed(2)} ms, ${
      (100 * h / (h + w)).toFixed(2)
    }% (${device.adapterName})`,
  );
}
model.dispose();
