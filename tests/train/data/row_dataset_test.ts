/**
 * Rows by number: parts of them, in other orders.
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { loadDataset, RowDataset } from "../../../train/mod.ts";

/** The texts of all rows. */
async function textsOf(dataset: RowDataset): Promise<string[]> {
  const texts: string[] = [];
  for await (const row of dataset) texts.push("text" in row ? row.text : "");
  return texts;
}

const joined = async (dataset: RowDataset) => (await textsOf(dataset)).join("");

/** A file of `count` rows: a0, a1, … */
const numbered = (name: string, count: number) =>
  new File(Array.from({ length: count }, (_, i) => `{"text":"${name}${i}"}\n`), `${name}.jsonl`);

Deno.test("RowDataset.trainTestSplit() gives every row to one part, the same for a seed, and in the old order", async () => {
  const rows = await loadDataset(numbered("a", 101));
  const { train, test } = rows.trainTestSplit({ testSize: 0.1, seed: 3 });
  const [trained, tested] = [await textsOf(train), await textsOf(test)];
  assertEquals([trained.length, tested.length], [90, 11]);
  assertEquals(new Set([...trained, ...tested]).size, 101);
  const numbers = tested.map((text) => Number(text.slice(1)));
  assertEquals(numbers, numbers.toSorted((a, b) => a - b));
  assertEquals(await textsOf(rows.trainTestSplit({ testSize: 0.1, seed: 3 }).test), tested);
  assert((await textsOf(rows.trainTestSplit({ testSize: 0.1, seed: 4 }).test)).join() !== tested.join());
  assertEquals(test.where(0), `"a.jsonl", line ${numbers[0] + 1}`);
  const again = await textsOf(train.trainTestSplit({ testSize: 0.5 }).test);
  assert(again.every((text) => trained.includes(text)), "a part of a part");
  for (const testSize of [0, 1, 0.999, NaN]) {
    assertThrows(
      () => rows.trainTestSplit({ testSize }),
      RangeError,
      "Cannot split 101 rows: testSize must be",
    );
  }
});

Deno.test("RowDataset.from() takes rows in memory, and names the one that is none", () => {
  const rows = RowDataset.from([{ text: "x" }, { instruction: "who", output: "me" }]);
  assertEquals([rows.length, rows.at(0), rows.where(1)], [2, { text: "x" }, "row 2"]);
  assertThrows(() => RowDataset.from([{ text: "x" }, 7]), TypeError, "Cannot read row 2: an object with");
});

Deno.test("RowDataset.select(), shuffle() and filter() choose rows, which are read as before", async () => {
  const rows = await loadDataset(new Blob(["a", "b", "c", "d", "e"].map((text) => `{"text":"${text}"}\n`)), {
    format: "jsonl",
  });
  assertEquals(await joined(rows.select([3, 0, 3])), "dad");
  assertEquals(await joined(rows.select(new Set([4]))), "e");
  const mixed = rows.shuffle({ seed: 1 });
  assertEquals((await textsOf(mixed)).sort().join(""), "abcde");
  assert(await joined(mixed) !== "abcde");
  assertEquals(await joined(rows.shuffle({ seed: 1 })), await joined(mixed));
  assert(await joined(rows.shuffle({ seed: 2 })) !== await joined(mixed));
  assertEquals(await joined(rows), "abcde", "the rows themselves stay as they are");
  const kept = await rows.filter((row, i) => "text" in row && row.text !== "b" && i !== 4);
  assertEquals([await joined(kept), kept.length], ["acd", 3]);
  assertEquals(await joined(kept.select([1])), "c", "a number of the chosen rows");
  assertEquals(await joined(await kept.filter(() => Promise.resolve(false))), "");
  assertEquals(kept.where(2).endsWith("line 4"), true, kept.where(2));
  for (const index of [5, -1, 1.5]) {
    assertThrows(
      () => rows.select([index]),
      RangeError,
      `Cannot select rows: numbers from 0 to 4 are required, received ${index}`,
    );
  }
  await rows.close();
});
