import { assertEquals } from "@std/assert";
import { splitModules } from "../../tools/split_modules.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const M = `${ROOT}nn/m.ts`;

const CODE = `import { x, y } from "./x.ts";
const made = new Map();
function helper() { return made.size + y; }
export function first() { return helper(); }
export const rest = (key) => helper() * x;
class Own {}
export { Own as Other };`;

type Transform = (code: string, id: string) => Promise<{ code: string } | null>;

/** What the parts and the importers of a module become, of which the first file uses `names`. */
function split(code: string, names: readonly string[]) {
  const { parts, imports } = splitModules(new Map([[M, new Set(names)]]), () => Promise.resolve(code));
  const run = async (transform: unknown, text: string, id: string) =>
    (await (transform as Transform)(text, id))?.code;
  return {
    part: async (id: string) => await run(parts.transform, code, id),
    importer: async (text: string) => await run(imports.transform, text, `${ROOT}nn/other.ts`),
  };
}

const lines = (code?: string) => code?.split("\n").filter((line) => line !== "");

Deno.test("splitModules() leaves what the first file uses in a module, and puts the rest into another", async () => {
  const { part } = split(CODE, ["first"]);
  assertEquals(lines(await part(M)), [
    'import { y } from "./x.ts";',
    "const made = new Map();",
    "function helper() { return made.size + y; }",
    "export function first() { return helper(); }",
    "export { helper as shared_helper };",
  ]);
  assertEquals(lines(await part(`${M}?rest`)), [
    `import { shared_helper as helper } from "${M}";import { x } from "./x.ts";`,
    "export const rest = (key) => helper() * x;",
    "class Own {}",
    "export { Own as Other };",
  ]);
});

Deno.test("splitModules() takes each name from the part that has it", async () => {
  const { importer } = split(CODE, ["first"]);
  const rest = `"${M}?rest"`;
  assertEquals(
    await importer('import { first, rest as r } from "./m.ts";'),
    `import { first } from "./m.ts";import { rest as r } from ${rest};`,
  );
  assertEquals(await importer('export { Other } from "./m.ts";'), `export { Other } from ${rest};`);
  assertEquals(await importer('export * from "./m.ts";'), `export * from "./m.ts";export * from ${rest};`);
  assertEquals(await importer('import { first } from "./others.ts";'), undefined);
});

Deno.test("splitModules() leaves a module whole whose rest would assign to a variable of the first part", async () => {
  const code = "let last = 0; export function first() { return last; } export function rest() { last++; }";
  const { part, importer } = split(code, ["first"]);
  assertEquals(await part(M), undefined);
  assertEquals(await importer('import { first, rest } from "./m.ts";'), undefined);
  assertEquals(await split(code, ["first", "rest"]).part(M), undefined);
});

Deno.test("splitModules() splits a module whose rest changes members of what the first part has", async () => {
  const code =
    "const key = Symbol(); export const box = { [key]: 0 }; export function rest() { box[key]++; }";
  const { part } = split(code, ["box"]);
  assertEquals(lines(await part(`${M}?rest`)), [
    `import { box as box, shared_key as key } from "${M}";  export function rest() { box[key]++; }`,
  ]);
});

Deno.test("splitModules() gives whoever imports a module on first use the first part alone, where the rest is not for it", async () => {
  const wholes = async (isPublic: (name: string) => boolean) => {
    const { parts } = splitModules(new Map([[M, new Set(["first"])]]), () => Promise.resolve(CODE), isPublic);
    const resolve = parts.resolveDynamicImport as (specifier: string, importer: string) => Promise<unknown>;
    return await resolve("./m.ts", `${ROOT}nn/other.ts`);
  };
  assertEquals(await wholes(() => true), `${M}?whole`);
  assertEquals(await wholes((name) => name !== "rest" && name !== "Other"), null);
});
