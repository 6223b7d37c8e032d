/**
 * Packed examples: how they are put into rows, and that training on the rows equals training on the examples.
 * @module
 */
import { assert, assertAlmostEquals, assertEquals, assertThrows, relativeL2 } from "@std/assert";
import { HostRandom, tidy } from "../../../autograd/mod.ts";
import { LlamaConfig, LlamaForCausalLM } from "../../../model/llama/mod.ts";
import type { CausalLM } from "../../../model/mod.ts";
import { type Batch, defaultDataCollator, type Example, packExamples, Trainer } from "../../../train/mod.ts";
import { countItems } from "../../../train/data/data_loader.ts";
import { loadFixture, ownDevice } from "../../reference/fixtures.ts";

const example = (...inputIds: number[]): Example => ({ inputIds });

Deno.test("packExamples() puts the longest first, each into the fullest row that it fits, and keeps documents apart", () => {
  const rows = packExamples([example(1, 2), example(3, 4, 5, 6), example(7), example(8, 9, 10)], 5);
  assertEquals(rows, [
    { inputIds: [3, 4, 5, 6, 7], labels: [-100, 4, 5, 6, -100], sequenceIds: [0, 0, 0, 0, 1] },
    { inputIds: [8, 9, 10, 1, 2], labels: [-100, 9, 10, -100, 2], sequenceIds: [0, 0, 0, 1, 1] },
  ]);
  const answers = packExamples([{ inputIds: [1, 2, 3], labels: [-100, -100, 3] }, example(4, 5)], 8);
  assertEquals(answers, [
    { inputIds: [1, 2, 3, 4, 5], labels: [-100, -100, 3, -100, 5], sequenceIds: [0, 0, 0, 1, 1] },
  ]);
  assertEquals(packExamples([], 4), []);
});

Deno.test("packExamples() fills rows of 2,048 tokens to more than 98%, loses no token, and is the same each time", () => {
  const random = new HostRandom(7);
  const examples = Array.from({ length: 3000 }, (_, n) => {
    return example(...Array.from({ length: 5 + random.integer(600) }, (_, t) => n + t));
  });
  const rows = packExamples(examples, 2048);
  const tokens = examples.reduce((sum, { inputIds }) => sum + inputIds.length, 0);
  assertEquals(rows.reduce((sum, { inputIds }) => sum + inputIds.length, 0), tokens);
  assert(rows.every(({ inputIds }) => inputIds.length <= 2048));
  assert(tokens / (rows.length * 2048) > 0.98, `${tokens / (rows.length * 2048)}`);
  assertEquals(packExamples(examples, 2048), rows);
  const starts = rows.flatMap(({ inputIds, sequenceIds }) =>
    inputIds.filter((_, t) => t === 0 || sequenceIds![t] !== sequenceIds![t - 1])
  );
  assertEquals(starts.sort((a, b) => a - b), examples.map((_, n) => n), "every example once");
});

Deno.test("packExamples() refuses examples that are too long, empty, padded or packed", () => {
  assertThrows(() => packExamples([example(1), example(1, 2, 3)], 2), RangeError, "received 3 in example 1");
  assertThrows(() => packExamples([example()], 2), RangeError, "received 0 in example 0");
  assertThrows(
    () => packExamples([{ inputIds: [1, 2], attentionMask: [0, 1] }], 2),
    TypeError,
    "received padding in 0",
  );
  const packed = packExamples([example(1), example(2)], 2);
  assertThrows(() => packExamples(packed, 2), TypeError, "received a packed one in 0");
});

/** Loss and gradients of batches, their items counted together. */
async function gradientsOf(model: CausalLM, batches: Batch[]) {
  const numItemsInBatch = batches.reduce((sum, batch) => sum + countItems(batch), 0);
  let loss = 0;
  for (const batch of batches) {
    const part = tidy(() => {
      const { loss } = model.forward({ ...batch, numItemsInBatch });
      loss!.backward();
      return loss!;
    });
    loss += await part.item();
    part.dispose();
  }
  const gradients = await Promise.all([...model.parameters()].map(({ grad }) => grad!.data()));
  for (const parameter of model.parameters()) {
    parameter.grad!.dispose();
    parameter.grad = null;
  }
  return { loss, gradients };
}

const MODELS = {
  "GPT-2": async () => await loadFixture("gpt2_tiny", { device: await ownDevice() }),
  "Llama": async () =>
    new LlamaForCausalLM(
      new LlamaConfig("llama", {
        vocabSize: 250,
        hiddenSize: 32,
        intermediateSize: 48,
        numHiddenLayers: 2,
        numAttentionHeads: 4,
        numKeyValueHeads: 2,
      }),
      { device: await ownDevice() },
    ),
};

for (const [name, make] of Object.entries(MODELS)) {
  Deno.test(`a batch of packed rows gives ${name} the loss and gradients of its examples, padded rows included`, async () => {
    const model: CausalLM = await make();
    const random = new HostRandom(3);
    const examples = [9, 3, 6, 2, 5, 7].map((length) => {
      const inputIds = Array.from({ length }, () => random.integer(250));
      return { inputIds, labels: inputIds.map((id, t) => t < length / 3 ? -100 : id) };
    });
    const rows = packExamples(examples, 14);
    assert(
      rows.length < examples.length && rows.some(({ inputIds }) => inputIds.length < 14),
      "some are padded",
    );
    const collate = defaultDataCollator(0);
    const packed = await gradientsOf(model, [collate(rows)]);
    const apart = await gradientsOf(model, examples.map((one) => collate([one])));
    assertAlmostEquals(packed.loss, apart.loss, 1e-6);
    packed.gradients.forEach((grad, i) => assert(relativeL2(grad, apart.gradients[i]) < 1e-5));
    model.dispose();
  });
}

Deno.test("Trainer trains on packed rows as on their examples: the first loss is that of the examples apart", async () => {
  const examples = [[1, 2, 3], [4, 5, 6, 7], [8, 9]].map((ids) => example(...ids));
  const model = await loadFixture("gpt2_tiny", { device: await ownDevice() });
  const apart = await gradientsOf(model, examples.map((one) => defaultDataCollator(0)([one])));
  const args = { maxSteps: 8, learningRate: 1e-2, loggingSteps: 1, reportTo: "none" } as const;
  const trainer = new Trainer({ model, trainDataset: packExamples(examples, 9), args });
  await trainer.train();
  const losses = trainer.state.logHistory.flatMap(({ loss }) => loss === undefined ? [] : [loss]);
  assertAlmostEquals(losses[0], apart.loss, 1e-6);
  assert(losses.at(-1)! < losses[0] / 2, `${losses}`);
  model.dispose();
});
