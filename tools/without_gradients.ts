/**
 * Leaves gradients out of a bundle: what ops record to compute them, and the pass through the tape. What only they use falls
 * away with them.
 * @module
 */

import { type Node, parse } from "acorn";
import MagicString from "magic-string";
import type { Plugin } from "rollup";

const ROOT = new URL("../", import.meta.url).pathname;

/** The tape, whose `backward` goes through it. */
const TAPE = `${ROOT}autograd/tape.ts`;

/** What takes their place. */
const NO_GRADIENTS = "\0no_gradients";
const NO_GRADIENTS_CODE = `export const noGradients = () => {
  throw new Error("Cannot run backward: a bundle with gradients is required, such as training.js, received the one that answers");
};`;

type Named = Node & { readonly name?: string };
type Property = Node & { readonly key: Named; readonly value: Node };
type Call = Node & {
  readonly callee: Named;
  readonly arguments: readonly (Node & { readonly properties?: readonly Property[] })[];
};
type Exported = Node & {
  readonly declaration: (Node & { readonly id?: Named; readonly body?: Node }) | null;
};

/** The parts of a module that compute gradients: `backward` of what is given to `record`, and the body of the tape's own. */
function gradientParts(code: string, path: string): { readonly node: Node; readonly text: string }[] {
  const parts: { node: Node; text: string }[] = [];
  const visit = (node: unknown): void => {
    if (Array.isArray(node)) return node.forEach(visit);
    if (typeof node !== "object" || node === null) return;
    const { callee, arguments: given } = node as Call;
    if ((node as Node).type === "CallExpression" && callee.name === "record") {
      const backward = given[1]?.properties?.find(({ key }) => key?.name === "backward");
      if (backward) parts.push({ node: backward.value, text: "noGradients" });
    }
    const { type, declaration } = node as Exported;
    if (path === TAPE && type === "ExportNamedDeclaration" && declaration?.id?.name === "backward") {
      parts.push({ node: declaration.body!, text: "{ noGradients(); }" });
    }
    Object.values(node).forEach(visit);
  };
  visit(parse(code, { ecmaVersion: "latest", sourceType: "module" }));
  return parts;
}

/** Leaves gradients out. */
export function withoutGradients(): Plugin {
  return {
    name: "without gradients",
    resolveId: (specifier) => specifier === NO_GRADIENTS ? specifier : null,
    load: (id) => id === NO_GRADIENTS ? NO_GRADIENTS_CODE : null,
    transform(code, id) {
      const [path] = id.split("?");
      if (path !== TAPE && !path.startsWith(`${ROOT}autograd/ops/`)) return null;
      const parts = gradientParts(code, path);
      if (parts.length === 0) return null;
      const edited = new MagicString(code);
      for (const { node: { start, end }, text } of parts) edited.overwrite(start, end, text);
      edited.prepend(`import { noGradients } from ${JSON.stringify(NO_GRADIENTS)};`);
      return { code: edited.toString(), map: edited.generateMap({ hires: "boundary" }).toString() };
    },
  };
}
