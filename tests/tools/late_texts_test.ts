import { assert, assertEquals, assertMatch } from "@std/assert";
import * as gpu from "../../gpu/errors.ts";
import { JsonFileError } from "../../io/json.ts";
import { SafetensorsError } from "../../io/safetensors_header.ts";
import { NoMatchingModuleError } from "../../peft/targets/targets.ts";
import { KINDS } from "../../tools/find_texts.ts";
import { lateTexts } from "../../tools/late_texts.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const M = `${ROOT}nn/m.ts`;

/** What becomes of a module, and the module that makes its texts. */
async function split(code: string) {
  const { plugin, entry, useOnly } = lateTexts("a_texts.js", () => Promise.resolve(code));
  const load = async (id: string) => String(await (plugin.load as (id: string) => Promise<unknown>)(id));
  await useOnly([M]);
  const [first = ""] = code.match(/(?<=")\0.*?(?=")/) ?? [];
  return {
    code: plugin.transform(code, M)!.code,
    texts: await load(`${M}?texts`),
    first: await load("\0late_texts"),
    all: await load(entry),
    entry,
    foreign: first,
  };
}

const lines = (code: string) => code.split("\n").filter((line) => line !== "");

/** A module's code without the import that every module gets. */
const own = (code: string) => lines(code.replace(/^import \{ completed.*?;/, ""));

Deno.test("lateTexts() takes the text of an error out of a module, with what the text alone uses", async () => {
  const { code, texts } = await split(`import { quote } from "./quote.ts";
const MOST = 3;
export const NAMES = ["a"];
let last = "none";
function described(values) { return values.join(" and "); }
export function check(name, { length }, values) {
  const received = described(values);
  if (length > MOST) throw new TypeError(\`Cannot read \${quote(name)}: at most \${MOST}, received \${received} after \${last}\`);
  return new RangeError(values.map((each) => NAMES.indexOf(each) + each + "x").join(), { cause: values });
}`);
  assertEquals(own(code), [
    'import { quote } from "./quote.ts";',
    "const MOST = 3;",
    'export const NAMES = ["a"];',
    'let last = "none";',
    'function described(values) { return values.join(" and "); }',
    "export function check(name, { length }, values) {",
    "  ",
    "  if (length > MOST) throw lateError(0, TypeError, last, values, name);",
    "  return lateErrorWith({ cause: values }, 1, RangeError, values);",
    "}",
    "export { described as text_described, MOST as text_MOST };",
  ]);
  assertEquals(lines(texts), [
    'import { text_described as described } from "./m.ts";',
    'import { quote } from "./quote.ts";',
    'import { text_MOST as MOST } from "./m.ts";',
    'import { NAMES as NAMES } from "./m.ts";',
    "export const texts = [",
    "(value_0, values, name) => { const received = described(values); return (`Cannot read ${quote(name)}: " +
    "at most ${MOST}, received ${received} after ${value_0}`); },",
    '(values) => { return (values.map((each) => NAMES.indexOf(each) + each + "x").join()); }',
    "];",
  ]);
});

Deno.test("lateTexts() computes at the place of an error what has a meaning only there", async () => {
  const { code, texts } = await split(`class A {
  #size = 2;
  f(list, other) {
    throw new Error(\`\${this.#size} of \${this.b.c.join()} in \${this.d(list)} \${this.e?.f.g()} \${this.b.c.length}\`);
  }
  g(list, other) { throw new Error("all of " + list.map((each) => this.d(each)).join() + other.#size); }
  async h() { throw new Error(\`\${await this.d()} and \${arguments.length} more of the values\`); }
}`);
  assertEquals(own(code), [
    "class A {",
    "  #size = 2;",
    "  f(list, other) {",
    "    throw lateError(0, Error, this.#size, this.b.c, this.d(list), this.e?.f.g(), this.b.c.length);",
    "  }",
    "  g(list, other) { throw lateError(1, Error, (each) => this.d(each), other.#size, list); }",
    "  async h() { try { throw lateError(2, Error, await this.d(), arguments.length); } catch (failure) { " +
    "throw await completed(failure); }}",
    "}",
  ]);
  assertEquals(lines(texts).slice(1, -1), [
    "(value_0, value_1, value_2, value_3, value_4) => { return (`${value_0} of ${value_1.join()} in ${value_2} " +
    "${value_3} ${value_4}`); },",
    '(value_0, value_1, list) => { return ("all of " + list.map(value_0).join() + value_1); },',
    "(value_0, value_1) => { return (`${value_0} and ${value_1} more of the values`); }",
  ]);
});

Deno.test("lateTexts() leaves short texts, other classes and constants with other uses where they are", async () => {
  const code = `export function f(name, count) {
  const wanted = count + 1;
  const before = count--;
  if (name) throw new TypeError("a name is required");
  if (wanted) throw new OwnError("a text of an error with a constructor of its own");
  const each = wanted * 2;
  note(each);
  console.warn("a text that is no error's, however long it may be");
  throw new Error(\`one of \${name} is required, \${each} and \${before} are wanted\`);
}`;
  const { code: after } = await split(code);
  assertEquals(
    own(after),
    lines(code.replace(/new Error\(.*\)/, "lateError(0, Error, name, each, before)")),
  );
});

Deno.test("lateTexts() takes out texts that a function of the module throws, and none of another bundle", async () => {
  const { code } = await split(`import { refuse } from "\\0other";
function problemOf(name) { return name; }
function f(defect) { defect("a text of more than thirty characters", 1); refuse("a text of more than thirty characters"); }
function g(fail, name) { fail(problemOf(name), length(name)); }`);
  assertEquals(own(code), [
    'import { refuse } from "\\0other";',
    "function problemOf(name) { return name; }",
    'function f(defect) { defect(lateText(0), 1); refuse("a text of more than thirty characters"); }',
    "function g(fail, name) { fail(lateText(1, name), length(name)); }",
    "export { problemOf as text_problemOf };",
  ]);
});

Deno.test("the classes whose texts are taken out have the constructor of Error", () => {
  const classes: Record<string, unknown> = {
    ...gpu,
    JsonFileError,
    NoMatchingModuleError,
    SafetensorsError,
  };
  for (const name of KINDS) {
    const Kind = (classes[name] ?? (globalThis as Record<string, unknown>)[name]) as ErrorConstructor;
    const error = new Kind("a text", { cause: 3 });
    assertEquals([error.message, error.cause, error.name], ["a text", 3, name]);
  }
});

type Run = {
  readonly m: {
    readonly f: (kind: string, given: unknown) => Error;
    readonly g: (inner: Error) => Error;
    readonly h: (problem?: string) => string;
    readonly wait: (error: Error) => Promise<never>;
  };
  readonly load: () => Promise<unknown>;
};

const RUN = `export function f(name, given) {
  return new TypeError(\`Cannot take "\${name}": a list is required, received \${given.join("$&")}\`, { cause: 3 });
}
export function g(inner) {
  return new RangeError(\`Cannot go on: \${inner.message.replace(/^Cannot/, "cannot")}\`, { cause: inner });
}
export function h(name) { return refuse(\`the name must be another one, received \${name}\`); }
function refuse(text) { return text; }
export async function wait(error) { throw error; }`;

/** Runs `RUN` without its texts in a folder that has the other file, or not. */
async function withRun(run: (made: Run) => Promise<void>, isThere = true): Promise<void> {
  const { code, texts, first, all, entry } = await split(RUN);
  const folder = await Deno.makeTempDir();
  const write = (name: string, text: string) =>
    Deno.writeTextFile(
      `${folder}/${name}`,
      text.replaceAll(/"(\0|\\0|\\u0000)late_texts"/g, '"./first.js"').replaceAll(
        JSON.stringify(entry),
        '"./all.js"',
      )
        .replaceAll(JSON.stringify(`${M}?texts`), '"./texts.js"'),
    );
  const { error: print } = console;
  try {
    await write("m.js", code);
    await write("texts.js", texts);
    await write("first.js", first);
    if (isThere) await write("all.js", all);
    await run({ m: await import(`${folder}/m.js`), load: () => import(`${folder}/all.js`) });
  } finally {
    console.error = print;
    await Deno.remove(folder, { recursive: true });
  }
}

/** Collects what is printed as errors until `withRun` ends. */
function printed(): unknown[] {
  const found: unknown[] = [];
  console.error = (...values) => found.push(...values);
  return found;
}

const WHOLE = 'Cannot take "a": a list is required, received 1$&2';
const SHORT = (number: number, at: number) =>
  `Cannot show this error: import ./a_texts.js first (${number}.${at})`;

Deno.test("an error whose text is not there says which file has it, and is completed and printed when it is", async () => {
  await withRun(async ({ m, load }) => {
    const found = printed();
    const error = m.f("a", [1, 2]);
    assert(error instanceof TypeError);
    assertEquals([error.message, error.cause], [SHORT(0, 0), 3]);
    const outer = m.g(error);
    await load();
    assertEquals(error.message, WHOLE);
    assertMatch(error.stack!, /^TypeError: Cannot take "a": a list is required, received 1\$&2\n/);
    assertEquals(outer.message, `Cannot go on: ${WHOLE.replace("Cannot", "cannot")}`);
    assertEquals(found, [outer]); // and not its cause
    assertEquals(m.f("b", []).message, 'Cannot take "b": a list is required, received ');
    assertEquals(found.length, 1);
  });
});

Deno.test("an asynchronous function fails with the whole text, also of an error that another text is part of", async () => {
  await withRun(async ({ m }) => {
    const found = printed();
    const rejected = async (error: Error) => {
      const failure = await m.wait(error).catch((failure) => failure);
      assert(failure === error);
      return failure.message;
    };
    const text = m.h("b");
    assertEquals(text, SHORT(2, 0));
    const late = [
      rejected(m.f("a", [1, 2])),
      rejected(new Error(`Here: ${text}`)),
      rejected(new Error("plain")),
    ];
    assertEquals(await Promise.all(late), [
      WHOLE,
      "Here: the name must be another one, received b",
      "plain",
    ]);
    assertEquals(found, []);
  });
});

Deno.test("an error stays as it is where the file of the texts cannot be loaded", async () => {
  await withRun(async ({ m }) => {
    const found = printed();
    const error = m.f("a", [1, 2]);
    assert(await m.wait(error).catch((failure) => failure) === error);
    assertEquals([error.message, found], [SHORT(0, 0), []]);
    assertEquals(m.f("a", [1, 2]).message, SHORT(0, 0)); // nothing is kept for ever
  }, false);
});

Deno.test("errors are whole at once where the file of the texts was loaded first", async () => {
  await withRun(async ({ m, load }) => {
    const found = printed();
    await load();
    assertEquals(m.f("a", [1, 2]).message, WHOLE);
    assertEquals(m.h("b"), "the name must be another one, received b");
    assertEquals(found, []);
  });
});
