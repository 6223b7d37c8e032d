/**
 * Which part of a module declares a name that its code uses: the module itself, or a function, block, loop or class in it.
 * @module
 */

import type { Node } from "acorn";

/** A part of a module that declares names; the outermost is the module. */
export interface Scope {
  readonly node: Node;
  readonly names: ReadonlySet<string>;
  /** Null for a module. */
  readonly outer: Scope | null;
}

/** Called with a node, the nodes around it (the outermost first) and the scope it stands in. */
export type Visit = (node: Node, around: readonly Node[], scope: Scope) => void;

type Parts = Readonly<Record<string, unknown>>;

const isNode = (value: unknown): value is Node =>
  typeof value === "object" && value !== null && "type" in value && typeof value.type === "string";

const isPrivate = (node: unknown) => isNode(node) && node.type === "PrivateIdentifier";

/** The parts of a node, but for names of members, which are no variables. */
function partsOf(node: Node): Node[] {
  const { type, computed, ...parts } = node as Node & Record<string, unknown>;
  if (!computed) {
    if (type === "MemberExpression" && !isPrivate(parts.property)) delete parts.property;
    if (type === "Property" || type === "MethodDefinition" || type === "PropertyDefinition") delete parts.key;
  }
  if (type === "ImportSpecifier" || type === "ExportSpecifier") return [];
  return Object.values(parts).flat().filter(isNode);
}

/** Names that a pattern declares: `{ a, b: [c = 1] }` declares a and c. */
function namesIn(pattern: unknown): string[] {
  if (!isNode(pattern)) return [];
  const { type, name, left, argument, value, properties, elements } = pattern as Node & Parts;
  if (type === "Identifier") return [name as string];
  const parts = [left, argument, type === "Property" ? value : null, properties, elements];
  return type === "AssignmentPattern" ? namesIn(left) : parts.flat().flatMap(namesIn);
}

/** Names that a statement declares in the scope it stands in. */
export function declaredBy(statement: unknown): string[] {
  if (!isNode(statement)) return [];
  const { type, id, declarations, declaration, specifiers } = statement as Node & {
    readonly declarations?: readonly (Node & Parts)[];
    readonly specifiers?: readonly (Node & Parts)[];
  } & Parts;
  if (type === "VariableDeclaration") return declarations!.flatMap((each) => namesIn(each.id));
  if (type === "FunctionDeclaration" || type === "ClassDeclaration") return namesIn(id);
  if (type === "ImportDeclaration") return specifiers!.flatMap(({ local }) => namesIn(local));
  return type.startsWith("Export") ? declaredBy(declaration) : [];
}

const isFunction = ({ type }: Node) => /Function/.test(type);

const isNoVar = (node: Node) => (node as Node & Parts).kind !== "var";

/** Names of the `var` statements of a function: they count in all of it. */
function varsIn(node: Node): string[] {
  const own = isNoVar(node) ? [] : declaredBy(node);
  return [...own, ...partsOf(node).filter((part) => !isFunction(part)).flatMap(varsIn)];
}

/** Names that a node declares for what is in it. */
function namesOf(node: Node): string[] {
  const { type, id, params, body, init, left, param, cases } = node as Node & {
    readonly cases?: readonly { readonly consequent: readonly Node[] }[];
  } & Parts;
  if (isFunction(node)) {
    const own = type === "FunctionExpression" ? namesIn(id) : [];
    return [...own, ...(params as Node[]).flatMap(namesIn), ...varsIn(body as Node)];
  }
  if (type === "ClassExpression") return namesIn(id);
  if (type === "Program") return (body as Node[]).flatMap(declaredBy);
  if (type === "BlockStatement" || type === "StaticBlock") {
    return (body as Node[]).filter(isNoVar).flatMap(declaredBy);
  }
  if (type === "SwitchStatement") return cases!.flatMap(({ consequent }) => consequent.flatMap(declaredBy));
  if (type === "CatchClause") return namesIn(param);
  const head = type.startsWith("For") ? init ?? left : null;
  return isNode(head) && isNoVar(head) ? declaredBy(head) : [];
}

/** Visits every node of a module. */
export function walkScopes(program: Node, visit: Visit): void {
  const go = (node: Node, around: readonly Node[], outer: Scope | null): void => {
    const names = namesOf(node);
    const scope = outer === null || names.length > 0 ? { node, names: new Set(names), outer } : outer;
    visit(node, around, scope);
    const within = [...around, node];
    for (const part of partsOf(node)) go(part, within, scope);
  };
  go(program, [], null);
}

/** The scope that declares a name; null for a global. */
export function scopeOf(name: string, scope: Scope | null): Scope | null {
  return scope === null || scope.names.has(name) ? scope : scopeOf(name, scope.outer);
}
