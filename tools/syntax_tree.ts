/**
 * Syntax trees of modules without types, as the tools that make bundles read them.
 * @module
 */

import { type Node, parse, type Program } from "acorn";

/** The tree of a module. @throws {SyntaxError} if it cannot be parsed */
export const parseModule = (code: string): Program =>
  parse(code, { ecmaVersion: "latest", sourceType: "module" });

/** Visits every node of a tree, the outer ones first. */
export function walk(node: unknown, visit: (node: Node) => void): void {
  if (Array.isArray(node)) return node.forEach((each) => walk(each, visit));
  if (typeof node !== "object" || node === null) return;
  if (typeof (node as Node).type === "string") visit(node as Node);
  Object.values(node).forEach((each) => walk(each, visit));
}
