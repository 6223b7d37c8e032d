/**
 * Shares of a step, computed by several trainers, against one trainer that accumulates the same batches.
 * @module
 */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { getPeftModel, LoraConfig, SFTTrainer, Trainer } from "@peft/webgpu";
import type { GradientExchange } from "@peft/webgpu/train";
import { cutIntoShares } from "../../train/gradient_exchange.ts";
import { packShare, sumShares, unpackShare } from "../../train/gradient_share.ts";
import { ownDevice } from "../reference/fixtures.ts";
import { exchanges } from "./exchanges.ts";
import { countingData, tinyModel, trainedWeightsOf } from "./tiny_run.ts";

const ARGS = {
  maxSteps: 7,
  perDeviceTrainBatchSize: 2,
  gradientAccumulationSteps: 4,
  learningRate: 1e-2,
  loggingSteps: 1,
  reportTo: "none",
} as const;

/** Trained weights and losses of one trainer. */
async function trained(exchange: GradientExchange | undefined, extra: object = {}) {
  const device = await ownDevice();
  const model = getPeftModel(
    await tinyModel(0.1, device),
    new LoraConfig({ r: 4, targetModules: ["c_attn", "c_fc"], loraDropout: 0.2 }),
    "default",
    { seed: 5 },
  );
  const trainer = new Trainer({
    model,
    args: { ...ARGS, ...extra },
    trainDataset: countingData(21), // 11 batches: the last step of an epoch has three of four
    ...exchange && { gradientExchange: exchange },
  });
  await trainer.train();
  const weights = await trainedWeightsOf(model);
  const losses = trainer.state.logHistory.flatMap(({ loss }) => loss === undefined ? [] : [loss]);
  const norms = trainer.state.logHistory.flatMap(({ gradNorm }) => gradNorm === undefined ? [] : [gradNorm]);
  model.dispose();
  assertEquals(device.memory.liveBytes, 0, "nothing is left on the device");
  return { weights, losses, norms };
}

const largest = (a: Record<string, number[]>, b: Record<string, number[]>) =>
  Math.max(...Object.keys(a).flatMap((name) => a[name].map((value, i) => Math.abs(value - b[name][i]))));

Deno.test("four trainers with a batch each make the updates of one that accumulates four, bit for bit, dropout included", async () => {
  const alone = await trained(undefined);
  assertEquals(alone.losses.length, 7);
  const together = await Promise.all(exchanges(4).map((exchange) => trained(exchange)));
  for (const one of together) assertEquals(one, alone);
});

Deno.test("two trainers with two batches each agree to rounding with one, and to the bit with each other", async () => {
  const alone = await trained(undefined);
  const [first, second] = await Promise.all(exchanges(2).map((exchange) => trained(exchange)));
  assertEquals(first, second);
  assert(largest(first.weights, alone.weights) < 1e-6, `${largest(first.weights, alone.weights)}`);
});

Deno.test("a share that another trainer computes has the same bits: who is away for some steps changes nothing", async () => {
  const alone = await trained(undefined);
  const away = (trainer: number, step: number) => trainer === 1 && step > 2 && step < 6;
  const together = await Promise.all(exchanges(4, away).map((exchange) => trained(exchange)));
  for (const one of together) assertEquals(one, alone);
});

Deno.test("weights trained whole, weight decay, float16 activations and NEFTune go through an exchange as without one, to rounding", async () => {
  const run = async (exchange: GradientExchange | undefined) => {
    const model = await tinyModel(0.1, await ownDevice());
    const trainer = new Trainer({
      model,
      args: {
        ...ARGS,
        maxSteps: 3,
        learningRate: 1e-4,
        weightDecay: 0.1,
        fp16: true,
        neftuneNoiseAlpha: 5,
        maxGradNorm: 0.5,
      },
      trainDataset: countingData(16),
      ...exchange && { gradientExchange: exchange },
    });
    const { metrics: { trainLoss } } = await trainer.train();
    const weights = await trainedWeightsOf(model);
    model.dispose();
    return { weights, trainLoss };
  };
  const alone = await run(undefined);
  const [first, ...others] = await Promise.all(exchanges(4).map(run));
  for (const one of others) assert(JSON.stringify(one) === JSON.stringify(first));
  // the embedding, whose gradient a batch makes in two parts, is summed in another order
  assert(largest(first.weights, alone.weights) < 1e-6, `${largest(first.weights, alone.weights)}`);
  assertEquals(first.trainLoss, alone.trainLoss);
});

Deno.test("what SFTTrainer measures beside the loss is summed over the shares", async () => {
  const rows = countingData(16).map(({ inputIds }) => ({ input_ids: inputIds }));
  const run = async (exchange: GradientExchange | undefined) => {
    const model = await tinyModel(0, await ownDevice());
    const trainer = new SFTTrainer({
      model,
      processingClass: { padTokenId: 0, eosTokenId: 0, decode: () => "" } as never,
      args: { ...ARGS, maxSteps: 2, maxLength: null },
      trainDataset: rows,
      ...exchange && { gradientExchange: exchange },
    });
    await trainer.train();
    const logs = trainer.state.logHistory.map(({ loss, meanTokenAccuracy, entropy }) => ({
      ...{ loss, meanTokenAccuracy, entropy },
    }));
    model.dispose();
    return logs;
  };
  const alone = await run(undefined);
  assert(typeof alone[0].meanTokenAccuracy === "number", JSON.stringify(alone));
  for (const one of await Promise.all(exchanges(4).map(run))) assertEquals(one, alone);
});

Deno.test("a signal that ends a wait leaves weights, gradients and random numbers as before the step", async () => {
  const model = await tinyModel(0.1, await ownDevice());
  const before = await trainedWeightsOf(model);
  const controller = new AbortController();
  const waits: GradientExchange = {
    shares: 2,
    async exchange(_step, _shares, compute, signal) {
      await compute(0, null);
      controller.abort();
      throw signal!.reason;
    },
  };
  const options = { model, args: ARGS, trainDataset: countingData(16) };
  const { aborted, globalStep } = await new Trainer({ ...options, gradientExchange: waits }).train({
    signal: controller.signal,
  });
  assertEquals([aborted, globalStep], [true, 0]);
  assertEquals(await trainedWeightsOf(model), before);
  assert([...model.parameters()].every(({ grad }) => grad === null));

  const broken: GradientExchange = {
    shares: 2,
    exchange: () => Promise.reject(new Error("the broker is gone")),
  };
  await assertRejects(
    () => new Trainer({ ...options, gradientExchange: broken }).train(),
    Error,
    "the broker is gone",
  );
  const foreign: GradientExchange = { shares: 2, exchange: () => Promise.resolve([new Uint8Array(8)]) };
  await assertRejects(
    () => new Trainer({ ...options, gradientExchange: foreign }).train(),
    TypeError,
    "Cannot read a share of gradients",
  );
  assertThrows(
    () => new Trainer({ ...options, gradientExchange: { ...broken, shares: 3 } }),
    RangeError,
    "gradientAccumulationSteps must be a multiple of the 3 shares of gradientExchange, received 4",
  );
  model.dispose();
});

Deno.test("shares are cut in order, packed without loss, and summed as float32 in order", () => {
  assertEquals([...cutIntoShares(4, 4, 2)], [[0, [0, 1]], [1, [2, 3]]]);
  assertEquals([...cutIntoShares(3, 4, 4)], [[0, [0]], [1, [1]], [2, [2]]]);
  const numbers = (loss: number, values: number[] | null) => ({
    loss,
    sums: Float32Array.of(1, loss),
    gradients: [values && Float32Array.from(values), null, Float32Array.of(NaN)],
  });
  const shares = [numbers(0.1, null), numbers(0.2, [1, 2 ** -24]), numbers(0.3, [2 ** -24, 1])];
  const read = shares.map((share) => unpackShare(packShare(share), { sizes: [2, 5, 1], sumCount: 2 }));
  assertEquals(read.map(({ gradients }) => gradients), shares.map(({ gradients }) => gradients));
  const sum = sumShares(read);
  assertEquals(sum.gradients, [Float32Array.of(1, 1), null, Float32Array.of(NaN)]);
  assertEquals(
    [...sum.sums],
    [3, Math.fround(Math.fround(0.1) + Math.fround(0.2)) + Math.fround(0.3)].map(Math.fround),
  );
});
