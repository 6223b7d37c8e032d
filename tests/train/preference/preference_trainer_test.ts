/** Preference trainers: what is refused, where the reference comes from, what is logged. */
import { assert, assertAllClose, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { type GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM } from "../../../model/mod.ts";
import {
  BitFitConfig,
  getPeftModel,
  IA3Config,
  LoraConfig,
  type PeftConfig,
  type PeftModel,
  PromptTuningConfig,
  VeraConfig,
} from "../../../peft/mod.ts";
import {
  CPOConfig,
  CPOTrainer,
  DPOConfig,
  type DPOConfigOptions,
  DPOTrainer,
  KTOConfig,
  KTOTrainer,
  ORPOConfig,
  ORPOTrainer,
  type PreferenceTokenizer,
  type TrainableModel,
} from "../../../train/mod.ts";
import { tinyModel, VOCABULARY, weightsOf } from "../tiny_run.ts";

const PAIRS = [
  { promptIds: [1, 2, 3], chosenIds: [4, 5], rejectedIds: [6] },
  { promptIds: [7], chosenIds: [8], rejectedIds: [9, 10, 11, 12] },
  { promptIds: [2, 9, 4, 4], chosenIds: [1, 1, 2], rejectedIds: [3] },
];
const ANSWERS = PAIRS.map(({ promptIds, chosenIds }, i) => ({
  ...{ promptIds, completionIds: chosenIds, label: i !== 1 },
}));

const QUIET = { reportTo: "none", loggingSteps: 1, maxSteps: 2, learningRate: 1e-2 } as const;

async function lora(options: Partial<LoraConfig> = {}, dropout = 0): Promise<PeftModel<GPT2LMHeadModel>> {
  const config = new LoraConfig({ r: 2, targetModules: ["c_attn"], ...options });
  return getPeftModel(await tinyModel(dropout), config);
}

/** A character is a token; conversations are written as `u:…a:…`. */
const TOKENIZER: PreferenceTokenizer = {
  ...{ eosTokenId: 0, padTokenId: 0 },
  encode: (text) => Array.from(text, (char) => 1 + char.charCodeAt(0) % (VOCABULARY - 1)),
  applyChatTemplate: (messages, { addGenerationPrompt }) =>
    TOKENIZER.encode(
      messages.map(({ role, content }: { role: string; content?: unknown }) => `${role[0]}:${content}`)
        .join("") + (addGenerationPrompt ? "a:" : ""),
    ),
};

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

const PAD = Array.from({ length: 15 }, (_, i) => i);

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

Deno.test("KTOTrainer takes pairs as two answers, and refuses batches of one row, labels of other kinds and other rows", async () => {
  const model = await lora();
  const logsOf = async (trainDataset: readonly unknown[], perDeviceTrainBatchSize = 6) => {
    const trainer = new KTOTrainer({
      ...{ model: await lora({ initLoraWeights: false }), tokenizer: TOKENIZER, trainDataset },
      args: { ...QUIET, perDeviceTrainBatchSize, maxSteps: 1 },
    });
    await trainer.train();
    return trainer.state.logHistory[0];
  };
  const texts = ["yes", "good", "fine"];
  const pairs = texts.map((chosen, i) => ({ prompt: `p${i}`, chosen, rejected: "no" }));
  const answers = [true, false].flatMap((label) =>
    pairs.map(({ prompt, chosen, rejected }) => ({ prompt, completion: label ? chosen : rejected, label }))
  );
  assertEquals(await logsOf(pairs), await logsOf(answers));
  const numbers = answers.map((row) => ({ ...row, label: Number(row.label) }));
  assertEquals(await logsOf(numbers), await logsOf(answers), "labels of 1 and 0");
  const wanted = await logsOf(answers.slice(0, 3));
  assertEquals(["rewards/rejected", "rewards/margins"].filter((name) => name in wanted), []);
  assertThrows(
    () => new KTOTrainer({ model, trainDataset: ANSWERS, args: { perDeviceTrainBatchSize: 1 } }),
    RangeError,
    'Cannot make a KTO configuration: perDeviceTrainBatchSize must be at least 2 with lossType "kto", received 1',
  );
  new KTOConfig({ perDeviceTrainBatchSize: 1, lossType: "apo_zero_unpaired" });
  assertThrows(
    () => new KTOConfig({ precomputeRefLogProbs: true, trainSamplingStrategy: "random" }),
    RangeError,
    'trainSamplingStrategy must be "sequential" with precomputeRefLogProbs, received "random"',
  );
  for (
    const [row, message] of [
      [
        { promptIds: [1], completionIds: [2], label: 2 },
        "row 1: a label of true or false (or 1 or 0) is required, received 2",
      ],
      [{ prompt: "a", completion: "b", label: "maybe" }, '(or 1 or 0) is required, received "maybe"'],
      [
        { prompt: [{ role: "user", content: "a" }], completion: [{ rol: "assistant" }], label: true },
        'row 1: a list of messages, each with "role" and "content", is required, received a conversation ("completion")',
      ],
      [
        { prompt: "a", completion: "b" },
        'row 1: an object with "prompt", "completion" and "label" (true or false)',
      ],
    ] as const
  ) {
    const error = await assertRejects(() => logsOf([row]), TypeError);
    assert(error.message.includes(message), error.message);
  }
});

Deno.test("trainers of preferences refuse settings, options and models that do not fit", async () => {
  const plain = await tinyModel();
  const model = await lora();
  const rows = { trainDataset: PAIRS };
  const refusals: [() => unknown, string][] = [
    [
      () => new DPOTrainer({ model: plain, ...rows }),
      "Cannot make a DPO trainer: a model with adapters (getPeftModel), a refModel or precomputeRefLogProbs is required for the reference, received a model without adapters",
    ],
    [() => new KTOTrainer({ model: plain, ...rows }), "Cannot make a KTO trainer: a model with adapters"],
    [
      () => new DPOTrainer({ model, refModel: model, ...rows }),
      "a refModel apart from the model that trains",
    ],
    [
      () => new DPOTrainer({ model, refmodel: plain } as never),
      'unknown option "refmodel", did you mean "refModel"?',
    ],
    [
      () => new DPOTrainer({ model, ...rows, args: { betta: 1 } as never }),
      'unknown option "betta", did you mean "beta"?',
    ],
    [
      () => new DPOConfig({ lossType: "sigmoidal" as never }),
      'lossType must be one or several of "sigmoid", "hinge"',
    ],
    [() => new DPOConfig({ lossType: [] }), "lossType must be one or several of"],
    [() => new DPOConfig({ beta: -1 }), "beta must be a number of at least 0, received -1"],
    ...(["ipo", "sppo_hard", ["sft", "ipo"]] as const).map((lossType): [() => unknown, string] => [
      () => new DPOConfig({ beta: 0, lossType }),
      `beta must be above 0 with lossType "${[lossType].flat().at(-1)}", which divides by it, received 0`,
    ]),
    [
      () => new DPOConfig({ beta: 0 }),
      "DPO configuration: beta must be above 0, as nothing would be learned",
    ],
    [
      () => new KTOConfig({ beta: 0 }),
      "KTO configuration: beta must be above 0, as nothing would be learned",
    ],
    [() => new CPOConfig({ beta: 0, lossType: "ipo" }), 'beta must be above 0 with lossType "ipo"'],
    [() => new CPOConfig({ beta: 0, lossType: "alphapo" }), 'beta must be above 0 with lossType "simpo"'],
    [() => new CPOConfig({ beta: 0, cpoAlpha: 0 }), "CPO configuration: beta must be above 0, as nothing"],
    [
      () => new DPOConfig({ lossWeights: [1, 2] }),
      "lossWeights must be as many as lossType, received 2 for 1 losses",
    ],
    [() => new DPOConfig({ lossType: "robust", labelSmoothing: 0.5 }), "labelSmoothing must be below 0.5"],
    [() => new DPOConfig({ lossType: "exo_pair" }), "labelSmoothing must be between 0 and 1"],
    [
      () => new DPOConfig({ lossType: ["sigmoid", "bco_pair"], fDivergenceType: "forward_kl" }),
      'with fDivergenceType "forward_kl", received "bco_pair"',
    ],
    [() => new CPOConfig({ lossType: "nope" as never }), "lossType must be"],
    [() => new ORPOTrainer({ model, refModel: plain } as never), 'unknown option "refModel"'],
    [() => new CPOTrainer({ model, args: { cpoAlpha: -1 } }), "cpoAlpha must be a number of at least 0"],
  ];
  for (
    const [data, received] of [
      [Promise.resolve(PAIRS), "received a Promise; await it first"],
      ["pairs.jsonl", 'received the string "pairs.jsonl"; read a file'],
      [{ a: PAIRS }, 'received an object with "a"; give one dataset'],
    ]
  ) {
    for (const Kind of [DPOTrainer, KTOTrainer, ORPOTrainer, CPOTrainer] as (typeof DPOTrainer)[]) {
      refusals.push(
        [() => new Kind({ model, trainDataset: data as never }), `trainDataset must be an array of rows`],
        [() => new Kind({ model, evalDataset: data as never }), received as string],
      );
    }
  }
  for (const [make, message] of refusals) {
    const error = assertThrows(make, Error);
    assert(error.message.includes(message), `${error.message}\n${message}`);
  }
  const biased = getPeftModel(
    await tinyModel(),
    new LoraConfig({ r: 2, targetModules: ["c_attn"], bias: "all" }),
  );
  assertThrows(
    () => new DPOTrainer({ model: biased, ...rows }),
    TypeError,
    'received "default" with bias "all", which stays trained where adapters are off',
  );
  await assertRejects(
    () => new DPOTrainer({ model }).train(),
    TypeError,
    "Cannot train: a trainDataset is required, received none",
  );
  // All weights train and the reference was asked before: other rows come too late.
  const trainer = new DPOTrainer({ model: plain, ...rows, args: { ...QUIET, precomputeRefLogProbs: true } });
  await trainer.train();
  assert(Number.isFinite((await trainer.evaluate(PAIRS)).evalLoss), "the rows of the training are known");
  await assertRejects(
    () => trainer.evaluate(PAIRS.slice(1)),
    TypeError,
    "Cannot evaluate other rows once the model has trained",
  );
  // The likelihood of the better answers is learned without a beta, too.
  for (
    const config of [
      new DPOConfig({ beta: 0, lossType: ["sigmoid", "sft"] }),
      new CPOConfig({ beta: 0 }),
      new ORPOConfig({ beta: 0 }),
    ]
  ) {
    assertEquals(config.beta, 0);
  }
  const defaults = new DPOConfig();
  assertEquals([defaults.beta, defaults.learningRate, defaults.lossType, defaults.maxLength], [
    ...[0.1, 1e-6, ["sigmoid"], 1024],
  ]);
  const json = new DPOConfig({ precomputeRefLogProbs: true }).toJSON();
  assertEquals([json.precompute_ref_log_probs, json.loss_type, json.seed], [true, ["sigmoid"], 42]);
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
