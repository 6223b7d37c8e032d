/** What preference trainers refuse: data, rows and settings that do not fit. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { getPeftModel, LoraConfig } from "../../../peft/mod.ts";
import {
  CPOConfig,
  CPOTrainer,
  DPOConfig,
  DPOTrainer,
  KTOConfig,
  KTOTrainer,
  ORPOConfig,
  ORPOTrainer,
  type PreferenceRows,
  RowDataset,
} from "../../../train/mod.ts";
import { inFolder, tinyModel } from "../tiny_run.ts";
import { ANSWERS, lora, PAIRS, QUIET, TOKENIZER } from "./preference_rows.ts";

Deno.test("KTOTrainer takes pairs as two answers, and refuses batches of one row, labels of other kinds and other rows", async () => {
  const model = await lora();
  const logsOf = async (trainDataset: PreferenceRows, perDeviceTrainBatchSize = 6) => {
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
  const [who, me] = ["user", "assistant"].map((role) => [{ role, content: "a" }]);
  for (const [prompt, completion] of [["a", "b"], [who, me]]) { // as loadDataset reads them
    const rows = RowDataset.from([{ prompt, completion, label: "good" }]);
    const error = await assertRejects(() => logsOf(rows), TypeError);
    assert(
      error.message.includes('row 1: a label of true or false (or 1 or 0) is required, received "good"'),
    );
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

Deno.test("preference trainers refuse an outputDir before they read rows or ask the reference", async () => {
  await inFolder(async (folder) => {
    const outputDir = `${folder}/file`;
    await Deno.writeTextFile(outputDir, "kept");
    const model = await lora();
    let read = 0;
    const trainDataset = { length: PAIRS.length, at: (i: number) => (read++, PAIRS[i]) };
    const trainer = new DPOTrainer({
      ...{ model, trainDataset },
      args: { ...QUIET, precomputeRefLogProbs: true, outputDir },
    });
    const message = "Cannot train: a folder that can be written to is required";
    await assertRejects(() => trainer.train(), Error, message);
    assertEquals(read, 0);
    model.dispose();
  });
});
