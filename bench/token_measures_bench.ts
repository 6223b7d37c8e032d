/**
 * What token accuracy and entropy in the log cost: steps of a LoRA run that measures them against steps of one that does
 * not, in turns, and the losses of both, which must be the same.
 * Usage: deno run -A bench/token_measures_bench.ts [vocabulary, default 1024] [turns, default 6]
 * @module
 */
import { setSeed } from "../autograd/mod.ts";
import { initDevice } from "../gpu/mod.ts";
import { GPT2Config, GPT2LMHeadModel } from "../model/mod.ts";
import { getPeftModel, LoraConfig } from "../peft/mod.ts";
import { MODEL_LOSS, type Objective, Trainer } from "../train/mod.ts";
import { withTokenMeasures } from "../train/token_measures.ts";
import { median } from "./harness.ts";

const [vocabulary = "1024", turns = "6"] = Deno.args;
const vocabSize = Number(vocabulary);
const LENGTH = 128;
/** Steps of a turn; those before the first that is replayed are left out. */
const [STEPS, WARM_UP] = [9, 4];
const device = await initDevice();
const trainDataset = Array.from({ length: 64 }, (_, i) => ({
  inputIds: Array.from({ length: LENGTH }, (_, t) => (i * 7 + t * (1 + i % 3)) % vocabSize),
}));

/** Milliseconds of each step, and the losses. */
async function turn(objective: Objective) {
  setSeed(1);
  const base = new GPT2LMHeadModel(
    new GPT2Config({
      ...{ vocabSize, nPositions: LENGTH, nEmbd: 128, nLayer: 4, nHead: 4 },
      ...{ residPdrop: 0, embdPdrop: 0, attnPdrop: 0 },
    }),
    { device, seed: 1 },
  );
  const model = getPeftModel(base, new LoraConfig({ r: 8, targetModules: "all-linear" }));
  const times: number[] = [];
  let begin = performance.now();
  const trainer = new Trainer({
    ...{ model, trainDataset, objective },
    args: { perDeviceTrainBatchSize: 4, maxSteps: STEPS, loggingSteps: 1, reportTo: "none" },
    callbacks: [{
      onLog: () => {
        times.push(performance.now() - begin);
        begin = performance.now();
      },
    }],
  });
  await trainer.train();
  model.dispose();
  return { times: times.slice(WARM_UP), losses: trainer.state.logHistory.map(({ loss }) => loss) };
}

const all: Record<"without" | "with", number[]> = { without: [], with: [] };
for (let i = 0; i < Number(turns); i++) {
  const kinds = [MODEL_LOSS, withTokenMeasures(MODEL_LOSS)];
  if (i % 2 === 1) kinds.reverse(); // neither always comes first
  const found = [await turn(kinds[0]), await turn(kinds[1])];
  const [plain, measured] = i % 2 === 1 ? found.toReversed() : found;
  if (`${plain.losses}` !== `${measured.losses}`) throw new Error("Cannot compare: losses differ");
  all.without.push(...plain.times);
  all.with.push(...measured.times);
}
const [without, measured] = [median(all.without), median(all.with)];
console.log(
  `vocabulary of ${vocabSize}, 4 x ${LENGTH}: step ${without.toFixed(1)} ms without, ${
    measured.toFixed(1)
  } ms with token measures, ${(100 * (measured / without - 1)).toFixed(2)}% (${device.adapterName})`,
);
