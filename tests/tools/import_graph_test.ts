import { assertEquals } from "@std/assert";
import { findCircles, importGraph, resolveImport, showCircle } from "../../tools/import_graph.ts";

const graphOf = (files: Readonly<Record<string, string>>) => importGraph(new Map(Object.entries(files)));

Deno.test("resolveImport() walks up and down from the file that imports", () => {
  assertEquals(resolveImport("a/b/c.ts", "./d.ts"), "a/b/d.ts");
  assertEquals(resolveImport("a/b/c.ts", "../../e/f.ts"), "e/f.ts");
  assertEquals(resolveImport("a.ts", "./b/c.ts"), "b/c.ts");
});

Deno.test("importGraph() counts types, re-exports and late imports, and leaves packages out", () => {
  const graph = graphOf({
    "a/a.ts":
      'import type { B } from "./b.ts"; export { c } from "../c.ts"; import "npm:x"; import x from "./none.ts";',
    "a/b.ts": 'export const late = () => import("../c.ts"); // import "./a.ts"',
    "c.ts": "export const c = 1;",
  });
  assertEquals(Object.fromEntries(graph), { "a/a.ts": ["a/b.ts", "c.ts"], "a/b.ts": ["c.ts"], "c.ts": [] });
});

Deno.test("findCircles() finds circles of any length, also of types alone, and showCircle() the way round", () => {
  const graph = graphOf({
    "a.ts": 'import "./b.ts"; import "./d.ts";',
    "b.ts": 'import type { C } from "./c.ts";',
    "c.ts": 'import "./a.ts"; import "./b.ts";',
    "d.ts": 'import "./e.ts";',
    "e.ts": "",
    "f.ts": 'import "./g.ts"; import "./a.ts";',
    "g.ts": 'export const f = () => import("./f.ts");',
    "h.ts": 'import "./h.ts";',
  });
  const circles = findCircles(graph);
  assertEquals(circles, [["a.ts", "b.ts", "c.ts"], ["f.ts", "g.ts"], ["h.ts"]]);
  assertEquals(circles.map((group) => showCircle(graph, group)), [
    "a.ts -> b.ts -> c.ts -> a.ts",
    "f.ts -> g.ts -> f.ts",
    "h.ts -> h.ts",
  ]);
  assertEquals(findCircles(graphOf({ "a.ts": 'import "./b.ts";', "b.ts": "" })), []);
});
