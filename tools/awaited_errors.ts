/**
 * Lets asynchronous functions wait for the text of an error before they fail with it, so that whoever calls them with `await`
 * sees the whole text.
 * @module
 */

import type { Node } from "acorn";
import type MagicString from "magic-string";
import { parseModule } from "./syntax_tree.ts";

type Tree = Node & {
  readonly async?: boolean;
  readonly generator?: boolean;
  readonly body: Tree;
  readonly argument?: Tree | null;
  readonly declaration?: Tree | null;
  readonly declarations?: readonly { readonly init?: Tree | null }[];
  readonly key?: Node;
  readonly value: Tree;
  readonly kind?: string;
};

/** What is no promise. */
const PLAIN = /^(Literal|(Object|Array|Await|Unary|Binary|New|ArrowFunction)Expression|TemplateLiteral)$/;

const isFunction = ({ type }: Node) => /Function/.test(type);

/** The nodes below one. */
const partsOf = (node: Node): Tree[] =>
  Object.values(node).flat().filter((each) => typeof each === "object" && each !== null && "type" in each);

/** The asynchronous functions that others call: what a module exports, and methods that are not private. */
function awaitedFunctions(program: Node): Tree[] {
  const found: Tree[] = [];
  const add = (node?: Tree | null) => {
    if (node && isFunction(node) && node.async) found.push(node);
  };
  const visit = (node: Tree) => {
    const { type, declaration, key, value } = node;
    if (type === "ExportNamedDeclaration") {
      add(declaration);
      for (const { init } of declaration?.declarations ?? []) add(init);
    }
    const isMethod = type === "MethodDefinition" || type === "Property";
    if (isMethod && key?.type !== "PrivateIdentifier") add(value);
    partsOf(node).forEach(visit);
  };
  visit(program as Tree);
  return found;
}

/** The values that a function returns, its own functions left out. */
function returnsOf(node: Tree): Tree[] {
  const own = node.type === "ReturnStatement" && node.argument ? [node.argument] : [];
  return [...own, ...partsOf(node).filter((part) => !isFunction(part)).flatMap(returnsOf)];
}

/**
 * Edits a module so that its asynchronous functions wait.
 * @param wait the name of the function that is given an error and resolves to it once it is whole
 */
export function awaitErrors(code: string, edited: MagicString, wait: string): void {
  for (
    const { body, generator } of awaitedFunctions(
      parseModule(code),
    )
  ) {
    const end = `} catch (failure) { throw await ${wait}(failure); }`;
    if (body.type !== "BlockStatement") {
      edited.appendRight(body.start, "{ try { return await (").appendLeft(body.end, `); ${end} }`);
      continue;
    }
    edited.appendRight(body.start + 1, " try {").appendLeft(body.end - 1, end);
    for (const value of generator ? [] : returnsOf(body).filter(({ type }) => !PLAIN.test(type))) {
      edited.appendLeft(value.start, "await (").appendRight(value.end, ")");
    }
  }
}
