/**
 * Rows as examples of a supervised fine-tuning: masks, cuts, packing, large files, and what is refused.
 * @module
 */
import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { AutoTokenizer, type Tokenizer } from "../../../model/mod.ts";
import {
  type Example,
  loadDataset,
  RowDataset,
  SFTConfig,
  type SFTData,
  type SFTDataset,
  SFTTrainer,
} from "../../../train/mod.ts";
import { getPeftModel, PromptTuningConfig } from "../../../peft/mod.ts";
import { TEMPLATE } from "../../cli/chat_model.ts";
import { countingData, tinyModel } from "../tiny_run.ts";

type Settings = Partial<SFTConfig>;

const DEMO = new URL("../../../examples/demo/model", import.meta.url).pathname;
const MARKED = TEMPLATE.replace(
  "{{ m['role'] + ': ' + m['content'] + '<|endoftext|>' }}",
  (text) =>
    `{% if m['role'] == 'assistant' %}{{ 'assistant:' }}{% generation %}{{ ' ' + m['content'] + '<|endoftext|>' }}{% endgeneration %}` +
    `{% else %}${text}{% endif %}`,
);
const model = await tinyModel();

async function chatTokenizer(template: string | null = TEMPLATE): Promise<Tokenizer> {
  const tokenizer = await AutoTokenizer.fromPretrained(DEMO);
  tokenizer.chatTemplate = template;
  return tokenizer;
}

/** A model that has more positions than the tiny one; it is never run. */
const longModel = Object.create(model, { facts: { value: { maxPositions: 128 } } });

function trainerOf(
  trainDataset: SFTData,
  processingClass: Tokenizer,
  args: Settings = {},
  more: object = {},
) {
  return new SFTTrainer({
    ...{ model: longModel, trainDataset, processingClass, args: { reportTo: "none", ...args } },
    ...more,
  });
}

async function examplesOf(dataset: SFTDataset): Promise<Example[]> {
  await dataset.prepare();
  const examples: Example[] = [];
  for (let i = 0; i < dataset.length; i++) examples.push((await dataset.at(i))!);
  return examples;
}

const examples = async (rows: SFTData, tokenizer: Tokenizer, args: Settings = {}, more: object = {}) =>
  await examplesOf(trainerOf(rows, tokenizer, args, more).trainDataset);

/** What is learned, runs of it with a bar between. */
function learned(tokenizer: Tokenizer, { inputIds, labels }: Example): string {
  return labels!.reduce<number[][]>((runs, label, i) => {
    if (label === -100) return runs;
    if (i === 0 || labels![i - 1] === -100) runs.push([]);
    runs.at(-1)!.push(inputIds[i]);
    return runs;
  }, []).map((ids) => tokenizer.decode(ids)).join("|");
}

const CHAT = [
  { role: "user", content: "who are you?" },
  { role: "assistant", content: "a pirate" },
  { role: "user", content: "where?" },
  { role: "assistant", content: "on the ship" },
];

Deno.test("what is learned of every form of rows, by completionOnlyLoss and assistantOnlyLoss", async () => {
  const whole = "user: who are you?<|endoftext|>assistant: a pirate<|endoftext|>";
  const cases: [row: unknown, settings: Settings, wanted: string][] = [
    [{ text: "once upon a time" }, {}, "once upon a time<|endoftext|>"],
    [{ prompt: "who?", completion: " me" }, {}, " me<|endoftext|>"],
    [{ prompt: "who?", completion: " me<|endoftext|>" }, {}, " me<|endoftext|>"],
    [{ prompt: "who?", completion: " me" }, { completionOnlyLoss: false }, "who? me<|endoftext|>"],
    [{ messages: CHAT.slice(0, 2) }, {}, whole],
    [{ messages: CHAT }, { assistantOnlyLoss: true }, " a pirate<|endoftext|>| on the ship<|endoftext|>"],
    [{ prompt: CHAT.slice(0, 3), completion: CHAT.slice(3) }, {}, " on the ship<|endoftext|>"],
    [
      { prompt: CHAT.slice(0, 3), completion: CHAT.slice(3) },
      { assistantOnlyLoss: true },
      " on the ship<|endoftext|>",
    ],
    [{ instruction: "who are you?", output: "a pirate" }, {}, " a pirate<|endoftext|>"],
    [{ instruction: "who are you?", output: "a pirate" }, { completionOnlyLoss: false }, whole],
    [
      { conversations: CHAT },
      { assistantOnlyLoss: true },
      " a pirate<|endoftext|>| on the ship<|endoftext|>",
    ],
  ];
  for (const template of [TEMPLATE, MARKED]) {
    const tokenizer = await chatTokenizer(template);
    for (const [row, settings, wanted] of cases) {
      const [example] = await examples([row], tokenizer, settings);
      assertEquals(learned(tokenizer, example), wanted, JSON.stringify(row));
    }
  }
});

Deno.test("eosToken ends rows, padToken and padToMultipleOf fill batches, and datasetTextField and formattingFunc find texts", async () => {
  const tokenizer = await chatTokenizer();
  const own = tokenizer.decode([5]);
  const [ended] = await examples([{ text: "once" }], tokenizer, { eosToken: own });
  assertEquals(ended.inputIds.at(-1), 5);
  const [field] = await examples([{ body: "once", text: 3 }], tokenizer, { datasetTextField: "body" });
  assertEquals(tokenizer.decode(field.inputIds), "once<|endoftext|>");
  const formattingFunc = ({ q, a }: Record<string, unknown>) => `Q: ${q} A: ${a}`;
  const [formatted] = await examples([{ q: "who?", a: "me" }], tokenizer, {}, { formattingFunc });
  assertEquals(tokenizer.decode(formatted.inputIds), "Q: who? A: me<|endoftext|>");
  for (const name of ["eosToken", "padToken"]) {
    assertThrows(
      () => trainerOf([{ text: "x" }], tokenizer, { [name]: "<nothing>" }),
      RangeError,
      `Cannot make a trainer: ${name} must be a token of the tokenizer, received "<nothing>"`,
    );
  }
  const seen: number[][] = [];
  const watched = await tinyModel();
  const forward = watched.forward.bind(watched);
  watched.forward = (inputs) => {
    seen.push(...inputs.inputIds as number[][]);
    return forward(inputs);
  };
  const data = [{ inputIds: [1, 2, 3] }, { inputIds: [1, 2, 3, 4, 5] }];
  const args = {
    padToken: tokenizer.decode([7]),
    padToMultipleOf: 4,
    maxSteps: 1,
    gradientCheckpointing: false,
  };
  await trainerOf(data, tokenizer, args, { model: watched }).train();
  assertEquals(seen.map((row) => row.length), [8, 8]);
  assertEquals(seen.map((row) => row.at(-1)), [7, 7]);
});

Deno.test("rows longer than maxLength, or than the model has positions for, are cut and counted; those without a label left are dropped", async () => {
  const tokenizer = await chatTokenizer();
  const rows = [
    { prompt: "who are you, and where is the gold of the captain?", completion: " on the island" },
    { prompt: "who?", completion: " a pirate of the sea, of the ship and of the island, and of the captain" },
    { prompt: "who?", completion: " me" },
  ];
  const trainer = trainerOf(rows, tokenizer, { maxLength: 8 });
  const kept = await examplesOf(trainer.trainDataset);
  assertEquals(kept.map(({ inputIds }) => inputIds.length <= 8), [true, true]);
  const { cutTokens, tokens, learnedTokens, ...stats } = trainer.dataStats!;
  assertEquals(stats, { rows: 3, examples: 2, cutRows: 2, droppedRows: 1, firstDropped: "row 1" });
  const whole = await examples(rows, tokenizer);
  assertEquals(cutTokens, whole.reduce((sum, { inputIds }) => sum + Math.max(0, inputIds.length - 8), 0));
  assertEquals(tokens, kept.reduce((sum, { inputIds }) => sum + inputIds.length, 0));
  assertEquals(
    learnedTokens,
    kept.reduce((sum, { labels }) => sum + labels!.filter((id) => id !== -100).length, 0),
  );
  const ends = await examples(rows, tokenizer, { maxLength: 8, truncationMode: "keep_end" });
  assertEquals(ends.map(({ inputIds }) => inputIds), whole.map(({ inputIds }) => inputIds.slice(-8)));
  const tiny = await examples(rows, tokenizer, {}, { model });
  assert(tiny.every(({ inputIds }) => inputIds.length <= 16), "the tiny model has 16 positions");
  await assertRejects(
    () => trainerOf(rows.slice(0, 1), tokenizer, { maxLength: 8 }).train(),
    RangeError,
    "Cannot train: a row with a label is required, received 1 without one, the first row 1; 1 were cut at 8 tokens: raise maxLength",
  );
});

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

Deno.test("SFTTrainer refuses rows and settings that do not fit, naming the row", async () => {
  const tokenizer = await chatTokenizer();
  const plain = await chatTokenizer(null);
  const cases: [rows: unknown[], settings: Settings, message: string, own?: Tokenizer][] = [
    [
      [{ text: "x" }],
      { assistantOnlyLoss: true },
      "Cannot train on row 1: conversations are required with assistantOnlyLoss",
    ],
    [
      [{ text: "x" }],
      { completionOnlyLoss: true },
      "a prompt and a completion are required with completionOnlyLoss",
    ],
    [[{ messages: CHAT }], { completionOnlyLoss: true }, "received a conversation; use assistantOnlyLoss"],
    [
      [{ text: "x" }, { messages: CHAT }],
      {},
      "Cannot train on row 2: cannot apply a chat template: ",
      plain,
    ],
    [[{ messages: CHAT.slice(0, 1) }], { assistantOnlyLoss: true }, "a message of the assistant is required"],
    [
      [{ prompt: "a", chosen: "b", rejected: "c" }],
      {},
      'received "chosen" and "rejected", which preference tuning takes',
    ],
    [[{ prompt: "a", completion: "b", label: true }], {}, 'received an answer with a "label"'],
    [[{ inputIds: [1, 2, 3], labels: [1, 2] }], {}, "as many labels as ids are required, received 2 for 3"],
    [[{ inputIds: [1, 2], attentionMask: [0, 1] }], { packing: true }, "rows without padding"],
    [
      [{ inputIds: [1, 2], labels: [1, -100] }],
      {},
      "a row with a label is required, received 1 without one, the first row 1",
    ],
    [[], {}, "Cannot train: at least one row is required, received none"],
  ];
  for (const [rows, settings, message, own = tokenizer] of cases) {
    await assertRejects(() => trainerOf(rows, own, settings).train(), Error, message);
  }
  const marked = await chatTokenizer(MARKED);
  await assertRejects(
    () => trainerOf([{ messages: CHAT.slice(0, 1) }], marked, { assistantOnlyLoss: true }).train(),
    TypeError,
    "a message of the assistant is required with assistantOnlyLoss, received none",
  );
  const now: [rows: SFTData, settings: object, message: string, more?: object][] = [
    [[{ body: "x" }], {}, 'Cannot read row 1: an object with "text", '],
    [
      [{ text: "x" }],
      { packing: true, maxLength: null },
      "maxLength is required with packing, received null",
    ],
    [[{ text: "x" }], { packingStrategy: "best" }, 'packingStrategy must be "bfd", "bfd_split" or "wrapped"'],
    [[{ text: "x" }], { maxLenght: 3 }, "maxLength"],
    [[{ text: "x" }], {}, "a model that getPeftModel() made is required in place of peftConfig", {
      peftConfig: {},
    }],
    [[{ text: "x" }], {}, "formattingFunc", { formatingFunc: () => "x" }],
    [[{ text: "x" }], { completionOnlyLoss: true }, "formattingFunc makes texts", {
      formattingFunc: () => "x",
    }],
    [RowDataset.from([{ text: "x" }]), {}, "an array of rows is required with formattingFunc", {
      formattingFunc: () => "x",
    }],
  ];
  for (const [rows, settings, message, more] of now) {
    assertThrows(() => trainerOf(rows, tokenizer, settings, more), Error, message);
  }
});

Deno.test("rows leave room for virtual tokens, and the console says what was cut", async () => {
  const tokenizer = await chatTokenizer();
  const base = await tinyModel();
  const adapted = getPeftModel(base, new PromptTuningConfig({ numVirtualTokens: 4 }));
  const said: string[] = [];
  const { log } = console;
  console.log = (line: string) => said.push(line);
  try {
    const rows = [{ inputIds: new Array(20).fill(3) }, { inputIds: [1, 2] }, {
      inputIds: [1, 2],
      labels: [1, -100],
    }];
    const args: Settings = { reportTo: "console", maxSteps: 1, gradientCheckpointing: false };
    const trainer = trainerOf(rows, tokenizer, args, { model: adapted });
    await trainer.train();
    assertEquals((await examplesOf(trainer.trainDataset)).map(({ inputIds }) => inputIds.length), [12, 2]);
  } finally {
    console.log = log;
  }
  assertEquals(said.slice(0, 2), [
    "1 of 3 rows were longer than maxLength and lost 8 tokens",
    "1 of 3 rows were left out, because nothing in them is learned, the first row 3",
  ]);
  adapted.dispose();
});

Deno.test("SFTConfig has TRL's defaults, and writes its settings by TRL's names", () => {
  const config = new SFTConfig();
  const { maxLength, packing, packingStrategy, completionOnlyLoss, lossType, learningRate } = config;
  assertEquals(
    { maxLength, packing, packingStrategy, completionOnlyLoss, lossType, learningRate },
    {
      ...{ maxLength: 1024, packing: false, packingStrategy: "bfd", completionOnlyLoss: null },
      ...{ lossType: "nll", learningRate: 2e-5 },
    } as const,
  );
  assertEquals([config.loggingSteps, config.gradientCheckpointing, config.weightDecay], [10, true, 0]);
  const written = new SFTConfig({ assistantOnlyLoss: true, maxLength: null }).toJSON();
  assertEquals([written.assistant_only_loss, written.max_length, written.eos_token], [true, null, null]);
});
