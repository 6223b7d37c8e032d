/**
 * Files as rows: every format, in memory and read again by place; broken rows, mixtures and splits.
 * @module
 */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { gzipSync } from "node:zlib";
import { memoryFolder, openFile } from "../../../io/open_file.ts";
import { gunzip } from "../../../train/data/files/gzip.ts";
import { loadDataset, type LoadDatasetOptions, RowDataset } from "../../../train/mod.ts";
import { inFolder } from "../tiny_run.ts";

type Options = Partial<LoadDatasetOptions>;
const bytesOf = (text: string) => new TextEncoder().encode(text);

/** A file as a user picked it. */
const file = (name: string, contents: string | Uint8Array<ArrayBuffer>) => new File([contents], name);

async function gzipped(text: string): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Every row, and where it is. */
async function all(rows: RowDataset) {
  const values = [];
  for (let i = 0; i < rows.length; i++) values.push(await rows.at(i));
  await rows.close();
  return values;
}

const places = (rows: RowDataset) => Array.from({ length: rows.length }, (_, i) => rows.where(i));

const ROWS = [{ prompt: "Who,\nme?", completion: 'a "pirate" é' }, { prompt: "", completion: "on the ship" }];
const LINES = ROWS.map((row) => JSON.stringify(row)).join("\n");
const CSV = 'prompt,id,completion\r\n"Who,\nme?",1,"a ""pirate"" é"\r\n\r\n,2,on the ship';

const FILES: Readonly<Record<string, string>> = {
  "a.jsonl": `\ufeff${LINES}`,
  "blank lines.jsonl": `\n${LINES.replace("\n", "\r\n  \r\n")}\n\n`,
  "array.json": JSON.stringify(ROWS, null, 2) + "\n",
  "one line.JSON": `  [ ${LINES.replace("\n", ",")} ]`,
  "lines.json": LINES,
  "a.csv": CSV,
  "excel.csv": `\ufeff${CSV}\r\n`,
  "semicolons.csv": CSV.replaceAll(/,(?!\n)/g, ";"),
  "a.tsv": CSV.replaceAll(/,(?!\n)/g, "\t"),
};

/** Bytes one after another. */
const joined = (...parts: Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]));

Deno.test("loadDataset() reads every member of a .gz file, as gzip does", async () => {
  const half = LINES.indexOf("\n", LINES.length / 2) - 3; // members may end within a line
  const [first, second] = [await gzipped(LINES.slice(0, half)), await gzipped(LINES.slice(half))];
  const parts = [first, await gzipped(""), second];
  assertEquals(await all(await loadDataset(file("a.jsonl.gz", joined(...parts)))), ROWS);
  // stored as it is, what is packed may look like the beginning of a member
  const inner = Uint8Array.of(0x1f, 0x8b, 8, 0, 1);
  const stored = gzipSync(inner, { level: 0 });
  const source = await gunzip(await openFile(joined(stored, stored)));
  assertEquals(await source.read(0, source.size), joined(inner, inner));
});

for (const [name, text] of Object.entries(FILES)) {
  Deno.test(`loadDataset() reads ${name}, packed or not, in memory and by place`, async () => {
    for (const streaming of [false, true]) {
      const rows = await loadDataset(file(name, text), { streaming });
      assertEquals(await rows.at(2), undefined);
      assertEquals(await all(rows), ROWS);
      assertEquals(
        await all(await loadDataset(file(`${name}.gz`, await gzipped(text)), { streaming })),
        ROWS,
      );
    }
  });
}

Deno.test("loadDataset() takes the delimiter of .csv from its header alone, and a tab for .tsv", async () => {
  const cases: [name: string, contents: string, wanted: unknown][] = [
    ["a.tsv", "prompt\tcompletion\nq0\tanswer 0", { prompt: "q0", completion: "answer 0" }],
    ["one column.tsv", "text\na, b; c\n", { text: "a, b; c" }],
    [
      "a.csv",
      "prompt,completion\nq0 | x | y | z,answer 0\n",
      { prompt: "q0 | x | y | z", completion: "answer 0" },
    ],
    ["one column.csv", "text\none 0; two; three\nfour 0; five; six", { text: "one 0; two; three" }],
    ["b.csv", "text,id\nHello; I said; go; 0,0\nHello; I said; go; 1,1", { text: "Hello; I said; go; 0" }],
    ["c.csv", '"text;x",text\na;b,c', { text: "c" }],
    ["d.csv", "text|id\na, b, c; d|1", { text: "a, b, c; d" }],
    ["e.csv", '\ufeff"id";text\r\n1;a, b, c\r\n', { text: "a, b, c" }],
  ];
  for (const [name, contents, wanted] of cases) {
    for (const streaming of [false, true]) {
      assertEquals((await all(await loadDataset(file(name, contents), { streaming })))[0], wanted, name);
    }
  }
});

Deno.test("loadDataset() reads .txt as one document, and in pieces that end with lines where it is streamed", async () => {
  const text = Array.from({ length: 3000 }, (_, i) => `Line ${i} of a long tale é.\n`).join("");
  assertEquals(await all(await loadDataset(file("a.txt", text))), [{ text }]);
  const pieces = (await all(await loadDataset(file("a.txt", text), { streaming: true }))) as {
    text: string;
  }[];
  assertEquals(pieces.map(({ text }) => text).join(""), text);
  assert(pieces.length > 3 && pieces.every(({ text }) => text.endsWith(".\n") && text.length <= 16384));
  const unbroken = "é".repeat(20000);
  const halves =
    (await all(await loadDataset(file("b.txt", unbroken), { streaming: true }))) as typeof pieces;
  assertEquals(halves.map(({ text }) => text).join(""), unbroken);
});

const FIXTURES = new URL("../../fixtures/parquet/", import.meta.url);

Deno.test("loadDataset() reads .parquet of every compression, in memory and by place", async () => {
  const wanted = Array.from({ length: 7 }, (_, i) => ({
    messages: [{ role: "user", content: `question ${i}` }, { role: "assistant", content: `answer ${i} é` }],
    learnedFrom: 0,
  }));
  for (const compression of ["none", "snappy", "zstd", "gzip", "brotli", "lz4"]) {
    const url = new URL(`messages_${compression}.parquet`, FIXTURES);
    assertEquals(await all(await loadDataset(url)), wanted);
    const streamed = await loadDataset(url.pathname, { streaming: true });
    for (const i of [6, 0, 3]) assertEquals(await streamed.at(i), wanted[i]);
    assertEquals(streamed.where(3), `"${url.pathname}", row 4`);
    await streamed.close();
  }
  const tokens = await all(await loadDataset(new URL("tokens.parquet", FIXTURES)));
  assertEquals(tokens[4], { inputIds: [4, 5, 6], labels: [-100, 5, 6] });
  await assertRejects(
    () => loadDataset(new URL("texts.parquet", FIXTURES)),
    TypeError,
    'texts.parquet", row 2: an object with "text", ',
  );
});

Deno.test("loadDataset() takes paths, folders, picked files and folders in memory, one after another", async () => {
  await inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/b.csv`, "text\ntwo\n");
    await Deno.writeTextFile(`${folder}/a.jsonl`, '{"text": "one"}\n');
    await Deno.writeTextFile(`${folder}/README`, "no rows");
    const memory = memoryFolder({ "c.txt": bytesOf("three"), "d.bin": bytesOf("-") });
    const picked = [file("d.txt", "four"), file("e.jsonl.gz", await gzipped('{"text": "five"}'))];
    const rows = await loadDataset([folder, memory, picked, `${folder}/b.csv`]);
    assertEquals(await all(rows), ["one", "two", "three", "four", "five", "two"].map((text) => ({ text })));
    assertEquals(places(rows).slice(0, 3), [
      `"${folder}/a.jsonl", line 1`,
      `"${folder}/b.csv", line 2`,
      '"files in memory/c.txt", row 1',
    ]);
  });
});

Deno.test("loadDataset() reads columns of other names, and lists that .csv has as JSON", async () => {
  const rows = await loadDataset(file("a.jsonl", '{"body": "x", "text": 3}'), { columns: { text: "body" } });
  assertEquals(await all(rows), [{ text: "x" }]);
  const csv = 'messages,tools\n"[{""role"": ""user"", ""content"": ""Who?""}]",\n';
  const messages = [{ role: "user", content: "Who?" }];
  assertEquals(await all(await loadDataset(file("a.csv", csv))), [{ messages, learnedFrom: 0 }]);
  const judged = await loadDataset(file("a.csv", "prompt,completion,label\na,b,True\na,c,False\n"));
  assertEquals((await all(judged)).map((row) => (row as { label: boolean }).label), [true, false]);
});

Deno.test("loadDataset() names file and line of a row that it cannot read, or leaves it out and counts", async () => {
  type Case = [name: string, text: string | Uint8Array<ArrayBuffer>, where: string, problem: string];
  const bad = '"}\n{"text": "y"}';
  const cases: [...Case, wanted: string][] = [
    [
      ...["a.jsonl", '{"text": "x"}\n\n{"text": }\n{"text": "y"}', "line 3"] as const,
      `invalid JSON (Unexpected token '}', "{"text": }" is not valid JSON)`,
      "valid JSON is required, received invalid JSON (",
    ],
    [
      ...["a.jsonl", '{"text": "x"}\n{"body": "z"}\n{"text": "y"}', "line 2"] as const,
      'other keys or other values: "body"',
      'an object with "text", ',
    ],
    [
      ...["a.json", '[{"text": "x"}, {"text": 1}, {"text": "y"}]', "row 2"] as const,
      'other keys or other values: "text"',
      'an object with "text", ',
    ],
    [
      ...["a.json", '[{"text": "x"}, {"text" 1}, {"text": "y"}]', "row 2", "invalid JSON ("] as const,
      "valid JSON is required, received invalid JSON (",
    ],
    [
      ...["a.csv", 'text,n\n"x\nx",1\ny\ny,2\n', "line 4", "1 fields where the first line names 2"] as const,
      "a field for each column is required, received 1 fields where the first line names 2",
    ],
    [
      ...["a.csv", 'text\nx\n"y"z"\ny\n', "line 3", "quotes that do not fit ("] as const,
      "fields whose quotes fit are required, received quotes that do not fit (",
    ],
    [
      ...[
        "a.jsonl",
        Uint8Array.from([...bytesOf('{"text": "x"}\n{"text": "'), 0xe9, ...bytesOf(bad)]),
      ] as const,
      ...["line 2", "bytes that are not UTF-8"] as const,
      "UTF-8 text is required, received bytes that are not UTF-8",
    ],
  ];
  for (const [name, text, where, problem, wanted] of cases) {
    const error = await assertRejects(() => loadDataset(file(name, text)), TypeError, problem);
    assert(
      error.message.startsWith(`Cannot read "${name}", ${where}: ${wanted}`) && !error.message.includes("\n"),
      error.message,
    );
    for (const streaming of [false, true]) {
      const rows = await loadDataset(file(name, text), { onBadRow: "skip", streaming });
      assertEquals(rows.skippedCount, 1);
      assertEquals(rows.skipped[0].where, `"${name}", ${where}`);
      assert(rows.skipped[0].problem.startsWith(problem), rows.skipped[0].problem);
      const texts = (await all(rows)).map((row) => (row as { text: string }).text.replace("x\nx", "x"));
      assertEquals(texts, ["x", "y"]);
    }
  }
});

Deno.test("loadDataset() refuses what is no file of rows, by name", async () => {
  const cases: [string, string | Uint8Array<ArrayBuffer>, string, Options?][] = [
    ["a.jsonl", "", 'Cannot read "a.jsonl": at least one row is required, received none'],
    ["a.txt", "", 'Cannot read "a.txt": at least one row is required, received none'],
    ["a.csv", "text\n", 'Cannot read "a.csv": at least one row is required, received none'],
    ["a.json", "[]", 'Cannot read "a.json": at least one row is required, received none'],
    [
      "a.jsonl",
      "{}\n3\n",
      'received none that can be read; 2 were skipped, the first "a.jsonl", line 1: no key',
      { onBadRow: "skip" },
    ],
    ["a.json", '[{"text": "x"}', "a JSON array that ends with ] is required, received one without its end"],
    ["a.json", '[{"text": "x"}] [', "one JSON array is required, received more behind it"],
    [
      "a.csv",
      "text,text\na,b\n",
      "a first line with different names of columns is required, received text, text",
    ],
    ["a.parquet", "PAR1 and no more", 'Cannot read "a.parquet": a whole Parquet file is required: '],
    ["a.bin", "x", 'received ".bin"'],
    ["a.jsonl.gz", (await gzipped(LINES)).slice(0, 40), "whole gzip members are required: "],
    [
      "a.jsonl.gz",
      joined(await gzipped(LINES), (await gzipped(LINES)).slice(0, 40)),
      "whole gzip members are",
    ],
    ["a.jsonl.gz", joined(await gzipped(LINES), new TextEncoder().encode("more")), "whole gzip members are"],
    ["a.txt", Uint8Array.of(97, 0xe9), "UTF-8 text is required, received other bytes"],
    ["a.jsonl", LINES, "Cannot load a dataset: 1 weights are required", { weights: [1, 2] }],
    ["a.jsonl", LINES, "weights must be numbers of at least 0, not all of them 0", { weights: [0] }],
    ["a.jsonl", LINES, 'onBadRow must be "error" or "skip", received "drop"', { onBadRow: "drop" as never }],
    ["a.jsonl", LINES, "onBadRow", { onBadRows: "skip" } as never],
  ];
  for (const [name, text, message, options] of cases) {
    await assertRejects(() => loadDataset(file(name, text), options), Error, message);
  }
  await assertRejects(() => loadDataset("/nowhere/a.jsonl"), Error, "/nowhere/a.jsonl");
  await assertRejects(() => loadDataset([]), RangeError, "Cannot load a dataset: a file is required");
  await assertRejects(
    () => loadDataset(memoryFolder({ "a.bin": bytesOf("") })),
    RangeError,
    "received none in",
  );
});

Deno.test("loadDataset() says what it was given in place of files, and why a file fails that cannot be closed", async () => {
  const cases: [input: unknown, message: string][] = [
    [
      [{ text: "a" }],
      'received an object with "text"; rows in memory need no file: give them to the trainer',
    ],
    [[[{ text: "a" }]], 'received an object with "text"; rows'],
    [[{ name: "a.jsonl", size: 3 }], 'received an object with "name", "size"'],
    [Promise.resolve("a.jsonl"), "received a Promise; await it first"],
    [undefined, "received undefined"],
    [["a.jsonl", null].slice(1), "received null"],
    [7, "received a number"],
  ];
  for (const [input, message] of cases) {
    const error = await assertRejects(() => loadDataset(input as never), TypeError, message);
    assert(error.message.startsWith("Cannot load a dataset: paths, URLs, files that were picked, bytes or "));
  }
  const closing = () => Promise.reject(new Error("cannot close"));
  const read = () => Promise.reject(new Error("the disk is gone"));
  await assertRejects(
    () => loadDataset({ name: "a.jsonl", size: 3, read, close: closing }),
    Error,
    "the disk is gone",
  );
});

Deno.test("columns name what a row has, and a name that no row has is refused with the one that was meant", async () => {
  const rows = [{ body: "x" }];
  const load = (columns: Record<string, string>) =>
    loadDataset(file("a.json", JSON.stringify(rows)), { columns });
  await assertRejects(
    () => load({ txt: "body" }),
    TypeError,
    'Cannot load a dataset: unknown column "txt", did you mean "text"?',
  );
  await assertRejects(
    () => load({ body: "text" }),
    TypeError,
    'unknown column "body", the columns are "chosen", ',
  );
  assertThrows(() => RowDataset.from(rows, { txt: "body" }), TypeError, 'did you mean "text"?');
  assertEquals(await all(await load({ text: "body" })), [{ text: "x" }]);
});

const numbered = (name: string, count: number) =>
  file(`${name}.jsonl`, Array.from({ length: count }, (_, i) => `{"text": "${name}${i}"}`).join("\n"));
const textsOf = async (rows: RowDataset) => (await all(rows)).map((row) => (row as { text: string }).text);

Deno.test("loadDataset() mixes inputs by their weights: the same for a seed, in the order of each", async () => {
  const inputs = [numbered("a", 4000), numbered("b", 9000), numbered("c", 5)];
  const weights = [3, 1, 0];
  const texts = await textsOf(await loadDataset(inputs, { weights }));
  const from = (name: string, texts: string[]) => texts.filter((text) => text[0] === name);
  assertEquals(
    from("a", texts),
    Array.from({ length: 4000 }, (_, i) => `a${i}`),
    "the first that is used up ends it",
  );
  assert(Math.abs(from("b", texts).length / texts.length - 0.25) < 0.02);
  assertEquals(from("c", texts).length, 0);
  assertEquals(await textsOf(await loadDataset(inputs, { weights, streaming: true })), texts);
  assert((await textsOf(await loadDataset(inputs, { weights, seed: 7 }))).join() !== texts.join());
  const whole = await textsOf(
    await loadDataset([numbered("a", 3), numbered("b", 40)], {
      weights: [1, 1],
      stoppingStrategy: "all_exhausted",
    }),
  );
  assertEquals(new Set(whole).size, 43, "each at least once");
  assert(from("a", whole).length > 20, "the short one again and again");
  assertEquals(await textsOf(await loadDataset(inputs, { maxSamples: 3 })), ["a0", "a1", "a2"]);
});

Deno.test("rows that are read again must be as they were", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/a.jsonl`;
    await Deno.writeTextFile(path, '{"text": "one"}\n{"text": "two"}\n');
    const rows = await loadDataset(path, { streaming: true });
    assertEquals(await rows.at(1), { text: "two" });
    await Deno.writeTextFile(path, '{"body": "one"}\n{"body": "two"}\n');
    await assertRejects(
      async () => await rows.at(1),
      TypeError,
      `Cannot read "${path}", line 2 again: the file must stay as it was, received other keys or other values: "body"`,
    );
    await rows.close();
  });
});
