/**
 * Tells Rollup that what a module's constants are made with does nothing else, so that those that nobody uses fall away: a
 * table of kernels, a class's helper.
 * @module
 */

import type { Node } from "acorn";
import MagicString from "magic-string";
import type { Plugin } from "rollup";
import { parseModule } from "./syntax_tree.ts";

/** Code that runs later, if at all. */
const LATER = /Function|^Class/;

/** Marks the calls in the initializers of a module's constants. */
export function pureInitializers(): Plugin {
  return {
    name: "pure initializers",
    transform(code) {
      const edited = new MagicString(code);
      const mark = (node: unknown): void => {
        if (Array.isArray(node)) return node.forEach(mark);
        if (typeof node !== "object" || node === null) return;
        const { type = "", start } = node as Node;
        if (LATER.test(type)) return;
        if (type === "CallExpression" || type === "NewExpression") {
          edited.appendLeft(start, "/* @__PURE__ */ ");
        }
        Object.values(node).forEach(mark);
      };
      for (const node of parseModule(code).body) {
        const declaration = node.type === "ExportNamedDeclaration" ? node.declaration : node;
        if (declaration?.type !== "VariableDeclaration" || declaration.kind !== "const") continue;
        for (const { init } of declaration.declarations) mark(init);
      }
      if (!edited.hasChanged()) return null;
      return { code: edited.toString(), map: edited.generateMap({ hires: "boundary" }).toString() };
    },
  };
}
