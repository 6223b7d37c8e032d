/**
 * Datasets that read their examples later, and orders by length.
 * @module
 */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { DataLoader, type Dataset, type Example, Trainer } from "../../../train/mod.ts";
import { countingData, inFolder, tinyModel, weightsOf } from "../tiny_run.ts";

const lengths = [3, 9, 2, 7, 5, 8, 4, 6, 1, 10, 2, 3, 12, 4, 5, 6, 7, 3, 2, 9];
const examples: Example[] = lengths.map((length, n) => ({ inputIds: new Array(length).fill(n) }));

/** The same examples, each read a while after it is asked for. */
function later(examples: readonly Example[]): Dataset {
  return {
    length: examples.length,
    at: (index) => new Promise((resolve) => setTimeout(() => resolve(examples[index]), index % 3)),
    lengthOf: (index) => examples[index].inputIds.length,
  };
}

Deno.test("DataLoader.readBatches() gives the batches of batches(), also where examples are read later", async () => {
  const options = { batchSize: 3, shuffle: true, seed: 4 };
  const loader = new DataLoader(examples, options);
  const wanted = [...loader.batches(2, 1)];
  assertEquals(await Array.fromAsync(loader.readBatches(2, 1)), wanted);
  const reading = new DataLoader(later(examples), options);
  assertEquals(await Array.fromAsync(reading.readBatches(2, 1)), wanted);
  assertThrows(() => [...reading.batches(0)], TypeError, "received one that reads them; use readBatches()");
  const broken = new DataLoader({ length: 2, at: () => Promise.reject(new Error("disk")) }, { batchSize: 1 });
  await assertRejects(() => Array.fromAsync(broken.readBatches(0)), Error, "disk");
});

Deno.test("groupByLength gives every example once, the longest first, in an order of seed and epoch, with less padding", () => {
  const loader = new DataLoader(examples, { batchSize: 2, groupByLength: true, seed: 1 });
  const padding = (loader: DataLoader, epoch: number) =>
    [...loader.batches(epoch)].flatMap(({ attentionMask = [] }) => attentionMask.flat()).filter((one) => !one)
      .length;
  const random = new DataLoader(examples, { batchSize: 2, shuffle: true, seed: 1 });
  for (const epoch of [0, 1, 2]) {
    const order = loader.order(epoch);
    assertEquals(order.toSorted((a, b) => a - b), lengths.map((_, i) => i));
    assertEquals(order[0], 12, "memory that does not suffice shows at once");
    assert(padding(loader, epoch) < padding(random, epoch) * 0.6, `${padding(loader, epoch)} of padding`);
  }
  assert(loader.order(0).join() !== loader.order(1).join());
  const again = new DataLoader(later(examples), { batchSize: 2, groupByLength: true, seed: 1 });
  assertEquals(again.order(1), loader.order(1));
  const unknown: Dataset = { length: 2, at: () => Promise.resolve(examples[0]) };
  assertThrows(
    () => new DataLoader(unknown, { batchSize: 1, groupByLength: true }).order(0),
    TypeError,
    "Cannot group examples by length: a dataset with lengthOf() is required",
  );
});

Deno.test("Trainer trains on examples that are read later as on those in memory, prepares them, and keeps their order in checkpoints", async () => {
  const data = countingData(12).map(({ inputIds }, n) => ({ inputIds: inputIds.slice(0, 4 + n) }));
  const train = async (dataset: Dataset, more: object, resumeFromCheckpoint: string | false = false) => {
    const model = await tinyModel();
    const trainer = new Trainer({
      model,
      trainDataset: dataset,
      args: { maxSteps: 5, perDeviceTrainBatchSize: 2, loggingSteps: 1, reportTo: "none", ...more },
    });
    await trainer.train({ resumeFromCheckpoint });
    const weights = await weightsOf(model);
    model.dispose();
    return { losses: trainer.state.logHistory.map(({ loss }) => loss), weights };
  };
  await inFolder(async (outputDir) => {
    const args = { trainSamplingStrategy: "group_by_length", outputDir, saveSteps: 3 } as const;
    const whole = await train(data, args);
    let prepared = 0;
    const reading = { ...later(data), prepare: () => Promise.resolve(prepared++) };
    const resumed = await train(reading, args, `${outputDir}/checkpoint-3`);
    assertEquals(prepared, 1);
    assertEquals(resumed.weights, whole.weights, "to the bit");
    assertEquals(resumed.losses.slice(-2), whole.losses.slice(-2));
    await assertRejects(
      () => train(data, { ...args, trainSamplingStrategy: "random" }, `${outputDir}/checkpoint-3`),
      TypeError,
      "trainSamplingStrategy must be group_by_length as before, received random",
    );
    const ordered = await train(data, { trainSamplingStrategy: "sequential" });
    assert(ordered.losses.join() !== whole.losses.join());
  });
});
