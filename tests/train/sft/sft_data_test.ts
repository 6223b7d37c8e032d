/**
 * What becomes of rows in a supervised fine-tuning: masks, cuts, and what is refused.
 * @module
 */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { Tokenizer } from "../../../model/mod.ts";
import { getPeftModel, PromptTuningConfig } from "../../../peft/mod.ts";
import { RowDataset, SFTConfig, type SFTData } from "../../../train/mod.ts";
import { TEMPLATE } from "../../cli/chat_model.ts";
import { inFolder, tinyModel } from "../tiny_run.ts";
import {
  CHAT,
  chatTokenizer,
  examples,
  examplesOf,
  learned,
  MARKED,
  model,
  type Settings,
  trainerOf,
} from "./sft_examples.ts";

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
    // columns of other tasks change nothing, as in TRL
    [{ prompt: "who?", completion: " me", label: 0, id: 7, text: "no" }, {}, " me<|endoftext|>"],
    [
      { prompt: CHAT.slice(0, 3), completion: CHAT.slice(3), label: true, source: "x" },
      {},
      " on the ship<|endoftext|>",
    ],
    [{ messages: CHAT.slice(0, 2), label: 1, chosen: "x", score: 0.5 }, {}, whole],
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

Deno.test("SFTTrainer refuses data that are no dataset where they are given", async () => {
  const tokenizer = await chatTokenizer();
  const rows = [{ text: "x" }];
  const cases: [data: unknown, received: string][] = [
    [Promise.resolve(RowDataset.from(rows)), "received a Promise; await it first"],
    [{ a: rows, b: rows }, 'received an object with "a", "b"; give one dataset, and others to evaluate()'],
    ["file.jsonl", 'received the string "file.jsonl"; read a file with await loadDataset()'],
    [7, "received a number"],
  ];
  assertThrows(
    () => trainerOf(undefined as never, tokenizer),
    TypeError,
    "Cannot make a trainer: a trainDataset is required, received none",
  );
  const required = "must be an array of rows, what loadDataset() reads, or another dataset, ";
  for (const [data, received] of cases) {
    for (const name of ["trainDataset", "evalDataset"]) {
      assertThrows(
        () => trainerOf(rows, tokenizer, {}, { [name]: data }),
        TypeError,
        `Cannot make a trainer: ${name} ${required}${received}`,
      );
    }
    await assertRejects(
      () => trainerOf(rows, tokenizer).evaluate(data as SFTData),
      TypeError,
      `Cannot evaluate: the data ${required}${received}`,
    );
  }
});

Deno.test("SFTTrainer refuses rows and settings that do not fit, naming the row", async () => {
  const tokenizer = await chatTokenizer();
  const plain = await chatTokenizer(null);
  const { vocabSize } = tokenizer;
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
    [[{ inputIds: [1, 2, 3], labels: [1, 2] }], {}, "as many labels as ids are required, received 2 for 3"],
    [
      [{ input_ids: [1, 2] }, { input_ids: [1, 2, 999999] }],
      {},
      `Cannot train on row 2: ids of tokens (integers from 0 to ${
        vocabSize - 1
      }) are required, received 999999 as number 3`,
    ],
    [[{ inputIds: [1, -2] }], {}, "are required, received -2 as number 2"],
    [
      [{ inputIds: [1, 2], labels: [-100, vocabSize] }],
      {},
      `labels of -100 or ids of tokens (integers from 0 to ${
        vocabSize - 1
      }) are required, received ${vocabSize}`,
    ],
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
  const beyond = [{ inputIds: [1, model.facts.vocabSize] }];
  await assertRejects(
    () => trainerOf(beyond, tokenizer, {}, { model }).train(),
    TypeError,
    `row 1: ids of tokens (integers from 0 to ${model.facts.vocabSize - 1}) are required`, // the model's own limit
  );
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
    [
      [{ text: "x" }],
      {},
      "peftConfig must be the configuration of an adapter, such as new LoraConfig(), received object",
      {
        peftConfig: {},
      },
    ],
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

Deno.test("SFTTrainer refuses an outputDir that cannot be written to before it tokenizes rows", async () => {
  await inFolder(async (folder) => {
    const outputDir = `${folder}/file`;
    await Deno.writeTextFile(outputDir, "kept");
    const trainer = trainerOf([{ text: "x" }], await chatTokenizer(), { outputDir });
    const message = "Cannot train: a folder that can be written to is required";
    await assertRejects(() => trainer.train(), Error, message);
    assertEquals(trainer.dataStats, null);
  });
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
