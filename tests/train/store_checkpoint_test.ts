/**
 * Checkpoints in a store, as a page keeps them, against those in a folder on disk.
 * @module
 */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { FolderStore } from "../../io/folder_store.ts";
import { handleStore } from "../../io/handle_store.ts";
import { readAll } from "../../io/open_file.ts";
import { getPeftModel, LoraConfig } from "../../peft/mod.ts";
import {
  getLastCheckpoint,
  resilientTrain,
  RunLog,
  TensorBoardLog,
  Trainer,
  type TrainerCallback,
  TrainingArguments,
} from "../../train/mod.ts";
import { DeviceLostError } from "../../gpu/mod.ts";
import { FakeDirectory } from "../io/fake_handles.ts";
import { countingData, inFolder, tinyModel } from "./tiny_run.ts";

const ARGS = {
  perDeviceTrainBatchSize: 2,
  learningRate: 1e-2,
  maxSteps: 6,
  loggingSteps: 1,
  saveSteps: 2,
  saveTotalLimit: 2,
  reportTo: "none",
} as const;
const DATA = countingData(10);

const adapted = async () => {
  const config = new LoraConfig({ r: 4, targetModules: ["c_attn"], loraDropout: 0.3 });
  return getPeftModel(await tinyModel(0.2), config);
};

async function trainerFor(outputDir: FolderStore | string, callbacks: TrainerCallback[] = []) {
  return new Trainer({ model: await adapted(), args: { ...ARGS, outputDir }, trainDataset: DATA, callbacks });
}

const filesOf = async (store: FolderStore, checkpoint: string) => {
  const folder = store.folder(checkpoint);
  const files: Record<string, string> = {};
  for (const name of await folder.list()) {
    if (name === "training_args.json" || name === "manifest.json") continue; // outputDir differs
    files[name] = new TextDecoder("latin1").decode(await readAll((await folder.open(name))!));
  }
  return files;
};

Deno.test("Trainer writes the checkpoints to a store that it writes to disk, byte for byte, and resumes from them", async () => {
  await inFolder(async (disk) => {
    const store = handleStore(new FakeDirectory(), "opfs");
    await (await trainerFor(disk)).train();
    const whole = await trainerFor(store);
    const { checkpoint } = await whole.train();
    assertEquals([checkpoint, await store.folders()], [null, ["checkpoint-4", "checkpoint-6"]]);
    const last = await filesOf(store, "checkpoint-6");
    for (const [name, bytes] of Object.entries(last)) {
      const own = await Deno.readFile(`${disk}/checkpoint-6/${name}`);
      assertEquals(bytes, new TextDecoder("latin1").decode(own), name);
    }
    assert("adapter_model.safetensors" in last);
    assertEquals(
      JSON.parse(
        new TextDecoder().decode(await readAll((await store.open("checkpoint-6/training_args.json"))!)),
      ).output_dir,
      "opfs",
    );

    const again = handleStore(new FakeDirectory(), "opfs 2");
    for (const name of await store.folder("checkpoint-4").list()) {
      await again.write(
        `checkpoint-4/${name}`,
        await readAll((await store.open(`checkpoint-4/${name}`))!),
      );
    }
    const resumed = await trainerFor(again);
    await resumed.train({ resumeFromCheckpoint: true });
    assertEquals(resumed.state.logHistory, whole.state.logHistory);
    assertEquals(await filesOf(again, "checkpoint-6"), last);
  });
});

Deno.test("A damaged checkpoint of a store is passed over, and one that cannot be written leaves those before it", async () => {
  const root = new FakeDirectory();
  const store = handleStore(root, "opfs");
  await (await trainerFor(store)).train();
  assertEquals(await getLastCheckpoint(store), "checkpoint-6");
  await store.write("checkpoint-6/scheduler.json", "{}");
  const { warn } = console;
  console.warn = () => {};
  try {
    assertEquals(await getLastCheckpoint(store), "checkpoint-4");
  } finally {
    console.warn = warn;
  }
  await store.remove("checkpoint-6");
  root.quota.limit = root.quota.used + 20_000;
  const trainer = await trainerFor(store);
  await assertRejects(
    () => trainer.train({ resumeFromCheckpoint: true }),
    Error,
    'the browser\'s storage is full; training can go on from the newest whole checkpoint, "checkpoint-4"',
  );
  assertEquals(await store.folders(), ["checkpoint-4"]);
  root.quota.limit = Infinity;
  const { globalStep } = await trainer.train({ resumeFromCheckpoint: true });
  assertEquals(globalStep, 6);
});

Deno.test("Two runs cannot write to one store", async () => {
  const store = handleStore(new FakeDirectory(), "opfs");
  const second = await trainerFor(store);
  const first = await trainerFor(store, [{
    onStepEnd: async (_args, { globalStep }) => {
      if (globalStep > 1) return;
      await assertRejects(() => second.train(), Error, 'received "opfs", in use');
    },
  }]);
  assertEquals((await first.train()).globalStep, 6);
});

Deno.test("resilientTrain() goes on from a checkpoint of a store after a lost device", async () => {
  const store = handleStore(new FakeDirectory(), "opfs");
  let failures = 0;
  const restarts: (string | null)[] = [];
  const output = await resilientTrain({
    makeTrainer: () =>
      trainerFor(store, [{
        onStepEnd: (_args, { globalStep }) => {
          if (globalStep === 5 && failures++ === 0) throw new DeviceLostError("gone");
        },
      }]),
    onRestart: ({ checkpoint }) => void restarts.push(checkpoint),
  });
  assertEquals([output.globalStep, restarts], [6, ["checkpoint-4"]]);
});

Deno.test("Reports that need a file system say so of a store, before data are read", async () => {
  const outputDir = handleStore(new FakeDirectory(), "opfs");
  for (const reportTo of ["tensorboard", "jsonl"] as const) {
    assertThrows(
      () => new TrainingArguments({ ...ARGS, outputDir, reportTo }),
      RangeError,
      `outputDir must be a folder when reportTo has "${reportTo}", received a store`,
    );
  }
  const model = await adapted();
  for (
    const [report, action] of [[new TensorBoardLog(), "write for TensorBoard"], [
      new RunLog(),
      "keep a run log",
    ]] as const
  ) {
    const trainer = new Trainer({
      model,
      args: { ...ARGS, outputDir },
      trainDataset: DATA,
      callbacks: [report],
    });
    const message =
      `Cannot ${action}: a folder on disk is required, of its own or as outputDir, received a store`;
    await assertRejects(() => trainer.train(), TypeError, message);
  }
  model.dispose();
});
