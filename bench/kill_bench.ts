/**
 * A training that saves at every step, killed (SIGKILL) at random moments while it works and saves, again and again: each
 * time the newest whole checkpoint must load and training go on from it. At the end the weights must be those of a run
 * that nobody killed, bit for bit.
 * Usage: deno run -A bench/kill_bench.ts [kills, default 200]
 * @module
 */
import { initDevice } from "../gpu/mod.ts";
import { GPT2Config, GPT2LMHeadModel } from "../model/mod.ts";
import { getLastCheckpoint, Trainer, type TrainingArguments } from "../train/mod.ts";

/** Steps of the run: more than the kills let it reach. */
const STEPS = 100_000;

function model(device: GPT2LMHeadModel["device"]): GPT2LMHeadModel {
  const config = new GPT2Config({ vocabSize: 64, nPositions: 16, nEmbd: 64, nLayer: 2, nHead: 2 });
  return new GPT2LMHeadModel(config, { device, seed: 1 });
}

const data = Array.from({ length: 40 }, (_, i) => ({
  inputIds: Array.from({ length: 16 }, (_, t) => (i * 7 + t * (1 + i % 3)) % 64),
}));

const args = (outputDir: string, more: Partial<TrainingArguments>): Partial<TrainingArguments> => ({
  ...{ outputDir, perDeviceTrainBatchSize: 4, lrSchedulerType: "constant", learningRate: 1e-3 },
  ...{ loggingSteps: 1, saveSteps: 1, saveTotalLimit: 3, reportTo: "none", maxSteps: STEPS, ...more },
});

/** Trains until it is killed. */
async function worker(folder: string): Promise<void> {
  const device = await initDevice();
  const trainer = new Trainer({
    model: model(device),
    trainDataset: data,
    args: args(folder, {}),
    callbacks: [{ onSave: (_a, { globalStep }) => console.log(globalStep) }],
  });
  await trainer.train({ resumeFromCheckpoint: await getLastCheckpoint(folder) ?? false });
}

/** Starts a worker, lets it save a few times, and kills it. Which step it reached, and what it complained of. */
async function killOne(folder: string, random: () => number): Promise<{ step: number; errors: string }> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", import.meta.filename!, "worker", folder],
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let step = 0;
  const wanted = 1 + Math.floor(random() * 3);
  let saved = 0;
  const decoder = new TextDecoder();
  const errors = new Response(child.stderr).text();
  const reader = child.stdout.getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    for (const line of decoder.decode(value).trim().split("\n")) {
      step = Number(line);
      saved++;
    }
    if (saved >= wanted) {
      await new Promise((resolve) => setTimeout(resolve, random() * 150)); // anywhere in the next step and its save
      child.kill("SIGKILL");
      break;
    }
  }
  await reader.cancel();
  await child.status;
  return { step, errors: (await errors).trim() };
}

if (Deno.args[0] === "worker") {
  await worker(Deno.args[1]);
} else {
  const kills = Number(Deno.args[0] ?? 200);
  const folder = await Deno.makeTempDir();
  let state = 12345;
  const random = () => (state = Math.imul(state, 1664525) + 1013904223 >>> 0) / 2 ** 32;
  let [torn, left, reached] = [0, 0, 0];
  const { warn } = console;
  console.warn = () => {};
  for (let kill = 1; kill <= kills; kill++) {
    const { step, errors } = await killOne(folder, random);
    const halfDone = Array.from(Deno.readDirSync(folder)).filter(({ name }) => name.startsWith(".tmp-"));
    if (halfDone.length > left) torn++; // a later save removes them when they are an hour old
    left = halfDone.length;
    const newest = await getLastCheckpoint(folder);
    const found = Number(newest?.split("-").at(-1));
    if (!(found >= step && found <= step + 1)) {
      throw new Error(
        `kill ${kill}: step ${step} was saved, the newest whole checkpoint is ${newest}; ${errors}`,
      );
    }
    reached = found;
    if (kill % 20 === 0) {
      console.log(`${kill} kills: newest whole checkpoint of step ${found}, ${torn} of them in a save`);
    }
  }
  console.warn = warn;
  const device = await initDevice();
  const weightsAfter = async (outputDir: string, resume: boolean) => {
    const own = model(device);
    const run = new Trainer({
      model: own,
      trainDataset: data,
      args: args(outputDir, { maxSteps: reached + 2, saveStrategy: "no" }),
    });
    await run.train({ resumeFromCheckpoint: resume });
    const values = await Promise.all([...own.parameters()].map((parameter) => parameter.data()));
    own.dispose();
    return values.map((value) => [...value].join()).join("|");
  };
  const same = await weightsAfter(folder, true) === await weightsAfter(`${folder}-whole`, false);
  console.log(
    `${kills} kills, ${torn} of them left a save half done; each time the newest whole checkpoint loaded. After ${
      reached + 2
    } steps the weights are ${
      same ? "those" : "NOT those"
    } of a run that nobody killed (${device.adapterName})`,
  );
  for (const path of [folder, `${folder}-whole`]) {
    await Deno.remove(path, { recursive: true }).catch(() => {});
  }
  if (!same) Deno.exit(1);
}
