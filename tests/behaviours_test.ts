/**
 * `docs/behaviours.md` names tests that exist.
 * @module
 */
import { assert, assertEquals } from "@std/assert";

const root = new URL("../", import.meta.url).pathname;

Deno.test("docs/behaviours.md names an existing test for each of the 47 behaviours", async () => {
  const page = await Deno.readTextFile(`${root}docs/behaviours.md`);
  const rows = [...page.matchAll(/^\| (\d+) +\| (.+?) +\| (\S+\.ts) +\| (.+?) +\|$/gm)];
  assertEquals(
    new Set(rows.map(([, number]) => Number(number))),
    new Set(Array.from({ length: 47 }, (_, i) => i + 1)),
  );
  const lines = page.split("\n").filter((line) => /^\| *\d/.test(line));
  assertEquals(lines.length, rows.length, "every line has a number, a file and a test");
  for (const [, number, , file, test] of rows) {
    const source = await Deno.readTextFile(`${root}tests/${file}`);
    // The whole name, or what follows a placeholder in it.
    const named = source.split("\n").some((line) =>
      ['"', "'", "`"].some((quote) => line.includes(`${test}${quote}`)) &&
      /Deno\.test\(|^ {2}"/.test(line)
    );
    assert(named, `behaviour ${number}: tests/${file} has a test "${test}"`);
  }
});
