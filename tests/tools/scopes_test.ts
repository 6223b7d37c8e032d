import { assertEquals } from "@std/assert";
import { type Node, parse } from "acorn";
import { scopeOf, walkScopes } from "../../tools/scopes.ts";

/** Where each use of `name` finds it declared, in the order in which they stand: the type of that node, or "global". */
function declared(code: string, name: string): string[] {
  const found: string[] = [];
  walkScopes(parse(code, { ecmaVersion: "latest", sourceType: "module" }), (node, _, scope) => {
    if (node.type !== "Identifier" || (node as Node & { name: string }).name !== name) return;
    found.push(scopeOf(name, scope)?.node.type ?? "global");
  });
  return found;
}

Deno.test("scopeOf() finds what declares a name", () => {
  const cases: [code: string, ...places: string[]][] = [
    ["x;", "global"],
    ["import { y as x } from 'z'; x;", "Program"],
    ["export const [x] = y; x;", "Program", "Program"],
    ["export function x() {} x;", "Program", "Program"],
    ["function f(x) { x; }", "FunctionDeclaration", "FunctionDeclaration"],
    ["const f = ({ a: [x = 1] }, ...y) => x;", "ArrowFunctionExpression", "ArrowFunctionExpression"],
    ["const f = (y, ...x) => x;", "ArrowFunctionExpression", "ArrowFunctionExpression"],
    ["const f = function x() { x; };", "FunctionExpression", "FunctionExpression"],
    ["const f = class x { y() { x; } };", "ClassExpression", "ClassExpression"],
    ["class x { y() { x; } }", "Program", "Program"],
    ["{ let x; { x; } } x;", "BlockStatement", "BlockStatement", "global"],
    ["function f() { { var x; } x; }", "FunctionDeclaration", "FunctionDeclaration"],
    ["for (const x of y) x; x;", "ForOfStatement", "ForOfStatement", "global"],
    ["for (let x = 0; x;) { x; }", "ForStatement", "ForStatement", "ForStatement"],
    ["try { x; } catch (x) { x; }", "global", "CatchClause", "CatchClause"],
    ["switch (y) { case 1: const x = 2; x; }", "SwitchStatement", "SwitchStatement"],
    [
      "function f() { const x = 1; return () => { const x = 2; return x; }; }",
      "BlockStatement",
      "BlockStatement",
      "BlockStatement",
    ],
  ];
  for (const [code, ...places] of cases) assertEquals(declared(code, "x"), places, code);
});

Deno.test("walkScopes() leaves out names of members, which are no variables", () => {
  assertEquals(declared("a.x; ({ x: 1 }); class B { x() {} }", "x"), []);
  assertEquals(declared("a[x]; ({ x }); ({ [x]: 1 });", "x"), ["global", "global", "global"]);
});
