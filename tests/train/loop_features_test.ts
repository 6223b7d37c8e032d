/** What the loop does beside training: watchdog, values that are not finite, samples, accuracy, perplexity. */
import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { getPeftModel, LoraConfig } from "../../peft/mod.ts";
import {
  DPOTrainer,
  EarlyStoppingCallback,
  evaluatePerplexity,
  getLastCheckpoint,
  KTOTrainer,
  type ResilientOptions,
  resilientTrain,
  SampleCallback,
  SFTTrainer,
  Trainer,
  type TrainerCallback,
  type TrainingArguments,
} from "../../train/mod.ts";
import { countingData, inFolder, LENGTH, tinyModel, VOCABULARY, weightsOf } from "./tiny_run.ts";

const ARGS: Partial<TrainingArguments> = {
  ...{ perDeviceTrainBatchSize: 4, learningRate: 1e-2, maxSteps: 8, loggingSteps: 1, reportTo: "none" },
};

Deno.test("lossWatchdogThreshold stops after lossWatchdogPatience logs in a row above it, and says so", async () => {
  const model = await tinyModel();
  const stopped: unknown[] = [];
  const trainer = new Trainer({
    model,
    trainDataset: countingData(24),
    args: { ...ARGS, lossWatchdogThreshold: 0.5, lossWatchdogPatience: 3 },
    callbacks: [{ onTrainEnd: (_a, _s, _c, { stopReason }) => void stopped.push(stopReason) }],
  });
  const { globalStep, stopReason, aborted } = await trainer.train();
  assertEquals([globalStep, aborted], [3, false]);
  const { loss } = trainer.state.logHistory[2];
  assertEquals(
    stopReason,
    `the loss at step 3, ${loss}, is above lossWatchdogThreshold 0.5 in 3 logs in a row`,
  );
  assertEquals(stopped, [stopReason]);
  const calm = new Trainer({
    model,
    trainDataset: countingData(24),
    args: { ...ARGS, lossWatchdogThreshold: 50 },
  });
  assertEquals((await calm.train()).stopReason, null);
  model.dispose();
});

Deno.test("a value that is not finite is named: a weight, the result of an op", async () => {
  const model = getPeftModel(await tinyModel(), new LoraConfig({ r: 2, targetModules: ["c_attn"] }));
  const { ln_2 } = model.getBaseModel().transformer.h[1];
  const values = await ln_2.weight.data() as Float32Array<ArrayBuffer>;
  values[5] = Infinity;
  ln_2.weight.write(values);
  const train = (onNonFinite: TrainingArguments["onNonFinite"], outputDir: string | null = null) =>
    new Trainer({ model, trainDataset: countingData(24), args: { ...ARGS, onNonFinite, outputDir } }).train();
  const words =
    `received others at step 1, which changed no weight; the first value that is not finite is in the result of layerNorm with "base_model.model.transformer.h.1.ln_2.bias"`;
  await assertRejects(
    () => train("error"),
    Error,
    `Cannot go on training: a finite loss and finite gradients are required, ${words}; lower learningRate`,
  );
  await inFolder(async (folder) => {
    const { stopReason, checkpoint, globalStep, aborted } = await train("stop", folder);
    assertEquals([globalStep, aborted], [1, false]);
    assert(stopReason?.includes(words), `${stopReason}`);
    assertEquals(checkpoint, `${folder}/checkpoint-1`);
    assertEquals(await getLastCheckpoint(folder), checkpoint);
  });
  values[5] = 1;
  ln_2.weight.write(values);
  const [name, factor] = [...model.namedParameters()].find(([, { requiresGrad }]) => requiresGrad)!;
  const bad = await factor.data() as Float32Array<ArrayBuffer>;
  bad[0] = NaN;
  factor.write(bad);
  const error = await assertRejects(() => train("error"), Error);
  assert((error as Error).message.includes(`is in the weights "${name}"`), (error as Error).message);
  model.dispose();
});

const tokenizer = {
  encode: (text: string) => text.split(" ").map(Number),
  decode: (ids: readonly number[]) => ids.join(" "),
};

Deno.test("SampleCallback writes every so many steps, tells the others, and training goes on bit for bit", async () => {
  const run = async (callbacks: TrainerCallback[], args: Partial<TrainingArguments> = {}, resume = false) => {
    const model = await tinyModel(0.1);
    const data = { trainDataset: countingData(24), evalDataset: countingData(4) };
    const trainer = new Trainer({
      model,
      ...data,
      callbacks,
      args: { ...ARGS, seed: 3, lrSchedulerType: "constant", ...args },
    });
    await trainer.train({ resumeFromCheckpoint: resume });
    const weights = await weightsOf(model);
    model.dispose();
    return {
      weights,
      logs: trainer.state.logHistory.map(({ loss }) => loss),
      samples: trainer.state.samples,
    };
  };
  const sampler = () =>
    new SampleCallback({
      ...{ prompts: ["1 2 3", "4 6"], tokenizer, everySteps: 4, atStart: true },
      generation: { maxNewTokens: 3, eosTokenId: null },
    });
  const seen: unknown[] = [];
  const listener: TrainerCallback = {
    onSample: (_args, { globalStep }, _control, { samples }) => void seen.push([globalStep, samples!.length]),
  };
  const without = await run([]);
  const sampled = await run([sampler(), listener]);
  assertEquals(sampled.weights, without.weights);
  assertEquals(sampled.logs, without.logs);
  assertEquals(seen, [[0, 2], [4, 2], [8, 2]]);
  assertEquals(sampled.samples.map(({ step, prompt }) => [step, prompt]), [
    ...[0, 4, 8].flatMap((step) => [[step, "1 2 3"], [step, "4 6"]]),
  ]);
  assert(sampled.samples.every(({ text }) => text.split(" ").length === 3));
  await inFolder(async (outputDir) => {
    await run([sampler()], { outputDir, saveSteps: 5, maxSteps: 5 });
    const resumed = await run([sampler()], { outputDir, saveStrategy: "no" }, true);
    assertEquals(resumed.samples, sampled.samples);
    assertEquals(resumed.weights, sampled.weights);
  });
  const atEvaluations = await run([
    new SampleCallback({ prompts: ["1"], tokenizer, generation: { maxNewTokens: 1 } }),
  ], {
    ...{ evalStrategy: "steps", evalSteps: 4, evalDelay: 5, evalOnStart: true },
  });
  assertEquals(atEvaluations.samples.map(({ step }) => step), [0, 8]);
  assertThrows(
    () => new SampleCallback({ prompts: [], tokenizer }),
    RangeError,
    "Cannot sample: at least one prompt",
  );
  assertThrows(
    () => new SampleCallback({ prompts: ["1"], tokenizer, everySteps: 0 }),
    RangeError,
    "Cannot sample: everySteps must be an integer of at least 1 or null, received 0",
  );
  await assertRejects(
    () => run([new SampleCallback({ prompts: ["1"], tokenizer })]),
    TypeError,
    'Cannot sample: everySteps, or evalStrategy "steps" or "epoch", is required, received neither',
  );
});

/** Negative log-likelihood of each token after the first, and whether it had the largest logit, from whole logits. */
async function tokenLosses(model: Awaited<ReturnType<typeof tinyModel>>, ids: number[]) {
  model.eval();
  using output = model.forward({ inputIds: [ids] });
  const logits = await output.logits.data();
  return ids.slice(1).map((id, t) => {
    const row = [...logits.subarray(t * VOCABULARY, (t + 1) * VOCABULARY)];
    const high = Math.max(...row);
    const nll = high + Math.log(row.reduce((sum, v) => sum + Math.exp(v - high), 0)) - row[id];
    return { nll, hit: row[id] === high };
  });
}

Deno.test("evaluate() gives the part of the labels that have the largest logit", async () => {
  const model = await tinyModel();
  const trainDataset = countingData(24);
  await new Trainer({ model, trainDataset, args: ARGS }).train();
  const evalDataset = countingData(7).map(({ inputIds }, i) => ({
    inputIds: inputIds.slice(0, LENGTH - i),
    labels: inputIds.slice(0, LENGTH - i).map((id, t) => t % 3 === 0 ? -100 : id),
  }));
  const rows = await Promise.all(evalDataset.map(({ inputIds }) => tokenLosses(model, inputIds)));
  const hits = rows.flatMap((row, i) => row.filter((_, t) => evalDataset[i].labels[t + 1] !== -100)).map((
    { hit },
  ) => hit);
  const trainer = new Trainer({ model, evalDataset, args: { ...ARGS, perDeviceEvalBatchSize: 3 } });
  const { meanTokenAccuracy, evalTokens } = await trainer.evaluate();
  assertEquals(evalTokens, hits.length);
  assertEquals(meanTokenAccuracy, hits.filter(Boolean).length / hits.length);
  assert(meanTokenAccuracy! > 0.1 && meanTokenAccuracy! < 1, `${meanTokenAccuracy}`);
  model.dispose();
});

Deno.test("evaluatePerplexity() counts each token once, with the windows of the guide", async () => {
  const model = await tinyModel();
  const tokens = countingData(5).flatMap(({ inputIds }) => inputIds).slice(0, 61);
  for (const [stride, maxLength, batchSize] of [[4, 12, 1], [15, 16, 3], [7, 8, 8]]) {
    let [sum, seen] = [0, 1];
    for (let begin = 0; seen < tokens.length; begin += stride) {
      const end = Math.min(begin + maxLength, tokens.length);
      const losses = await tokenLosses(model, tokens.slice(begin, end));
      for (let at = seen; at < end; at++) sum += losses[at - begin - 1].nll;
      seen = end;
    }
    const found = await evaluatePerplexity(model, tokens, { stride, maxLength, batchSize });
    assertEquals(found.tokens, 60);
    assertAlmostEquals(found.loss, sum / 60, 1e-5);
    assertAlmostEquals(found.perplexity, Math.exp(sum / 60), 1e-3);
  }
  const all = await evaluatePerplexity(model, tokens.slice(0, 16));
  assertEquals(all.tokens, 15);
  for (
    const [options, message] of [
      [{ stride: 16, maxLength: 16 }, "stride must be an integer from 1 to 15, received 16"],
      [{ batchSize: 0 }, "batchSize must be an integer from 1 to 65536, received 0"],
    ] as const
  ) {
    await assertRejects(
      () => evaluatePerplexity(model, tokens, options),
      RangeError,
      `Cannot evaluate perplexity: ${message}`,
    );
  }
  await assertRejects(
    () => evaluatePerplexity(model, [1]),
    RangeError,
    "at least two tokens are required, received 1",
  );
  model.dispose();
});

Deno.test("trainers refuse what is no model, callback or second run, and instantiate classes of callbacks", async () => {
  const model = await tinyModel();
  const tokenizer = { padTokenId: 0, eosTokenId: 0, encode: () => [1], decode: () => "" } as never;
  for (
    const make of [
      (model: never) => new Trainer({ model }),
      (model: never) => new SFTTrainer({ model, tokenizer, trainDataset: [] }),
    ]
  ) {
    const refused = (model: unknown, received: string) =>
      assertThrows(
        () => make(model as never),
        TypeError,
        `Cannot make a trainer: a model is required, received ${received}`,
      );
    refused(Promise.resolve(model), "a Promise; await it first");
    refused("gpt2", 'the string "gpt2"; load one with await fromPretrained()');
    refused(undefined, "undefined");
  }
  for (const [kind, Kind] of [["DPO", DPOTrainer], ["KTO", KTOTrainer]] as const) {
    assertThrows(
      () => new Kind({ model: Promise.resolve(model) as never, tokenizer, trainDataset: [] }),
      TypeError,
      `Cannot make a ${kind} trainer: a model is required, received a Promise; await it first`,
    );
  }
  const withCallback = (callback: unknown) =>
    new Trainer({ model, args: ARGS, callbacks: [callback as TrainerCallback] });
  const unknown = 'Cannot make a trainer: unknown callback method "';
  assertThrows(
    () => withCallback({ onStepEnds() {} }),
    TypeError,
    `${unknown}onStepEnds", did you mean "onStepEnd"?`,
  );
  class Misspelt {
    on_log() {}
  }
  assertThrows(() => withCallback(new Misspelt()), TypeError, `${unknown}on_log", did you mean "onLog"?`);
  assertThrows(
    () => withCallback(() => {}),
    TypeError,
    "a callback must be an object with methods such as onStepEnd, received a function",
  );
  const begun: object[] = [];
  class Follower {
    onTrainBegin() {
      begun.push(this);
    }
  }
  const trainer = new Trainer({
    model,
    trainDataset: countingData(8),
    args: { ...ARGS, maxSteps: 1 },
    callbacks: [Follower],
  });
  const first = trainer.train();
  await assertRejects(() => trainer.train(), TypeError, "Cannot train: the run before must have ended");
  assertEquals((await first).globalStep, 1);
  assertEquals(begun.map((follower) => follower instanceof Follower), [true]);
  assertEquals((await trainer.train()).globalStep, 1);
  const early = new Trainer({
    ...{ model, trainDataset: countingData(8), args: ARGS, callbacks: [EarlyStoppingCallback] },
  });
  await assertRejects(() => early.train(), TypeError, "Cannot stop early: evalStrategy");
  model.dispose();
});

Deno.test("evaluatePerplexity() takes typed arrays and refuses texts; resilientTrain() refuses what makes no Trainer", async () => {
  const model = await tinyModel();
  const ids = [1, 2, 3, 4, 5];
  assertEquals(await evaluatePerplexity(model, Int32Array.from(ids)), await evaluatePerplexity(model, ids));
  const peft = getPeftModel(model, new LoraConfig({ r: 2, targetModules: ["c_attn"] }));
  const long = Array.from({ length: LENGTH + 4 }, (_, i) => i % VOCABULARY);
  assertEquals(
    (await evaluatePerplexity(peft, long)).tokens,
    LENGTH + 3,
    "windows are those of the base model",
  );
  for (
    const [tokens, received] of [
      ["a text", 'the string "a text"'],
      [[1, 2.5], "2.5"],
      [Promise.resolve(ids), "a Promise; await it first"],
    ] as const
  ) {
    await assertRejects(
      () => evaluatePerplexity(model, tokens as unknown as number[]),
      TypeError,
      `Cannot evaluate perplexity: token ids, such as tokenizer.encode(text), are required, received ${received}`,
    );
  }
  const refused = (options: unknown, message: string) =>
    assertRejects(() => resilientTrain(options as ResilientOptions), TypeError, message);
  await refused({}, "Cannot train: makeTrainer must be a function that makes a Trainer, received undefined");
  await refused(
    { makeTrainer: {} },
    "makeTrainer must be a function that makes a Trainer, received an object",
  );
  await refused(
    { makeTrainer: () => undefined },
    "Cannot train: makeTrainer must return a Trainer, received undefined",
  );
  peft.dispose();
});

Deno.test("SampleCallback refuses prompts without a token and without room, and writes as much as there is room for", async () => {
  const model = await tinyModel();
  const tokenizer = {
    encode: (text: string) => text.split(" ").filter(Boolean).map(Number),
    decode: (ids: readonly number[]) => ids.join(" "),
  };
  const sampler = (prompt: string) =>
    new SampleCallback({ prompts: [prompt], tokenizer, everySteps: 1, generation: { eosTokenId: null } });
  const train = async (prompt: string) => {
    const args = { ...ARGS, maxSteps: 1 };
    const trainer = new Trainer({ model, trainDataset: countingData(8), args, callbacks: [sampler(prompt)] });
    await trainer.train();
    return trainer.state.samples;
  };
  assertThrows(
    () => sampler(""),
    RangeError,
    'Cannot sample: a prompt of at least one token is required, received ""',
  );
  assertThrows(
    () => new SampleCallback({ prompts: "ab" as never, tokenizer }),
    TypeError,
    "prompts must be a list of texts",
  );
  const [{ text }] = await train(Array(LENGTH - 3).fill("1").join(" "));
  assertEquals(text.split(" ").length, 3);
  await assertRejects(
    () => train(Array(LENGTH).fill("1").join(" ")),
    RangeError,
    `Cannot sample: a prompt of fewer tokens than the ${LENGTH} that the model takes is required, received one of ${LENGTH}`,
  );
  model.dispose();
});
