/**
 * Takes the texts of errors out of a bundle's first file. What throws an error there names its text by a number, and a file
 * that is loaded when one is made has the functions that make the texts.
 * @module
 */

import type { Node, Program } from "acorn";
import MagicString from "magic-string";
import type { Plugin } from "rollup";
import { awaitErrors } from "./awaited_errors.ts";
import { findTexts, type Text } from "./find_texts.ts";
import { firstCode, lateCode } from "./late_texts_code.ts";
import { declaredBy } from "./scopes.ts";
import { parseModule } from "./syntax_tree.ts";

const ROOT = new URL("../", import.meta.url).pathname;

/** The module with what the first file has of it, that of the other file, and the end of the names of modules with texts. */
const [FIRST, ALL, TEXTS] = ["\0late_texts", `${ROOT}all?late_texts`, "?texts"];

/** Modules whose texts stay: they say that a server does not answer, and the file of the texts may be on the same. */
const STAYING = ["io/open_file.ts"];

/** What a module exports for its texts alone. */
const shared = (name: string) => `text_${name}`;

type Named = Node & { readonly name: string };
type Specifier = Node & { readonly local: Named; readonly exported: Named };
type Statement = Node & {
  readonly kind?: string;
  readonly source?: { readonly value: string } | null;
  readonly declaration?: Statement | null;
  readonly specifiers?: readonly Specifier[];
};

/** What is read of a module. */
interface Read {
  readonly texts: readonly Text[];
  /** The code of each import, by the name that it gives. */
  readonly imports: ReadonlyMap<string, string>;
  /** What it exports, by the name inside. */
  readonly exported: ReadonlyMap<string, string>;
}

function read(code: string, path: string): Read {
  const { body }: Program = parseModule(code);
  const [imports, exported] = [new Map<string, string>(), new Map<string, string>()];
  const [changing, foreign] = [new Set<string>(), new Set<string>()];
  for (const node of body as unknown as readonly Statement[]) {
    const { type, source, declaration, specifiers = [] } = node;
    const declared = declaration ?? node;
    if (declared.kind === "let" || declared.kind === "var") {
      declaredBy(declared).forEach((name) => changing.add(name));
    }
    if (type === "ImportDeclaration") {
      for (const { type, local, start, end } of specifiers) {
        const how = code.slice(start, end);
        imports.set(
          local.name,
          `import ${type === "ImportSpecifier" ? `{ ${how} }` : how} from ${JSON.stringify(source!.value)};`,
        );
        if (source!.value.startsWith("\0")) foreign.add(local.name);
      }
    } else if (type === "ExportNamedDeclaration" && !source) {
      for (const { local, exported: outside } of specifiers) exported.set(local.name, outside.name);
      for (const name of declaredBy(declaration)) exported.set(name, name);
    }
  }
  const stay = STAYING.includes(path.slice(ROOT.length));
  return { texts: stay ? [] : findTexts(code, changing, foreign), imports, exported };
}

/** Names of the module itself that its texts use and that it does not export. */
function wanted({ texts, imports, exported }: Read): string[] {
  const names = texts.reduce((all, { names }) => all.union(names), new Set<string>());
  return [...names].filter((name) => !imports.has(name) && !exported.has(name));
}

/** Takes the texts out of a module, the first of which has a number. */
function takeTexts(edited: MagicString, found: Read, number: number): void {
  for (const [index, { start, end, error, values, removed }] of found.texts.entries()) {
    const given = [String(number + index), ...error ? [error.kind] : [], ...values.map(({ code }) => code)];
    if (error?.options) given.unshift(error.options);
    const name = error === null ? "lateText" : error.options ? "lateErrorWith" : "lateError";
    edited.overwrite(start, end, `${name}(${given.join(", ")})`);
    for (const each of removed) edited.remove(each.start, each.end);
  }
  const names = wanted(found).map((name) => `${name} as ${shared(name)}`);
  if (names.length > 0) edited.append(`\nexport { ${names.join(", ")} };`);
}

/** The module that makes the texts of another at a path. */
function textsOf(found: Read, path: string): string {
  const own = JSON.stringify(`./${path.split("/").at(-1)}`);
  const names = found.texts.reduce((all, { names }) => all.union(names), new Set<string>());
  const imports = [...names].map((name) => {
    const outside = found.exported.get(name) ?? shared(name);
    return found.imports.get(name) ?? `import { ${outside} as ${name} } from ${own};`;
  });
  const functions = found.texts.map(({ values, constants, text }) => {
    const own = constants.map(([name, code]) => `const ${name} = ${code}; `).join("");
    return `(${values.map(({ name }) => name).join(", ")}) => { ${own}return (${text}); }`;
  });
  return `${imports.join("\n")}\nexport const texts = [\n${functions.join(",\n")}\n];`;
}

/** The plugin, and what it is told once the modules of the first file are known. */
export interface LateTexts {
  readonly plugin: Plugin & { transform(code: string, id: string): { code: string; map: string } | null };
  /** The name under which Rollup knows the module of the file with the texts. */
  readonly entry: string;
  /** Leaves the texts of all other modules where they are, and numbers these. */
  useOnly(paths: Iterable<string>): Promise<void>;
}

/**
 * Takes the texts out: first those of all modules, for a trial build that finds out what is used without them.
 * @param file the name of the file with the texts
 * @param load gives the code of a module as the plugin gets it
 * @param brought modules that the file with the texts loads, whatever they do
 * @param isInner whether no page calls a module's asynchronous functions itself: what calls them waits for texts
 */
export function lateTexts(
  file: string,
  load: (path: string) => Promise<string>,
  brought: readonly string[] = [],
  isInner: (path: string) => boolean = () => false,
): LateTexts {
  let numbers: ReadonlyMap<string, number> | null = null; // of the first text of each module
  let first: ReadonlySet<string> = new Set();
  const plugin: LateTexts["plugin"] = {
    name: "late texts",
    resolveId: (specifier) =>
      specifier === FIRST || specifier.endsWith(TEXTS)
        ? specifier
        : specifier === ALL
        ? { id: ALL, moduleSideEffects: true }
        : null,
    async load(id) {
      if (id === FIRST) return firstCode(file, numbers === null ? null : ALL);
      if (id === ALL) {
        const imports = brought.map((path) => `import ${JSON.stringify(path)};\n`).join("");
        return imports + lateCode(file, FIRST, [...numbers!.keys()].map((path) => path + TEXTS));
      }
      if (!id.endsWith(TEXTS)) return null;
      const path = id.slice(0, -TEXTS.length);
      return textsOf(read(await load(path), path), path);
    },
    transform(code: string, id: string) {
      const [path, part] = id.split("?");
      if (!path.startsWith(ROOT) || part !== undefined && part !== "rest" && part !== "own") return null;
      const edited = new MagicString(code);
      if (numbers === null || numbers.has(path)) takeTexts(edited, read(code, path), numbers?.get(path) ?? 0);
      if (!(first.has(path) && isInner(path.slice(ROOT.length)))) awaitErrors(code, edited, "completed");
      if (!edited.hasChanged()) return null;
      edited.prepend(
        `import { completed, lateError, lateErrorWith, lateText } from ${JSON.stringify(FIRST)};`,
      );
      return { code: edited.toString(), map: edited.generateMap({ hires: "boundary" }).toString() };
    },
  };
  return {
    plugin,
    entry: ALL,
    async useOnly(paths) {
      const found = new Map<string, number>();
      let next = 0;
      first = new Set([...paths].filter((path) => path.startsWith(ROOT)).toSorted());
      for (const path of first) {
        const { texts } = read(await load(path), path);
        if (texts.length === 0) continue;
        found.set(path, next);
        next += texts.length;
      }
      numbers = found;
    },
  };
}
