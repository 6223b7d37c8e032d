import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { rollup } from "rollup";
import { lateFunctions, type Names, type Restarted } from "../../tools/late_functions.ts";
import { splitModules } from "../../tools/split_modules.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

const CURE = 'import "./more.js" first';

/** A module with functions and a class that are first and last in turn. */
const CODE = `export const early = [shown]; // as a function that is declared below may be used
export function shown(name = "x") { return "shown " + name + (this?.mark ?? ""); }
const arrow = (a, b) => a + b;
export { arrow as sum };
async function fetched(a) { return a * 2; }
export function* counted(n) { for (let i = 0; i < n; i++) yield i; }
class Base { describe() { return "base"; } }
export class Box extends Base {
  #count = 0;
  #other = 5;
  add(n) { this.#count += n; return this; }
  get count() { return this.#count; }
  set count(n) { this.#count = n; }
  #double() { return 2 * this.#count + (this?.#other ?? 0); }
  double() { return this.#double(); }
  describe() { return super.describe() + " " + this.#count; }
  async later(n) { return this.#count + n; }
  static isOne(value) { return #count in value; }
  first() { return "first"; }
}
export class Calls {
  runs = 0;
  streamed = [];
  async answer(n, { bad = false } = {}) {
    this.runs++;
    if (bad) throw new RangeError("bad");
    return shown(n).length + await fetched(n);
  }
  static make(box) { return Promise.resolve(box.double()); }
}
export const Auto = { async load(a) { try { return arrow(a, 1); } catch (e) { throw new Error("wrapped: " + e.message); } } };
`;

const COLD: Names = {
  "nn/m.ts": [
    ...["shown", "arrow", "fetched", "counted"],
    ...["Box.add", "get Box.count", "set Box.count", "Box.#double", "Box.describe", "Box.later"],
  ],
};
const RESTARTED: Restarted = {
  "nn/m.ts": {
    "Calls.answer": { loadsAfter: true },
    "static Calls.make": { loadsAfter: false },
    "Auto.load": { loadsAfter: false },
  },
};

/** The module and the file that it leaves functions to, built and imported; the file may be missing. */
async function built(names: Names = COLD, { isThere = true } = {}) {
  const plugin = lateFunctions(names, RESTARTED, CURE);
  const main = `${ROOT}nn/m.ts`;
  const used = new Set(["early", "shown", "sum", "counted", "Box", "Calls", "Auto"]);
  const transformed = () => Promise.resolve(plugin.transform(CODE, main)!.code);
  const { parts, imports } = splitModules(new Map([[main, used]]), transformed);
  const bundle = await rollup({
    input: "main",
    plugins: [
      {
        name: "modules",
        resolveId(specifier, importer) {
          if (specifier === "main") return main;
          if (specifier.startsWith(ROOT)) return specifier;
          return specifier.startsWith(".") ? new URL(specifier, `file://${importer}`).pathname : null;
        },
      },
      plugin,
      parts,
      { name: "code", load: (id) => id.split("?")[0] === main ? CODE : null },
      imports,
    ],
  });
  const { output } = await bundle.generate({ format: "es" });
  const folder = await Deno.makeTempDir();
  const chunks = output.filter((file) => file.type === "chunk");
  const write = async (isLate: boolean) => {
    for (const { isDynamicEntry, fileName, code } of chunks) {
      if (isDynamicEntry === isLate) await Deno.writeTextFile(`${folder}/${fileName}`, code);
    }
  };
  await write(false);
  if (isThere) await write(true);
  assertEquals(chunks.filter(({ isDynamicEntry }) => isDynamicEntry).length, 1);
  return {
    code: chunks.filter(({ isDynamicEntry }) => !isDynamicEntry).map((chunk) => chunk.code).join("\n"),
    // deno-lint-ignore no-explicit-any
    lib: await import(`file://${folder}/${chunks[0].fileName}`) as any,
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

const MISSING = "Cannot finish the call: a part of it is still to be loaded; " + CURE;

Deno.test("lateFunctions() leaves functions to a file that the first call fetches", async () => {
  await using made = await built();
  const { lib, code } = made;
  for (const text of [`"shown " +`, "a + b", "super.describe"]) assert(!code.includes(text), text);
  assert(code.includes('"first"'));
  const box = new lib.Box();
  for (const call of [() => lib.shown("y"), () => lib.sum(1, 2), () => lib.counted(2), () => box.add(1)]) {
    assertThrows(call, Error, MISSING);
  }
  assertThrows(() => box.count, Error, MISSING);
  assertThrows(() => box.count = 2, Error, MISSING);
  assertEquals([box.first(), lib.Box.isOne(box), lib.Box.isOne({})], ["first", true, false]);
  assertEquals(await box.later(3), 3);
  // they are there now, also where they were named before
  assertEquals(lib.early[0].call({ mark: "!" }, "y"), "shown y!");
  assertEquals([lib.shown(), lib.sum(1, 2), [...lib.counted(2)]], ["shown x", 3, [0, 1]]);
  assertEquals(box.add(2).add(3).count, 5);
  box.count = 7;
  assertEquals([box.count, box.double(), box.describe()], [7, 19, "base 7"]);
  assertEquals([Object.keys(box), JSON.stringify(box)], [[], "{}"]);
});

Deno.test("lateFunctions() lets calls that are awaited begin again, once, and passes their own errors on", async () => {
  await using made = await built();
  const { lib } = made;
  const calls = new lib.Calls();
  await assertRejects(() => calls.answer(1, { bad: true }), RangeError, "bad");
  assertEquals(calls.runs, 1);
  assertEquals(await calls.answer(4), 8 + "shown 4".length);
  assertEquals(calls.runs, 3);
  assertEquals(await calls.answer(4), 8 + "shown 4".length);
  assertEquals(calls.runs, 4);
});

Deno.test("lateFunctions() knows what is missing in an error that wraps it, and loads for calls without async", async () => {
  await using wrapped = await built();
  assertEquals(await wrapped.lib.Auto.load(1), 2);
  await using made = await built();
  assertEquals(await made.lib.Calls.make(new made.lib.Box()), 5);
});

Deno.test("lateFunctions() fetches the file after the first answer, for calls that cannot wait", async () => {
  await using made = await built({ "nn/m.ts": ["arrow"] });
  const { lib } = made;
  assertThrows(() => lib.sum(1, 2), Error, MISSING); // which fetches it, too
  await using other = await built({ "nn/m.ts": ["arrow"] });
  assertEquals(await new other.lib.Calls().answer(4), 15);
  for (let turn = 0; turn < 100; turn++) {
    await new Promise((done) => setTimeout(done, 5));
    try {
      assertEquals(other.lib.sum(1, 2), 3);
      return;
    } catch (error) {
      assertEquals((error as Error).message.startsWith(MISSING), true);
    }
  }
  throw new Error("the file was not fetched");
});

Deno.test("lateFunctions() fails with what the file's loading says, and calls that cannot wait as before", async () => {
  await using made = await built(COLD, { isThere: false });
  const calls = new made.lib.Calls();
  await assertRejects(() => calls.answer(1), TypeError, "more");
  assertThrows(() => made.lib.shown(), Error, MISSING);
  await assertRejects(() => made.lib.Auto.load(1), TypeError, "more");
});

Deno.test("lateFunctions() refuses names that a module does not have, and what cannot move", () => {
  const transform = (name: string) =>
    lateFunctions({ "nn/m.ts": [name] }, {}, CURE).transform(CODE, `${ROOT}nn/m.ts`);
  for (
    const [name, why, named = name] of [
      ["nobody", "there is no such function"],
      ["Nobody.at", "there is no such class", "Nobody"],
      ["Box.nothing", "there is no such method"],
      ["static Box.isOne", "only methods of objects can move"],
      ["early", "there is no such function"],
      ["Auto", "it is no function"],
    ]
  ) {
    assertThrows(() => transform(name), Error, `Cannot move "${named}" out of nn/m.ts: ${why}`);
  }
  const again = lateFunctions({}, { "nn/m.ts": { "Calls.nothing": { loadsAfter: false } } }, CURE);
  assertThrows(() => again.transform(CODE, `${ROOT}nn/m.ts`), Error, "there is no such function");
  assertEquals(again.transform("", `${ROOT}nn/other.ts`), null);
});
