/**
 * What a training step costs on the host beside the device: JavaScript and WebGPU calls of data, step, schedule and
 * callbacks, against the time of the whole step. Whole rows (steps that are replayed) and padded ones.
 * Usage: deno run -A bench/loop_host_bench.ts [tiny|small] [steps, default 40]
 * @module
 */
import { initDevice } from "../gpu/mod.ts";
import { GPT2Config, GPT2LMHeadModel } from "../model/mod.ts";
import { getPeftModel, LoraConfig } from "../peft/mod.ts";
import { Trainer } from "../train/mod.ts";
import { TrainingRun } from "../train/training_run.ts";
import { median } from "./harness.ts";

const [size = "tiny", count = "40"] = Deno.args;
const steps = Number(count);
const device = await initDevice();
// The demo's model, or GPT-2 small.
const config = size === "small"
  ? new GPT2Config({ residPdrop: 0, embdPdrop: 0, attnPdrop: 0 })
  : new GPT2Config({
    ...{ vocabSize: 1024, nPositions: 128, nEmbd: 128, nLayer: 4, nHead: 4 },
    ...{ residPdrop: 0, embdPdrop: 0, attnPdrop: 0 },
  });
const model = getPeftModel(
  new GPT2LMHeadModel(config, { device, seed: 1 }),
  new LoraConfig({ r: 8, targetModules: "all-linear" }),
);
const length = 128;
for (const kind of ["whole rows", "padded rows"]) {
  const data = Array.from({ length: 64 }, (_, i) => ({
    inputIds: Array.from(
      { length: kind === "whole rows" || i % 2 === 0 ? length : length - 8 },
      (_, t) => (i * 7 + t * (1 + i % 3)) % config.vocabSize,
    ),
  }));
  const host: number[] = [];
  const waits: number[] = [];
  const own = { step: TrainingRun.prototype.step, readLosses: TrainingRun.prototype.readLosses };
  let waited = 0;
  TrainingRun.prototype.readLosses = async function () {
    const begin = performance.now();
    try {
      return await own.readLosses.call(this);
    } finally {
      waited += performance.now() - begin;
    }
  };
  let begin = 0;
  const trainer = new Trainer({
    model,
    trainDataset: data,
    args: {
      perDeviceTrainBatchSize: 4,
      maxSteps: steps,
      loggingSteps: 1,
      reportTo: "none",
      learningRate: 1e-4,
    },
    callbacks: [{
      onLog: () => {
        const now = performance.now();
        host.push(now - begin - waited);
        waits.push(waited);
        begin = now;
        waited = 0;
      },
    }],
  });
  begin = performance.now();
  await trainer.train();
  TrainingRun.prototype.readLosses = own.readLosses;
  const [h, w] = [median(host.slice(5)), median(waits.slice(5))];
  console.log(
    `${size}, ${kind}, 4 x ${length}: step ${(h + w).toFixed(1)} ms, host ${h.toFixed(2)} ms, ${
      (100 * h / (h + w)).toFixed(2)
    }% (${device.adapterName})`,
  );
}
model.dispose();
