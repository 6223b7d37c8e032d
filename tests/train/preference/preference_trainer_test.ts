/** Preference trainers: what is refused, where the reference comes from, what is logged. */
import { assert, assertAllClose, assertEquals, assertRejects } from "@std/assert";
import { defaultDevice, multiply, sum, Tensor } from "../../../autograd/mod.ts";
import { sorted } from "../../../train/preference/sorted.ts";
import { LlamaConfig, LlamaForCausalLM } from "../../../model/mod.ts";
import {
  BitFitConfig,
  getPeftModel,
  IA3Config,
  LoraConfig,
  type PeftConfig,
  PromptTuningConfig,
  VeraConfig,
} from "../../../peft/mod.ts";
import {
  CPOTrainer,
  type DPOConfigOptions,
  DPOTrainer,
  KTOTrainer,
  ORPOTrainer,
  type PreferenceTokenizer,
  type TrainableModel,
} from "../../../train/mod.ts";
import { tinyModel, VOCABULARY, weightsOf } from "../tiny_run.ts";
import { ANSWERS, lora, PAD, PAIRS, QUIET, TOKENIZER } from "./preference_rows.ts";

Deno.test("sorted() puts values in order, equal ones too, and takes gradients back to where they came from", async () => {
  const device = await defaultDevice();
  const values = [3, -1, 3, 0, -1, 7.5, -1];
  const x = Tensor.from(values, { device, requiresGrad: true });
  const y = sorted(x);
  assertEquals([...await y.data()], values.toSorted((a, b) => a - b));
  sum(multiply(y, Tensor.from([1, 2, 3, 4, 5, 6, 7], { device }))).backward();
  assertEquals([...await x.grad!.data()], [5, 1, 6, 4, 2, 7, 3]); // equal ones keep their order
  assertEquals([...await sorted(Tensor.from([2], { device })).data()], [2]);
});

Deno.test("DPOTrainer logs rewards with the loss, and evaluations the same with eval before it", async () => {
  const model = await lora();
  const trainer = new DPOTrainer({
    ...{ model, trainDataset: PAIRS, evalDataset: PAIRS },
    args: { ...QUIET, evalStrategy: "steps", perDeviceTrainBatchSize: 3, perDeviceEvalBatchSize: 2 },
  });
  await trainer.train();
  const [first, evaluation, second] = trainer.state.logHistory;
  const names = ["chosen", "rejected", "accuracies", "margins"].map((name) => `rewards/${name}`);
  for (const name of [...names, "logps/chosen", "logps/rejected"]) {
    assert(Number.isFinite(first[name]), name);
    assert(Number.isFinite(evaluation[`eval${name[0].toUpperCase()}${name.slice(1)}`]), name);
  }
  // An adapter starts as nothing: policy and reference are the same.
  assertAllClose([first.loss, first["rewards/margins"]], [Math.LN2, 0], { atol: 1e-6 });
  assert(second["rewards/margins"] > 1e-3);
  assertAllClose([evaluation.evalLoss], [second.loss], {
    rtol: 1e-4,
    label: "evaluated after the first step",
  });
  assertEquals("perplexity" in evaluation, false);
  model.dispose();
});

Deno.test("the reference is a refModel, the adapter ref, or the model without its adapters; all give the same numbers", async () => {
  const losses = async (model: TrainableModel, options: { refModel?: TrainableModel; args?: object }) => {
    const { args, ...others } = options;
    const trainer = new DPOTrainer({ model, trainDataset: PAIRS, ...others, args: { ...QUIET, ...args } });
    await trainer.train();
    return trainer.state.logHistory.flatMap((log) => [log.loss, log["rewards/chosen"]]);
  };
  const policy = () => lora({ initLoraWeights: false });
  const expected = await losses(await policy(), {});
  assert(Math.abs(expected[0] - Math.LN2) > 1e-4);
  assertEquals(await losses(await policy(), { refModel: await tinyModel() }), expected);
  const withRef = await policy();
  withRef.addAdapter("ref", new LoraConfig({ r: 1, targetModules: ["c_attn"] })); // B is 0: the base model
  assertAllClose(await losses(withRef, {}), expected, { rtol: 1e-5, atol: 1e-6 });
  // All weights train, the reference being asked before the first step.
  const full = await losses(await tinyModel(), { args: { precomputeRefLogProbs: true } });
  assertAllClose(full.slice(0, 2), [Math.LN2, 0], { atol: 1e-6 });
  assert(full[2] < Math.LN2);
});

for (
  const [name, config] of Object.entries<PeftConfig>({
    IA3: new IA3Config({ targetModules: ["c_attn", "mlp.c_proj"], feedforwardModules: ["mlp.c_proj"] }),
    BitFit: new BitFitConfig(),
    "prompt tuning": new PromptTuningConfig({ numVirtualTokens: 2 }),
  })
) {
  Deno.test(`DPOTrainer and KTOTrainer train ${name}, the reference staying as it is`, async () => {
    const model = getPeftModel(await tinyModel(), config);
    const trainer = new DPOTrainer({ model, trainDataset: PAIRS, args: { ...QUIET, maxSteps: 6 } });
    const reference = () => model.disableAdapter(() => model.forward({ inputIds: [[1, 2, 3]] }).logits);
    const before = await reference().data();
    await trainer.train();
    const logs = trainer.state.logHistory;
    assert(logs.at(-1)!.loss < logs[0].loss);
    assertEquals(await reference().data(), before);
    const kto = new KTOTrainer({ model, trainDataset: ANSWERS, args: QUIET });
    await kto.train();
    assert(Number.isFinite(kto.state.logHistory[1].kl));
    model.dispose();
  });
}

Deno.test("disableDropout leaves every dropout out, and gradient checkpointing in", async () => {
  const run = async (model: TrainableModel, args: DPOConfigOptions = {}) => {
    const trainer = new DPOTrainer({ model, trainDataset: PAIRS, args: { ...QUIET, ...args } });
    await trainer.train();
    assertEquals(model.training, true);
    return trainer.state.logHistory.map(({ loss, gradNorm }) => [loss, gradNorm]);
  };
  const llama = (attentionDropout: number) => {
    const sizes = { vocabSize: VOCABULARY, hiddenSize: 32, intermediateSize: 48, numHiddenLayers: 1 };
    const config = new LlamaConfig("llama", {
      ...sizes,
      ...{ numAttentionHeads: 2, numKeyValueHeads: 2, maxPositionEmbeddings: 32, attentionDropout },
    });
    const model = new LlamaForCausalLM(config, { seed: 3 });
    return getPeftModel(
      model,
      new LoraConfig({ r: 2, targetModules: ["q_proj"], initLoraWeights: false }),
    );
  };
  const vera = async (dropout: number) =>
    getPeftModel(
      await tinyModel(dropout),
      new VeraConfig({ r: 4, targetModules: ["c_attn"], veraDropout: dropout }),
    );
  const plain = await run(await lora({}, 0));
  assertEquals(await run(await lora({ loraDropout: 0.5 }, 0.5)), plain);
  assert(
    String(await run(await lora({ loraDropout: 0.5 }, 0.5), { disableDropout: false })) !== String(plain),
  );
  assertEquals(await run(await lora({}, 0), { gradientCheckpointing: false }), plain);
  assertEquals(await run(llama(0.5)), await run(llama(0)));
  assertEquals(await run(await vera(0.5)), await run(await vera(0)));
});

Deno.test("DPOTrainer uses less memory with gradient checkpointing although nothing drops", async () => {
  const peak = async (gradientCheckpointing: boolean) => {
    const model = await tinyModel();
    const adapted = getPeftModel(model, new LoraConfig({ r: 2, targetModules: ["c_attn"] }));
    const { device } = model;
    device.trim();
    device.resetPeakMemory();
    const before = device.memory.liveBytes;
    const rows = Array.from({ length: 32 }, () => ({ promptIds: [1], chosenIds: PAD, rejectedIds: PAD }));
    const args = { ...QUIET, gradientCheckpointing, perDeviceTrainBatchSize: 32, maxSteps: 1 };
    await new DPOTrainer({ model: adapted, trainDataset: rows, args }).train();
    const { peakBytes } = device.memory;
    adapted.dispose();
    return peakBytes - before;
  };
  const [without, with_] = [await peak(false), await peak(true)];
  assert(with_ < 0.8 * without, `${with_} of ${without} bytes`);
});

Deno.test("steps of preference trainers leave nothing on the device", async () => {
  for (const Kind of [DPOTrainer, KTOTrainer, ORPOTrainer, CPOTrainer] as (typeof DPOTrainer)[]) {
    const model = await lora();
    const { device } = model.getBaseModel();
    const bytes: number[] = [];
    const trainer = new Kind({
      ...{ model, trainDataset: Kind.name === "KTOTrainer" ? ANSWERS : PAIRS, evalDataset: undefined },
      args: { ...QUIET, maxSteps: 6, perDeviceTrainBatchSize: 3 },
      callbacks: [{ onStepEnd: () => void bytes.push(device.memory.liveBytes) }],
    });
    await trainer.train();
    assertEquals(bytes.slice(2), new Array(4).fill(bytes[2]), Kind.name);
    model.dispose();
  }
});

Deno.test("rows of texts and messages are tokenized; what is no row of the kind is refused, naming it", async () => {
  const steps = async (trainDataset: readonly unknown[], maxLength = 16, tokenizer?: PreferenceTokenizer) => {
    const trainer = new DPOTrainer({
      ...{ model: await lora(), tokenizer, trainDataset },
      args: { ...QUIET, maxLength, maxSteps: 1 },
    });
    await trainer.train();
    return trainer.state.logHistory[0]["logps/chosen"];
  };
  const ids = (text: string) => TOKENIZER.encode(text);
  const expected = await steps([{
    ...{ promptIds: ids("u:hia:"), chosenIds: ids("yes"), rejectedIds: ids("no") },
  }]);
  const message = (role: string, content: string) => [{ role, content }];
  const conversation = { chosen: message("assistant", "yes"), rejected: message("assistant", "no") };
  assertEquals(await steps([{ prompt: message("user", "hi"), ...conversation }], 16, TOKENIZER), expected);
  class Templated {
    readonly own = TOKENIZER;
    readonly eosTokenId = 0;
    readonly padTokenId = 0;
    encode(text: string): number[] {
      return this.own.encode(text);
    }
    applyChatTemplate(...given: Parameters<NonNullable<PreferenceTokenizer["applyChatTemplate"]>>): number[] {
      return this.own.applyChatTemplate!(...given);
    }
  }
  const ofClass = [{ prompt: message("user", "hi"), ...conversation }];
  assertEquals(await steps(ofClass, 16, new Templated()), expected, "a tokenizer whose methods use this");
  // Texts end with the end of text.
  const texts = await steps([{ prompt: "u:hia:", chosen: "yes", rejected: "no" }], 16, TOKENIZER);
  assert(texts < expected);
  assertEquals(await steps([{ chosen: "u:hia:yes", rejected: "u:hia:no" }], 16, TOKENIZER), texts);

  const refusals: [readonly unknown[], PreferenceTokenizer | undefined, string][] = [
    [[], TOKENIZER, "Cannot tune preferences: at least one row is required, received none"],
    [
      [PAIRS[0], { text: "hi" }],
      TOKENIZER,
      'Cannot tune preferences, row 2: an object with "chosen" and "rejected"',
    ],
    [[{ prompt: "a", completion: "b" }], TOKENIZER, 'is required, received one with "prompt", "completion"'],
    [[{ prompt: "a", chosen: "b" }], TOKENIZER, 'received other keys or other values: "prompt", "chosen"'],
    [[{ prompt: "a", chosen: "b", rejected: 3 }], TOKENIZER, "row 1: an object with"],
    [["hi"], TOKENIZER, "row 1: an object with"],
    [[{ prompt: "a", chosen: "b", rejected: "c" }], undefined, "row 1: a tokenizer is required"],
    [
      [{ prompt: message("user", "hi"), ...conversation }],
      { ...TOKENIZER, applyChatTemplate: undefined },
      "row 1: a tokenizer with chat templates is required for conversations, received one without",
    ],
    [
      [{ ...PAIRS[0], chosenIds: [] }],
      TOKENIZER,
      "row 1: an answer of at least one token is required, received none",
    ],
    [
      [PAIRS[0], PAIRS[2]].map((row) => ({ ...row, promptIds: [...row.promptIds, ...PAD] })),
      undefined,
      "nothing is left without 2 of 2 rows whose prompt alone has maxLength tokens; raise maxLength",
    ],
  ];
  for (const [rows, tokenizer, message] of refusals) {
    const error = await assertRejects(() => steps(rows, 8, tokenizer), Error);
    assert(error.message.includes(message), `${error.message}\n${message}`);
  }
  // Equal answers teach nothing, and are allowed.
  const equal = [{ ...PAIRS[0], rejectedIds: PAIRS[0].chosenIds }];
  const trainer = new DPOTrainer({
    model: await lora({ initLoraWeights: false }),
    trainDataset: equal,
    args: QUIET,
  });
  await trainer.train();
  assertAllClose([trainer.state.logHistory[0].loss], [Math.LN2], { atol: 1e-6 });
  assertEquals(trainer.state.logHistory[0]["rewards/accuracies"], 0);
});

Deno.test("a loss that is not finite stops a run of DPO at its step, or is skipped without a change", async () => {
  const model = await lora();
  const last = [...model.namedParameters()].find(([name]) => name.endsWith("ln_f.weight"))![1];
  last.write(new Float32Array(last.size).fill(NaN));
  const run = (onNonFinite: "error" | "skip") =>
    new DPOTrainer({ model, trainDataset: PAIRS, args: { ...QUIET, onNonFinite } }).train();
  await assertRejects(() => run("error"), Error, "step 1");
  const before = await weightsOf(model as never);
  await run("skip");
  assertEquals(await weightsOf(model as never), before);
});
