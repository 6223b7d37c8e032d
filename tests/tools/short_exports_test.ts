import { assertEquals, assertThrows } from "@std/assert";
import { renameImports, shortenExports } from "../../tools/short_exports.ts";

Deno.test("shortenExports() gives a file's parts the names that they have inside it", () => {
  const { code, names } = shortenExports("const b=1,aa=2;export{b as X,aa as y,b as Z};");
  assertEquals(code, "const b=1,aa=2;export{aa,b};");
  assertEquals([...names], [["X", "b"], ["y", "aa"], ["Z", "b"]]);
  assertThrows(() => shortenExports("const b=1;"), Error, "one list is required, received 0");
});

Deno.test("renameImports() takes them by those names, in every form", () => {
  const names = new Map([["X", "b"], ["y", "aa"]]);
  const rename = (code: string) => renameImports(code, "./core.js", names);
  assertEquals(
    rename('import { X as long, y } from "./core.js";'),
    'import { b as long, aa as y } from "./core.js";',
  );
  assertEquals(
    rename('export { X as Box, y } from "./core.js";'),
    'export { b as Box, aa as y } from "./core.js";',
  );
  assertEquals(
    rename("const take = async () => (await import('./core.js').then(function (n) { return n.X; })).X;"),
    "const take = async () => (await import('./core.js').then(function (n) { return n.b; })).X;",
  );
  assertEquals(rename('import { X } from "./other.js";'), 'import { X } from "./other.js";');
  assertEquals(rename('import "./core.js";'), 'import "./core.js";');
  for (const code of ['export * from "./core.js";', "await import('./core.js');"]) {
    assertThrows(
      () => rename(code),
      Error,
      "Cannot rename what is imported from ./core.js: names are required",
    );
  }
  assertThrows(() => rename('import { missing } from "./core.js";'), Error, '"missing"');
});
