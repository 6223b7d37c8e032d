/**
 * Packing, blocks of texts, and large files in a supervised fine-tuning.
 * @module
 */
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { type Example, loadDataset, type SFTConfig, SFTTrainer } from "../../../train/mod.ts";
import { countingData, inFolder, tinyModel, weightsOf } from "../tiny_run.ts";
import {
  CHAT,
  chatTokenizer,
  examples,
  examplesOf,
  learned,
  model,
  type Settings,
  trainerOf,
} from "./sft_examples.ts";

const texts = (count: number) =>
  Array.from(
    { length: count },
    (_, i) => JSON.stringify({ text: "the sea and the ship ".repeat(1 + i * 7 % 5) + i }),
  );
const asFile = (lines: string[]) => new File([lines.join("\n")], "a.jsonl");

Deno.test("rows that are read again from a large file give the examples of rows in memory: padded, grouped and packed in every way", async () => {
  const tokenizer = await chatTokenizer();
  const ways: Settings[] = [
    {},
    { trainSamplingStrategy: "group_by_length" },
    { shuffleDataset: true },
    ...(["bfd", "bfd_split", "wrapped"] as const).map((packingStrategy) => {
      return { packing: true, packingStrategy, maxLength: 20, shuffleDataset: packingStrategy === "wrapped" };
    }),
  ];
  for (const way of ways) {
    const inMemory = trainerOf(await loadDataset(asFile(texts(23))), tokenizer, way);
    const streamed = trainerOf(await loadDataset(asFile(texts(23)), { streaming: true }), tokenizer, way);
    assertEquals(await examplesOf(streamed.trainDataset), await examplesOf(inMemory.trainDataset));
    const { trainDataset } = inMemory;
    const knowsLengths = way.packing || way.trainSamplingStrategy;
    assertEquals(streamed.dataStats, knowsLengths ? inMemory.dataStats : null);
    for (let i = 0; i < (knowsLengths ? trainDataset.length : 0); i++) {
      assertEquals(streamed.trainDataset.lengthOf(i), (trainDataset.at(i) as Example).inputIds.length);
    }
  }
});

Deno.test("a run on packed rows of a large file resumes bit for bit", async () => {
  const tokenizer = await chatTokenizer();
  const lines = countingData(30).map(({ inputIds }, n) =>
    JSON.stringify({ input_ids: inputIds.slice(0, 3 + n % 9) })
  );
  const train = async (outputDir: string, resumeFromCheckpoint: string | false) => {
    const rows = await loadDataset(asFile(lines), { streaming: true });
    const own = await tinyModel(0.1);
    const args: Settings = {
      packing: true,
      maxLength: 16,
      maxSteps: 4,
      saveSteps: 2,
      perDeviceTrainBatchSize: 2,
    };
    const trainer = trainerOf(rows, tokenizer, { ...args, outputDir, learningRate: 1e-2 }, { model: own });
    await trainer.train({ resumeFromCheckpoint });
    const weights = await weightsOf(own);
    own.dispose();
    return weights;
  };
  await inFolder(async (folder) => {
    const whole = await train(folder, false);
    assertEquals(await train(folder, `${folder}/checkpoint-2`), whole);
  });
});

Deno.test("packing keeps every token with bfd_split and wrapped, and what fits with bfd", async () => {
  const tokenizer = await chatTokenizer();
  const data = await loadDataset(asFile(texts(23)));
  const tokens = (examples: Example[]) => examples.flatMap(({ inputIds }) => inputIds).sort((a, b) => a - b);
  const whole = tokens(await examples(data, tokenizer));
  const packed = async (packingStrategy: SFTConfig["packingStrategy"], maxLength = 20) =>
    await examples(data, tokenizer, { packing: true, packingStrategy, maxLength });
  assertEquals(tokens(await packed("bfd_split")), whole);
  const wrapped = await packed("wrapped");
  assertEquals(tokens(wrapped), whole);
  assert(wrapped.slice(0, -1).every(({ inputIds }) => inputIds.length === 20));
  assert(wrapped.every(({ sequenceIds }) => sequenceIds === undefined), "each sees those before it");
  const cut = await examples(data, tokenizer, { maxLength: 20 });
  assertEquals(tokens(await packed("bfd")), tokens(cut));
  const several = (await packed("bfd", 64)).filter(({ sequenceIds }) => sequenceIds);
  assert(several.length > 2, "rows of several examples");
  for (const { labels, sequenceIds } of several) {
    assert(labels!.every((label, t) => (label === -100) === (sequenceIds![t] !== sequenceIds![t - 1])));
  }
});

Deno.test("textBlocks puts texts into full rows and leaves rows of other forms as they are", async () => {
  const tokenizer = await chatTokenizer();
  const rows = [
    { text: "once upon a time the captain looked at the sea" },
    { prompt: "who?", completion: " me" },
    { text: "and the ship" },
    { messages: CHAT },
    { prompt: "where?", completion: " on the ship" },
  ];
  const args = { textBlocks: true, maxLength: 8, assistantOnlyLoss: null };
  const blocks = await examples(rows, tokenizer, args);
  const words = tokenizer.encode(`${rows[0].text}<|endoftext|>${rows[2].text}<|endoftext|>`);
  const count = Math.ceil(words.length / 8);
  assertEquals(
    blocks.slice(0, count).flatMap(({ inputIds, labels }) => [...inputIds, ...labels!]).length,
    2 * words.length,
  );
  assertEquals(blocks.slice(0, count).flatMap(({ inputIds }) => inputIds), words);
  assertEquals(blocks.slice(0, count).flatMap(({ labels }) => labels!), words, "all are learned");
  assertEquals(blocks.slice(count).map((one) => learned(tokenizer, one)), [
    " me<|endoftext|>",
    " on the ship<|endoftext|>",
  ]);
  const packed = await examples(rows, tokenizer, { ...args, packing: true, maxLength: 64 });
  assertEquals(packed.length, 2, "one block, and one row of all others");
  assertEquals(packed[0].sequenceIds, undefined);
  assertEquals(new Set(packed[1].sequenceIds).size, 3);
});

Deno.test("a packed step's loss is that of the rows by themselves to 1e-6, and of a padded batch grouped by length", async () => {
  const data = countingData(12).map(({ inputIds }, n) => ({ inputIds: inputIds.slice(0, 3 + n) }));
  const tokenizer = await chatTokenizer();
  const loss = async (args: Settings) => {
    const trainer = new SFTTrainer({
      ...{ model, processingClass: tokenizer, trainDataset: data, evalDataset: data },
      args: { reportTo: "none", perDeviceEvalBatchSize: 4, ...args },
    });
    return (await trainer.evaluate()).evalLoss;
  };
  const apart = await loss({ perDeviceEvalBatchSize: 1 });
  assertAlmostEquals(await loss({}), apart, 1e-6);
  assertAlmostEquals(await loss({ packing: true, maxLength: 16 }), apart, 1e-6);
  assert(Math.abs(await loss({ packing: true, packingStrategy: "wrapped", maxLength: 16 }) - apart) > 1e-3);
  assertAlmostEquals(await loss({ packing: true, evalPacking: false, maxLength: 16 }), apart, 1e-6);
});
