/**
 * Splits modules of a bundle's first file in two: what that file uses of them, and the rest, which goes into the files that
 * use it. A module stays whole for whoever reads the tree.
 * @module
 */

import type { Node } from "acorn";
import MagicString from "magic-string";
import type { Plugin } from "rollup";
import { parseModule } from "./syntax_tree.ts";

const ROOT = new URL("../", import.meta.url).pathname;

/** Ends of the names under which Rollup knows the rest of a module, and both parts under one name. */
const [REST, WHOLE] = ["?rest", "?whole"];

/** What the first part exports for the rest alone. */
const shared = (name: string) => `shared_${name}`;

type Named = Node & { readonly name: string };
type Specifier = Node & { readonly local: Named; readonly exported: Named; readonly imported?: Named };
type Import = Node & {
  readonly source: { readonly value: string };
  readonly specifiers: readonly Specifier[];
};

const resolve = (specifier: string, importer: string) =>
  new URL(specifier, `file://${importer.split("?")[0]}`).pathname;

/** Calls `visit` with each node of a tree, but for names of members, which are no variables. */
function walk(node: unknown, visit: (node: Node) => void): void {
  if (Array.isArray(node)) return node.forEach((each) => walk(each, visit));
  if (typeof node !== "object" || node === null) return;
  const { type, computed, ...parts } = node as Node & {
    readonly computed?: boolean;
    key?: unknown;
    property?: unknown;
  };
  if (typeof type === "string") visit(node as Node);
  if (!computed) {
    if (type === "MemberExpression") delete parts.property;
    if (type === "Property" || type === "MethodDefinition" || type === "PropertyDefinition") delete parts.key;
  }
  Object.values(parts).forEach((each) => walk(each, visit));
}

/** Names in a tree, variables or not: those of local variables may be among them. */
function namesIn(tree: unknown): Set<string> {
  const names = new Set<string>();
  walk(tree, (node) => node.type === "Identifier" && names.add((node as Named).name));
  return names;
}

/** Names that a target of an assignment gives values: none where it is a member of an object. */
function targetsIn(target: unknown): Set<string> {
  const members: Node[] = [];
  walk(target, (node) => node.type === "MemberExpression" && members.push(node));
  const inMembers = members.reduce((all, node) => all.union(namesIn(node)), new Set<string>());
  return namesIn(target).difference(inMembers);
}

/** Names that a tree assigns to. */
function assignedIn(tree: unknown): Set<string> {
  let names = new Set<string>();
  walk(tree, (node) => {
    if (node.type === "AssignmentExpression") {
      names = names.union(targetsIn((node as Node & { left: Node }).left));
    }
    if (node.type === "UpdateExpression") {
      names = names.union(targetsIn((node as Node & { argument: Node }).argument));
    }
  });
  return names;
}

/** A statement of a module that declares names, or does something (then it declares none). */
interface Unit {
  readonly node: Node;
  readonly names: readonly string[];
  readonly uses: ReadonlySet<string>;
}

/** A module's statements, what it exports (the name outside by the name inside), passes on and imports. */
interface Parts {
  readonly units: readonly Unit[];
  readonly exported: ReadonlyMap<string, string>;
  /** Lists of names that it exports. */
  readonly lists: readonly Node[];
  readonly passedOn: readonly Node[];
  readonly imports: readonly Import[];
}

/** Names that a statement declares. */
function declaredIn(node: Node): string[] {
  if (node.type === "VariableDeclaration") {
    return (node as Node & { declarations: { id: Node }[] }).declarations.flatMap((
      { id },
    ) => [...namesIn(id)]);
  }
  const { id } = node as Node & { readonly id?: Named };
  return /^(Function|Class)Declaration$/.test(node.type) ? [id!.name] : [];
}

/** Reads a module without types. */
function partsOf(code: string): Parts {
  const parts = {
    units: [] as Unit[],
    exported: new Map<string, string>(),
    lists: [] as Node[],
    passedOn: [] as Node[],
    imports: [] as Import[],
  };
  for (const node of parseModule(code).body) {
    const { source, declaration, specifiers } = node as unknown as {
      readonly source?: Node | null;
      readonly declaration?: Node | null;
      readonly specifiers: readonly Specifier[];
    };
    if (node.type === "ImportDeclaration") parts.imports.push(node as unknown as Import);
    else if (node.type === "ExportAllDeclaration" || source) parts.passedOn.push(node);
    else if (node.type === "ExportNamedDeclaration" && !declaration) {
      parts.lists.push(node);
      for (const { local, exported } of specifiers) parts.exported.set(local.name, exported.name);
    } else {
      const names = declaredIn(declaration ?? node);
      for (const name of declaration ? names : []) parts.exported.set(name, name);
      parts.units.push({ node, names, uses: namesIn(node) });
    }
  }
  return parts;
}

/** The statements that the exports in `used`, and statements that do something, cannot do without. */
function keptUnits({ units, exported }: Parts, used: ReadonlySet<string>): Set<Unit> {
  const byName = new Map(units.flatMap((unit) => unit.names.map((name) => [name, unit] as const)));
  const kept = new Set(
    units.filter(({ names }) =>
      names.length === 0 || names.some((name) => used.has(exported.get(name) ?? ""))
    ),
  );
  for (const { uses } of kept) {
    for (const name of uses) if (byName.has(name)) kept.add(byName.get(name)!);
  }
  return kept;
}

/** Whether both parts of a module can stand alone: the rest assigns to no variable of the first. */
function canSplit(parts: Parts, used: ReadonlySet<string>): boolean {
  const kept = keptUnits(parts, used);
  const own = new Set([...kept].flatMap(({ names }) => names));
  const rest = parts.units.filter((unit) => !kept.has(unit));
  return rest.length > 0 && rest.every(({ node }) => assignedIn(node).isDisjointFrom(own));
}

/** An export list of names, without those that their declarations export. */
function exportList(names: Iterable<readonly [local: string, outside: string]>): string {
  const listed = [...names].map(([local, outside]) => `${local} as ${outside}`);
  return listed.length > 0 ? `export { ${listed.join(", ")} };` : "";
}

/** Names of statements. */
const namesOf = (units: Iterable<Unit>) => new Set([...units].flatMap(({ names }) => names));

/** Names in lists of exports. */
function listed({ lists, exported }: Parts): [local: string, outside: string][] {
  const inLists = lists.map((list) => namesIn(list)).reduce(
    (all, names) => all.union(names),
    new Set<string>(),
  );
  return [...exported].filter(([local]) => inLists.has(local));
}

/** Leaves out what a part of a module does not use of its imports. */
function takeImports(edited: MagicString, { imports }: Parts, uses: ReadonlySet<string>): void {
  for (const { start, end, specifiers, source } of imports) {
    if (specifiers.length === 0) continue;
    const used = specifiers.filter(({ local }) => uses.has(local.name));
    const wanted = used.map((each) => edited.original.slice(each.start, each.end)).join(", ");
    if (wanted === "") edited.remove(start, end);
    else edited.overwrite(start, end, `import { ${wanted} } from ${JSON.stringify(source.value)};`);
  }
}

/** Edits that make of a module its first part. */
function firstPart(code: string, parts: Parts, kept: ReadonlySet<Unit>): MagicString {
  const edited = new MagicString(code);
  const rest = parts.units.filter((unit) => !kept.has(unit));
  const [own, moved] = [namesOf(kept), namesOf(rest)];
  const wanted = rest.reduce((all, { uses }) => all.union(uses), new Set<string>());
  const needed = [...own].filter((name) => wanted.has(name) && !parts.exported.has(name));
  for (const { start, end } of [...rest.map(({ node }) => node), ...parts.lists]) edited.remove(start, end);
  const uses = [...kept].reduce(
    (all, unit) => all.union(unit.uses),
    new Set(listed(parts).map(([local]) => local)),
  );
  takeImports(edited, parts, uses);
  return edited.append(exportList([
    ...listed(parts).filter(([local]) => !moved.has(local)),
    ...needed.map((name) => [name, shared(name)] as const),
  ]));
}

/** Edits that make of a module at a path the rest. */
function restPart(code: string, parts: Parts, kept: ReadonlySet<Unit>, path: string): MagicString {
  const edited = new MagicString(code);
  const rest = parts.units.filter((unit) => !kept.has(unit));
  const uses = rest.reduce((all, unit) => all.union(unit.uses), new Set<string>());
  const others = [...[...kept].map(({ node }) => node), ...parts.lists, ...parts.passedOn];
  for (const { start, end } of others) edited.remove(start, end);
  takeImports(edited, parts, uses);
  const first = [...namesOf(kept)].filter((name) => uses.has(name)).map((name) =>
    `${parts.exported.get(name) ?? shared(name)} as ${name}`
  );
  if (first.length > 0) edited.prepend(`import { ${first.join(", ")} } from ${JSON.stringify(path)};`);
  const own = namesOf(rest);
  return edited.append(exportList(listed(parts).filter(([local]) => own.has(local))));
}

/**
 * Splits modules: `parts` takes them apart, before a plugin that looks at what a module imports; `imports` comes after it, and
 * takes each name from the part that has it.
 * @param used the exports of each module that the first file has code of, by its path
 * @param load gives the code of a module as `parts` gets it
 * @param isPublic whether an export is for whoever imports the module on first use; default all are
 */
export function splitModules(
  used: ReadonlyMap<string, ReadonlySet<string>>,
  load: (path: string) => Promise<string>,
  isPublic: (name: string) => boolean = () => true,
): { readonly parts: Plugin; readonly imports: Plugin } {
  const known = new Map<string, Promise<ReadonlySet<string>>>();
  /** The exports of a module that its rest has; none where it is whole. */
  const movedOf = (path: string): Promise<ReadonlySet<string>> => {
    const find = async () => {
      const own = path.startsWith(ROOT) && used.get(path);
      if (!own) return new Set<string>();
      const parts = partsOf(await load(path));
      if (!canSplit(parts, own)) return new Set<string>();
      const kept = keptUnits(parts, own);
      const rest = parts.units.filter((unit) => !kept.has(unit)).flatMap(({ names }) => names);
      return new Set(rest.flatMap((name) => parts.exported.get(name) ?? []));
    };
    if (!known.has(path)) known.set(path, find());
    return known.get(path)!;
  };
  /** Imports of a module, each from the part that has the name. */
  const importsOf = async (code: string, id: string): Promise<MagicString> => {
    const edited = new MagicString(code);
    for (const node of parseModule(code).body) {
      const { source, specifiers = [] } = node as unknown as Partial<Import>;
      const from = source?.value ?? "";
      const path = from.startsWith(".") ? resolve(from, id) : "";
      const moved = await movedOf(path);
      if (moved.size === 0) continue;
      const rest = JSON.stringify(path + REST);
      if (node.type === "ExportAllDeclaration") edited.appendRight(node.end, `export * from ${rest};`);
      else {
        const isMoved = ({ imported, local }: Specifier) => moved.has((imported ?? local).name);
        const verb = node.type === "ImportDeclaration" ? "import" : "export";
        const list = (specifiers: readonly Specifier[], from: string) =>
          specifiers.length === 0
            ? ""
            : `${verb} { ${
              specifiers.map(({ start, end }) => code.slice(start, end)).join(", ")
            } } from ${from};`;
        const [others, own] = [specifiers.filter(isMoved), specifiers.filter((each) => !isMoved(each))];
        edited.overwrite(node.start, node.end, list(own, JSON.stringify(from)) + list(others, rest));
      }
    }
    return edited;
  };
  const result = (edited: MagicString) =>
    edited.hasChanged()
      ? { code: edited.toString(), map: edited.generateMap({ hires: "boundary" }).toString() }
      : null;
  const parts: Plugin = {
    name: "parts of modules",
    resolveId: (specifier) => specifier.startsWith(ROOT) && !specifier.includes("?") ? specifier : null,
    async resolveDynamicImport(specifier, importer) {
      if (typeof specifier !== "string" || !specifier.startsWith(".")) return null;
      const path = resolve(specifier, importer);
      return (await movedOf(path)).values().some(isPublic) ? path + WHOLE : null;
    },
    load(id) {
      if (!id.endsWith(WHOLE)) return null;
      const path = id.slice(0, -WHOLE.length);
      return `export * from ${JSON.stringify(path)}; export * from ${JSON.stringify(path + REST)};`;
    },
    async transform(code, id) {
      const [path] = id.split("?");
      if (id !== path && !id.endsWith(REST) || (await movedOf(path)).size === 0) return null;
      const parts = partsOf(code);
      const kept = keptUnits(parts, used.get(path)!);
      return result(id.endsWith(REST) ? restPart(code, parts, kept, path) : firstPart(code, parts, kept));
    },
  };
  const imports: Plugin = {
    name: "imports of parts",
    transform: async (code, id) => id.startsWith(ROOT) ? result(await importsOf(code, id)) : null,
  };
  return { parts, imports };
}
