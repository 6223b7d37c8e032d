import { assertEquals, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { DataLoader, defaultDataCollator, type Example, TextDataset } from "../../../train/mod.ts";

/** One id a UTF-16 unit; 0 ends a text. */
const tokenizer = {
  encode: (text: string) => Array.from(text, (char) => char.charCodeAt(0)),
  eosTokenId: 0,
};
const ids = (text: string) => tokenizer.encode(text);
const all = (dataset: TextDataset) => Array.from({ length: dataset.length }, (_, i) => dataset.at(i)!);

async function inFile<T>(
  name: string,
  bytes: string | Uint8Array,
  body: (path: string) => Promise<T>,
): Promise<T> {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/${name}`;
    await Deno.writeFile(path, typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes);
    return await body(path);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const load = (name: string, bytes: string | Uint8Array, blockSize = 4) =>
  inFile(name, bytes, (path) => TextDataset.fromFile(path, tokenizer, { blockSize }));

Deno.test("TextDataset.fromTexts() packs documents with the end of text between them and drops the rest", () => {
  const dataset = TextDataset.fromTexts(["abcde", "", "fgh", "ij"], tokenizer, { blockSize: 4 });
  assertEquals(all(dataset).map(({ inputIds }) => inputIds), [ids("abcd"), [...ids("e"), 0, ...ids("fg")], [
    ...ids("h"),
    0,
    ...ids("ij"),
  ]]);
  for (const { inputIds, labels } of all(dataset)) assertEquals(labels, inputIds);
  assertEquals([dataset.at(3), dataset.at(-1)], [undefined, undefined]);
});

Deno.test("TextDataset.fromTexts() joins documents of a tokenizer without an end of text", () => {
  const plain = { ...tokenizer, eosTokenId: null };
  const dataset = TextDataset.fromTexts(["ab", "cde"], plain, { blockSize: 2 });
  assertEquals(all(dataset).map(({ inputIds }) => inputIds), [ids("ab"), ids("cd")]);
});

Deno.test("TextDataset.fromFile() takes a text file as one document", async () => {
  const dataset = await load("notes.txt", "\ufeffab\ncd\n\nef");
  assertEquals(all(dataset).map(({ inputIds }) => inputIds), [ids("ab\nc"), ids("d\n\ne")]);
});

Deno.test("TextDataset.fromFile() packs the text rows of .jsonl", async () => {
  const dataset = await load("rows.jsonl", `{"text": "abc"}\r\n\r\n{"text": "defg", "source": 1}\r\n`);
  assertEquals(all(dataset).map(({ inputIds }) => inputIds), [[...ids("abc"), 0], ids("defg")]);
});

Deno.test("TextDataset.fromFile() makes an example of each prompt and completion, labels over the completion", async () => {
  const rows = [
    { prompt: "ab", completion: "c" },
    { prompt: "abcdefgh", completion: "ij" },
    { prompt: "a", completion: "bcdefgh" },
    { prompt: "", completion: "xy" },
  ];
  const dataset = await load("pairs.jsonl", rows.map((row) => JSON.stringify(row)).join("\n"), 5);
  assertEquals(all(dataset), [
    { inputIds: [...ids("abc"), 0], labels: [-100, -100, ...ids("c"), 0] },
    { inputIds: [...ids("ghij"), 0], labels: [-100, -100, ...ids("ij"), 0] },
    { inputIds: ids("abcde"), labels: [-100, ...ids("bcde")] },
    { inputIds: [...ids("xy"), 0], labels: [...ids("xy"), 0] },
  ]);
});

Deno.test("TextDataset.fromFile() names what is wrong with a file, and the line", async () => {
  const cases: [string, string | Uint8Array, typeof TypeError | typeof RangeError, string][] = [
    ["empty.txt", "", RangeError, `empty.txt": text is required, received none`],
    [
      "short.txt",
      "abc",
      RangeError,
      `short.txt": at least one block of 4 tokens is required, received 3; lower blockSize`,
    ],
    ["latin.txt", Uint8Array.of(97, 0xe9, 98, 99), TypeError, `UTF-8 text is required, received other bytes`],
    [
      "bad.jsonl",
      `{"text": "abcd"}\n\n{"text": `,
      TypeError,
      `bad.jsonl", line 3: valid JSON is required, received invalid JSON (`,
    ],
    [
      "list.jsonl",
      `["abcd"]`,
      TypeError,
      `line 1: an object with "text", "question" with "answer", "instruction" with "output", "prompt" with "completion", "prompt" with "completion" with "label", "conversations", "messages", "input_ids" or "chosen" with "rejected" is required, received an array`,
    ],
    [
      "keys.jsonl",
      `{"body": "abcd"}`,
      TypeError,
      `received other keys or other values: "body"`,
    ],
    [
      "half.jsonl",
      `{"prompt": "abcd"}`,
      TypeError,
      `received other keys or other values: "prompt"`,
    ],
    [
      "pairs.jsonl",
      `{"prompt": "a", "chosen": "b", "rejected": "c"}`,
      TypeError,
      `line 1: a text or an answer to learn is required, received "chosen" and "rejected", which preference tuning takes`,
    ],
    ["nothing.jsonl", `\n\n`, RangeError, `text is required, received none`],
  ];
  for (const [name, bytes, kind, message] of cases) {
    await assertRejects(() => load(name, bytes), kind, message);
  }
  await assertRejects(
    () => TextDataset.fromFile("/nowhere.txt", tokenizer, { blockSize: 4 }),
    Error,
    "/nowhere.txt",
  );
  assertThrows(
    () => TextDataset.fromTexts(["abc"], tokenizer, { blockSize: 1 }),
    RangeError,
    "Cannot make a dataset: blockSize must be an integer of at least 2, received 1",
  );
  assertThrows(
    () => TextDataset.fromTexts("abc", tokenizer, { blockSize: 2 }),
    TypeError,
    'Cannot make a dataset: a list of texts is required, received the string "abc"',
  );
});

Deno.test("defaultDataCollator() pads ids, labels and mask on the right, and leaves the mask out without padding", () => {
  const collate = defaultDataCollator(9);
  assertEquals(collate([{ inputIds: [1, 2] }, { inputIds: [3, 4], labels: [-100, 4] }]), {
    inputIds: [[1, 2], [3, 4]],
    labels: [[1, 2], [-100, 4]],
  });
  assertEquals(collate([{ inputIds: [1, 2, 3] }, { inputIds: [4], labels: [4] }]), {
    inputIds: [[1, 2, 3], [4, 9, 9]],
    labels: [[1, 2, 3], [4, -100, -100]],
    attentionMask: [[1, 1, 1], [1, 0, 0]],
  });
  assertEquals(collate([{ inputIds: [1, 2], attentionMask: [0, 1] }]).attentionMask, [[0, 1]]);
  assertThrows(
    () => collate([{ inputIds: [1, 2], labels: [1] }]),
    TypeError,
    "Cannot make a batch: labels, attentionMask and sequenceIds as long as inputIds are required, received 1,2,2 for 2 ids",
  );
  for (
    const [row, received] of [["Ahoy", 'the string "Ahoy"'], [{ text: "Ahoy" }, 'an object with "text"']]
  ) {
    assertThrows(
      () => collate([row as never]),
      TypeError,
      `Cannot make a batch: examples with inputIds are required, received ${received}; make them of texts with TextDataset.fromTexts(), of rows with SFTTrainer`,
    );
  }
});

const numbered = (n: number): Example[] => Array.from({ length: n }, (_, i) => ({ inputIds: [i, i] }));
const firsts = (loader: DataLoader, epoch: number, from = 0) =>
  [...loader.batches(epoch, from)].map(({ inputIds }) => inputIds.map(([id]) => id));

Deno.test("DataLoader gives each example once an epoch, in an order of seed and epoch", () => {
  const dataset = numbered(23);
  const loader = new DataLoader(dataset, { batchSize: 4, shuffle: true, seed: 5 });
  assertEquals(loader.length, 6);
  const epochs = [0, 1, 2].map((epoch) => firsts(loader, epoch).flat());
  for (const order of epochs) {
    assertEquals(order.toSorted((a, b) => a - b), dataset.map((_, i) => i));
  }
  assertNotEquals(epochs[0], epochs[1]);
  const again = new DataLoader(dataset, { batchSize: 4, shuffle: true, seed: 5 });
  assertEquals(firsts(again, 1).flat(), epochs[1]);
  // Seed 6 in epoch 0 is not seed 5 in epoch 1.
  const other = new DataLoader(dataset, { batchSize: 4, shuffle: true, seed: 6 });
  assertNotEquals(firsts(other, 0).flat(), epochs[1]);
  assertEquals(firsts(loader, 1, 2), firsts(loader, 1).slice(2));
});

Deno.test("DataLoader keeps the last batch, or drops it", () => {
  assertEquals(firsts(new DataLoader(numbered(5), { batchSize: 2 }), 0), [[0, 1], [2, 3], [4]]);
  assertEquals(firsts(new DataLoader(numbered(5), { batchSize: 2, dropLast: true }), 0), [[0, 1], [2, 3]]);
});

Deno.test("DataLoader refuses empty datasets and sizes that give no batch", () => {
  assertThrows(
    () => new DataLoader([], { batchSize: 2 }),
    RangeError,
    "Cannot make batches: a dataset of at least one example is required, received none",
  );
  assertThrows(
    () => new DataLoader(numbered(3), { batchSize: 0 }),
    RangeError,
    "Cannot make batches: batchSize must be an integer of at least 1, received 0",
  );
  assertThrows(
    () => new DataLoader(numbered(3), { batchSize: 4, dropLast: true }),
    RangeError,
    "Cannot make batches: at least 4 examples are required with dropLast, received 3",
  );
  assertThrows(
    () => [...new DataLoader({ length: 2, at: () => undefined }, { batchSize: 1 }).batches(0)],
    TypeError,
    "Cannot make batches: the dataset must have an example at 0 of 2, received none",
  );
});
