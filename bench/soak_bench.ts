/**
 * A long training: bytes on the device and memory of the process must not grow. Logs, evaluates and saves on the way.
 * Usage: deno run -A bench/soak_bench.ts [steps, default 2000]
 * @module
 */
import { initDevice } from "../gpu/mod.ts";
import { GPT2Config, GPT2LMHeadModel } from "../model/mod.ts";
import { getPeftModel, LoraConfig } from "../peft/mod.ts";
import { Trainer } from "../train/mod.ts";

const steps = Number(Deno.args[0] ?? 2000);
const device = await initDevice();
const config = new GPT2Config({ vocabSize: 256, nPositions: 32, nEmbd: 64, nLayer: 2, nHead: 2 });
const model = getPeftModel(
  new GPT2LMHeadModel(config, { device, seed: 1 }),
  new LoraConfig({ r: 8, targetModules: "all-linear", loraDropout: 0.1 }),
);
// Whole rows and padded ones: steps that are recorded, and steps that are not.
const data = Array.from({ length: 64 }, (_, i) => ({
  inputIds: Array.from({ length: i % 4 === 0 ? 20 + i % 12 : 32 }, (_, t) => (i * 7 + t * (1 + i % 3)) % 256),
}));
const folder = await Deno.makeTempDir();
const rows: { step: number; live: number; peak: number; rss: number; heap: number }[] = [];
const trainer = new Trainer({
  model,
  trainDataset: data,
  evalDataset: data.slice(0, 8),
  args: {
    ...{
      outputDir: folder,
      perDeviceTrainBatchSize: 4,
      maxSteps: steps,
      learningRate: 1e-3,
      reportTo: "none",
    },
    ...{ loggingSteps: 10, saveSteps: 100, saveTotalLimit: 2, evalStrategy: "steps", evalSteps: 100 },
  },
  callbacks: [{
    onStepEnd: async (_args, { globalStep: step }) => {
      if (step % 100 !== 0) return;
      await device.sync();
      (globalThis as { gc?: () => void }).gc?.();
      const { liveBytes: live, peakBytes: peak } = device.memory;
      const { rss, heapUsed: heap } = Deno.memoryUsage();
      rows.push({ step, live, peak, rss, heap });
      if (step % 500 === 0) console.log(step, live, peak, (rss / 1e6).toFixed(1), (heap / 1e6).toFixed(1));
    },
  }],
});
await trainer.train();
await Deno.remove(folder, { recursive: true });
const half = rows.filter(({ step }) => step >= steps / 2);
const spread = (key: "live" | "peak" | "rss" | "heap") => {
  const [first, last] = [half[0][key], half.at(-1)![key]];
  return `${first} to ${last} (${(100 * (last / first - 1)).toFixed(2)}%)`;
};
console.log(`from step ${half[0].step} to ${half.at(-1)!.step}, ${device.adapterName}`);
console.log(`device bytes live ${spread("live")}, peak ${spread("peak")}`);
console.log(`process ${spread("rss")}, JavaScript heap ${spread("heap")}`);
model.dispose();
