/** Runs that meet another run, a full disk, no permission, other data, or lose their device. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { Device, DeviceLostError, initDevice } from "../../gpu/mod.ts";
import { host } from "../../io/_node.ts";
import {
  getLastCheckpoint,
  resilientTrain,
  type Restart,
  Trainer,
  type TrainingArguments,
} from "../../train/mod.ts";
import { countingData, inFolder, tinyModel, weightsOf } from "./tiny_run.ts";

const ARGS: Partial<TrainingArguments> = {
  ...{ perDeviceTrainBatchSize: 4, learningRate: 1e-2, maxSteps: 6, loggingSteps: 1, saveSteps: 2 },
  reportTo: "none",
};

async function trainer(
  outputDir: string,
  args: Partial<TrainingArguments> = {},
  device?: Device,
): Promise<Trainer> {
  const model = await tinyModel(0.1, device);
  return new Trainer({ model, trainDataset: countingData(24), args: { ...ARGS, outputDir, ...args } });
}

const names = (folder: string) => Array.from(Deno.readDirSync(folder), ({ name }) => name).sort();

Deno.test("Trainer refuses an outputDir that another run uses, and leaves it free after success and failure", async () => {
  await inFolder(async (folder) => {
    const [first, second] = [await trainer(folder), await trainer(folder)];
    let refused: unknown = null;
    first.addCallback({
      onStepEnd: async (_args, { globalStep }) => {
        if (globalStep === 3) refused = await second.train().catch((error) => error);
      },
    });
    await first.train();
    assert(
      refused instanceof Error && refused.message.includes("Cannot train: a folder that no other run uses"),
    );
    assertEquals(names(folder), ["checkpoint-2", "checkpoint-4", "checkpoint-6"]);
    second.addCallback({
      onStepEnd: () => {
        throw new Error("enough");
      },
    });
    await assertRejects(() => second.train(), Error, "enough");
    assertEquals(names(folder), ["checkpoint-2", "checkpoint-4", "checkpoint-6"]);
    for (const { model } of [first, second]) (model as unknown as { dispose(): void }).dispose();
  });
});

Deno.test("a full disk and a folder without permission are clear errors, and the newest checkpoint stays whole", async () => {
  await inFolder(async (folder) => {
    const shared = await host();
    const real = shared.fs;
    for (
      const [code, words] of [["ENOSPC", "no space is left on the disk"], ["EACCES", "permission denied"]]
    ) {
      let room = Infinity;
      const open: typeof real.open = async (path, flags, mode) => {
        const handle = await real.open(path, flags, mode);
        return new Proxy(handle, {
          get(target, name) {
            const value = Reflect.get(target, name);
            if (name !== "write") return typeof value === "function" ? value.bind(target) : value;
            return (chunk: Uint8Array, ...rest: []) => {
              room -= chunk.length;
              if (room < 0) throw Object.assign(new Error(`${code}: write`), { code });
              return target.write(chunk, ...rest);
            };
          },
        });
      };
      const run = await trainer(folder);
      run.addCallback({
        onStepEnd: (_args, { globalStep }) => void (room = globalStep >= 3 ? 50_000 : Infinity),
      });
      shared.fs = new Proxy(real, {
        get: (target, name) => name === "open" ? open : Reflect.get(target, name),
      });
      let error: unknown;
      try {
        error = await run.train().catch((error) => error);
      } finally {
        shared.fs = real;
      }
      const { message } = error as Error;
      assert(message.startsWith(`Cannot write folder "${folder}/checkpoint-4": Cannot write`), message);
      assert(message.includes(words), message);
      assert(
        message.includes(`; training can go on from the newest whole checkpoint, "${folder}/checkpoint-2"`),
        message,
      );
      assertEquals(names(folder), ["checkpoint-2"]);
      assertEquals(await getLastCheckpoint(folder), `${folder}/checkpoint-2`);
      (run.model as unknown as { dispose(): void }).dispose();
    }
    const again = await trainer(folder);
    assertEquals((await again.train({ resumeFromCheckpoint: true })).globalStep, 6);
    (again.model as unknown as { dispose(): void }).dispose();
  });
});

Deno.test("a checkpoint of other data or another optimizer is refused, and the model stays as it was", async () => {
  await inFolder(async (folder) => {
    const first = await trainer(folder, { maxSteps: 2 });
    await first.train();
    const path = `${folder}/checkpoint-2`;
    const model = await tinyModel(0.1, undefined, 8);
    const before = await weightsOf(model);
    const other = countingData(24).map(({ inputIds }) => ({ inputIds: inputIds.toReversed() }));
    const cases: [Partial<TrainingArguments>, ReturnType<typeof countingData>, string][] = [
      [{}, other, "the same training data as before are required, received other examples"],
      [
        { optim: "sgd", optimArgs: { momentum: 0.9 } },
        countingData(24),
        `Cannot load the optimizer's state: the state of SGD is required, received that of AdamW`,
      ],
    ];
    for (const [args, trainDataset, message] of cases) {
      const second = new Trainer({ model, trainDataset, args: { ...ARGS, outputDir: folder, ...args } });
      await assertRejects(
        () => second.train({ resumeFromCheckpoint: path }),
        TypeError,
        `Cannot resume from "${path}": ${message}`,
      );
      assertEquals(await weightsOf(model), before);
    }
    model.dispose();
    (first.model as unknown as { dispose(): void }).dispose();
  });
});

Deno.test("resilientTrain() goes on from the newest checkpoint on a new device, with the weights of an undisturbed run", async () => {
  await inFolder(async (folder) => {
    const calm = await trainer(`${folder}/calm`);
    await calm.train();
    const expected = await weightsOf(calm.model as Awaited<ReturnType<typeof tinyModel>>);
    const devices: Device[] = [];
    const restarts: Restart[] = [];
    const makeTrainer = async () => {
      const device = await Device.create();
      devices.push(device);
      const made = await trainer(`${folder}/out`, {}, device);
      made.addCallback({
        onStepEnd: (_args, { globalStep }) => { // before the first checkpoint, and between two
          if (globalStep === (devices.length === 1 ? 1 : devices.length === 2 ? 5 : -1)) device.destroy();
        },
      });
      return made;
    };
    const output = await resilientTrain({ makeTrainer, onRestart: (restart) => void restarts.push(restart) });
    assertEquals([output.restarts, output.globalStep, devices.length], [2, 6, 3]);
    assertEquals(restarts.map(({ restart, checkpoint }) => [restart, checkpoint]), [
      [1, null],
      [2, `${folder}/out/checkpoint-4`],
    ]);
    assertEquals(await weightsOf(output.trainer.model as Awaited<ReturnType<typeof tinyModel>>), expected);
    assertEquals(output.trainer.state.logHistory, calm.state.logHistory);
    await assertRejects(
      () =>
        resilientTrain({
          maxRestarts: 1,
          makeTrainer: async () => {
            const made = await makeTrainer();
            made.addCallback({ onStepEnd: () => devices.at(-1)!.destroy() });
            return made;
          },
        }),
      DeviceLostError,
    );
    for (const device of devices) device.destroy();
  });
});

Deno.test("defaultDevice() makes a new device where the last one is lost", async () => {
  const { defaultDevice } = await import("../../gpu/mod.ts");
  const before = await defaultDevice();
  const lost = await initDevice();
  assertEquals([lost === await defaultDevice(), lost.isLost], [true, false]);
  lost.destroy();
  const next = await defaultDevice();
  assertEquals([next === lost, next.isLost, lost.isLost, before.isLost], [false, false, true, false]);
  await initDevice({ device: before.gpuDevice });
  next.destroy();
});
