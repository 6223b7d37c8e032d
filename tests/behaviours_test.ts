/**
 * `docs/behaviours.md` names tests that are registered, run, and assert something.
 * @module
 */
import { assert, assertEquals } from "@std/assert";

const root = new URL("../", import.meta.url);

/** A test as a file registers it. */
interface Registered {
  readonly name: string;
  readonly ignored: boolean;
}

/** The tests that files register, which are not run. */
async function registeredBy(files: Iterable<string>): Promise<Map<string, Registered[]>> {
  const found = new Map<string, Registered[]>();
  let here: Registered[] = [];
  const register = (ignored: boolean) => (...args: unknown[]) => {
    const [first] = args;
    const options = (typeof first === "object" ? first : {}) as { name?: string; ignore?: boolean };
    const name = typeof first === "string" ? first : options.name ?? (first as { name: string }).name;
    here.push({ name, ignored: ignored || (options.ignore ?? false) });
  };
  const { test } = Deno;
  const stand = Object.assign(register(false), { ignore: register(true), only: register(false) });
  (Deno as { test: unknown }).test = stand;
  try {
    for (const file of files) {
      here = [];
      await import(new URL(`tests/${file}`, root).href);
      found.set(file, here);
    }
  } finally {
    (Deno as { test: unknown }).test = test;
  }
  return found;
}

/** The text of the tests whose names end in `name`, each from its first line to the end of its block. */
function bodiesOf(source: string, name: string): string[] {
  const lines = source.split("\n");
  return lines.flatMap((line, i) => {
    const named = ['"', "'", "`"].some((quote) => line.includes(`${name}${quote}`));
    if (!named || !line.endsWith("{") || !/^(?: *Deno\.test\(| {2}"| {2}name:)/.test(line)) return [];
    const indent = /^ */.exec(line)![0];
    const end = lines.findIndex((other, j) => j > i && other.startsWith(`${indent}}`));
    return [lines.slice(i, end).join("\n")];
  });
}

/** The text of a test file, and of the files beside it that it imports: some of them register its tests. */
async function sourceOf(file: string): Promise<string> {
  const url = new URL(`tests/${file}`, root);
  const text = await Deno.readTextFile(url);
  const beside = [...text.matchAll(/ from "(\.\/[^"]+)"/g)].map(([, path]) =>
    Deno.readTextFile(new URL(path, url))
  );
  return [text, ...await Promise.all(beside)].join("\n");
}

const page = await Deno.readTextFile(new URL("docs/behaviours.md", root));
const rows = [...page.matchAll(/^\| (\d+) +\| (.+?) +\| (\S+\.ts) +\| (.+?) +\|$/gm)]
  .map(([, number, , file, name]) => ({ number: Number(number), file, name }));

Deno.test("docs/behaviours.md has a line for each of the 47 behaviours", () => {
  assertEquals(
    new Set(rows.map(({ number }) => number)),
    new Set(Array.from({ length: 47 }, (_, i) => i + 1)),
  );
  const lines = page.split("\n").filter((line) => /^\| *\d/.test(line));
  assertEquals(lines.length, rows.length, "every line has a number, a file and a test");
});

Deno.test("the tests that docs/behaviours.md names are registered, not ignored, and assert something", async () => {
  const registered = await registeredBy(new Set(rows.map(({ file }) => file)));
  for (const { number, file, name } of rows) {
    const label = `behaviour ${number}: tests/${file} "${name}"`;
    const own = registered.get(file)!.filter((test) => test.name.endsWith(name));
    assert(own.length > 0, `${label} is registered`);
    assert(own.every(({ ignored }) => !ignored), `${label} is not ignored`);
    if (/contract_test|bad_adapter_test/.test(file)) assert(own.length > 5, `${label} runs for many methods`);
    const bodies = bodiesOf(await sourceOf(file), name);
    assert(bodies.length > 0, `${label} has a text`);
    for (const body of bodies) {
      assert(
        /\bassert\w*(?:<[^>]*>)?\(|\bawait (?:check|expect|refuse)\w*\(/.test(body),
        `${label} asserts something`,
      );
      assert(
        !/^\s*(?:if \(.*\) )?return(?: Promise\.resolve\(\))?;/m.test(body),
        `${label} never returns early`,
      );
    }
  }
});
