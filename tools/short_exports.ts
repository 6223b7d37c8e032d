/**
 * Names under which a bundle's largest file gives its parts to the others: those that they have inside it, so that its list of
 * exports is half as long.
 * @module
 */

import type { Node } from "acorn";
import MagicString from "magic-string";
import { parseModule, walk } from "./syntax_tree.ts";

/** New names of a file's exports by old ones. */
export type ExportNames = ReadonlyMap<string, string>;

type Named = Node & { readonly name: string };
type Specifier = Node & { readonly local: Named; readonly imported?: Named; readonly exported?: Named };
type Source = Node & { readonly value?: unknown };

/** A file whose one list of exports has the names that its parts have inside it, and what became of the old ones. */
export function shortenExports(code: string): { readonly code: string; readonly names: ExportNames } {
  const lists = parseModule(code).body.filter((node) =>
    node.type === "ExportNamedDeclaration" && !node.source
  );
  if (lists.length !== 1) {
    throw new Error(`Cannot shorten exports: one list is required, received ${lists.length}`);
  }
  const [{ start, end, specifiers }] =
    lists as unknown as (Node & { readonly specifiers: readonly Specifier[] })[];
  const names = new Map(specifiers.map(({ local, exported }) => [exported!.name, local.name]));
  const list = [...new Set(names.values())].sort().join(",");
  return { code: new MagicString(code).overwrite(start, end, `export{${list}};`).toString(), names };
}

/**
 * Takes what a file imports from another by its new names.
 * @param from the other file, as imports have it
 * @throws Error where it imports all names at once
 */
export function renameImports(code: string, from: string, names: ExportNames): string {
  const edited = new MagicString(code);
  const isFrom = (source: Source | null | undefined) => source?.value === from;
  const newName = ({ name }: Named) => {
    const found = names.get(name);
    if (found === undefined) throw new Error(`Cannot rename "${name}": ${from} does not export it`);
    return found;
  };
  const rename = (old: Named) => edited.overwrite(old.start, old.end, newName(old));
  const known = new Set<Node>();
  const program = parseModule(code);
  walk(program, (node) => {
    const { source, specifiers = [] } = node as Node & { source?: Source; specifiers?: readonly Specifier[] };
    if (/^(Import|ExportNamed)Declaration$/.test(node.type) && isFrom(source)) {
      for (const { local, imported, exported } of specifiers) {
        const [old, other] = imported ? [imported, local] : [local, exported!];
        if (old.start === other.start) edited.appendLeft(old.start, `${newName(old)} as `);
        else rename(old);
      }
    }
    // import(from).then(function (n) { return n.name; })
    const { callee, arguments: given } = node as Node & {
      readonly callee?: Node & { readonly object?: Node & { source?: Source } };
      readonly arguments?: readonly (Node & { readonly params?: readonly Named[] })[];
    };
    const loaded = callee?.object;
    if (loaded?.type !== "ImportExpression" || !isFrom(loaded.source)) return;
    known.add(loaded);
    const [taker] = given!;
    walk(taker, (inner) => {
      const { object, property } = inner as Node & { readonly object?: Named; readonly property?: Named };
      if (inner.type === "MemberExpression" && object?.name === taker.params?.[0].name) rename(property!);
    });
  });
  walk(program, (node) => {
    const { source } = node as Node & { readonly source?: Source };
    const isWhole = node.type === "ExportAllDeclaration" ||
      node.type === "ImportExpression" && !known.has(node);
    if (isWhole && isFrom(source)) {
      throw new Error(`Cannot rename what is imported from ${from}: names are required`);
    }
  });
  return edited.toString();
}
