/**
 * Modules that a bundle leaves to files of their own though its first file names them: what that file imports of them are
 * variables, which are filled when such a file is loaded, by a dynamic import or beside code that cannot do without. A call
 * before that throws.
 * @module
 */

import * as esbuild from "esbuild";
import type { Node } from "acorn";
import MagicString from "magic-string";
import type { Plugin } from "rollup";
import { parseModule } from "./syntax_tree.ts";

const ROOT = new URL("../", import.meta.url).pathname;

/** Ends of the names under which Rollup knows the three modules that a late one becomes. */
const [STAND_IN, FILLER, OWN] = ["?late", "?filler", "?own"];

/**
 * What late modules export, as variables that are functions which fail until the modules are loaded, one for each way to have
 * them; and what fills the variables, a function for each module.
 */
const VARIABLES = "\0late_variables";
const variablesCode = (modules: readonly { readonly names: readonly string[]; readonly cure: string }[]) => {
  const cures = [...new Set(modules.map(({ cure }) => cure))];
  const at = (number: number, names: readonly string[]) => names.map((name) => `${name}_${number}`);
  return `const missing = (cure) => function () { // no arrow: a class that is not there has no objects
  throw new Error(\`Cannot finish the call: \${cure}; see README.md, "In a browser"\`);
};
${cures.map((cure, number) => `const missing_${number} = missing(${JSON.stringify(cure)});`).join("\n")}
${
    modules.map(({ names, cure }, number) =>
      at(number, names).map((name) => `export let ${name} = missing_${cures.indexOf(cure)};`).join("\n")
    ).join("\n")
  }
export const fills = [${
    modules.map(({ names }, number) => {
      const variables = at(number, names);
      const given = variables.map((_, i) => `given_${i}`);
      return `(${given.join(", ")}) => { ${variables.map((name, i) => `${name} = ${given[i]};`).join(" ")} }`;
    }).join(",\n")
  }];`;
};

/** What a module exports: its own names, those that it passes on, with where they come from, and whole modules. */
interface Exports {
  readonly own: readonly string[];
  readonly passedOn: ReadonlyMap<string, { readonly from: string; readonly name: string }>;
  readonly whole: readonly string[];
}

type Named = Node & { readonly name: string };
type Specifier = { readonly local: Named; readonly exported: Named };

/** The path that a relative import of a module means. */
const resolve = (specifier: string, importer: string): string =>
  new URL(specifier, `file://${importer.split("?")[0]}`).pathname;

async function readExports(path: string): Promise<Exports> {
  const { code } = await esbuild.transform(await Deno.readTextFile(path), { loader: "ts", format: "esm" });
  const own: string[] = [];
  const imported = new Map<string, { from: string; name: string }>();
  const passedOn = new Map<string, { from: string; name: string }>();
  const whole: string[] = [];
  for (const node of parseModule(code).body) {
    if (node.type === "ExportAllDeclaration") whole.push(resolve(String(node.source.value), path));
    if (node.type === "ImportDeclaration") { // esbuild makes these of names that are passed on
      const from = resolve(String(node.source.value), path);
      for (const specifier of node.specifiers) {
        if (specifier.type !== "ImportSpecifier") continue;
        imported.set(specifier.local.name, { from, name: (specifier.imported as Named).name });
      }
    }
    if (node.type !== "ExportNamedDeclaration") continue;
    for (const { local, exported } of node.specifiers as unknown as Specifier[]) {
      const origin = imported.get(local.name);
      if (origin) passedOn.set(exported.name, origin);
      else own.push(exported.name);
    }
    const { declaration } = node;
    if (declaration?.type === "VariableDeclaration") {
      own.push(...declaration.declarations.map(({ id }) => (id as unknown as Named).name));
    } else if (declaration) own.push(declaration.id.name);
  }
  return { own, passedOn, whole };
}

/** Names that a module's code takes from others; those that it passes on are among them. */
function namesTaken(code: string): { readonly name: string; readonly from: string }[] {
  return parseModule(code).body.flatMap((node) =>
    node.type !== "ImportDeclaration"
      ? []
      : node.specifiers.flatMap((specifier) =>
        specifier.type === "ImportSpecifier"
          ? [{ name: (specifier.imported as Named).name, from: String(node.source.value) }]
          : []
      )
  );
}

/**
 * Makes modules late.
 * @param late their paths from the root of the repository
 * @param eager paths of the modules of the first file, which runs without them; all other modules bring what they name.
 *   Null: the late modules are left out, to find that out
 * @param brought late modules that a module brings though it does not name them, by its path
 * @param cureOf what messages say of how to have a late module, by its path; default that a part is required
 */
export function lateModules(
  late: ReadonlySet<string>,
  eager: ReadonlySet<string> | null,
  brought: Readonly<Record<string, readonly string[]>> = {},
  cureOf: (path: string) => string = () => "a part of it is required",
): Plugin {
  const isLate = (path: string) => path.startsWith(ROOT) && late.has(path.slice(ROOT.length));
  const all = [...late].toSorted();
  const known = new Map<string, Promise<Exports>>();
  const exportsOf = (path: string): Promise<Exports> => {
    if (!known.has(path)) known.set(path, readExports(path));
    return known.get(path)!;
  };
  /** The late module that a name comes from; undefined where it is of another. */
  const originOf = async (path: string, name: string): Promise<string | undefined> => {
    if (isLate(path)) return path;
    if (!path.endsWith(".ts")) return undefined;
    const { passedOn, whole } = await exportsOf(path);
    const passed = passedOn.get(name);
    if (passed) return await originOf(passed.from, passed.name);
    for (const each of whole) {
      const origin = await originOf(each, name);
      if (origin !== undefined && (await exportsOf(origin)).own.includes(name)) return origin;
    }
    return undefined;
  };
  /** The late modules of all names that a module passes on. */
  const originsOf = async (path: string): Promise<(string | undefined)[]> => {
    const { passedOn, whole } = await exportsOf(path);
    const named = [...passedOn.values()].map(({ from, name }) => originOf(from, name));
    return [...await Promise.all(named), ...(await Promise.all(whole.map(originsOf))).flat()];
  };
  return {
    name: "late modules",
    resolveId(specifier, importer) {
      if (specifier === VARIABLES || specifier.includes("?")) {
        return { id: specifier, external: eager === null && specifier.endsWith(STAND_IN) };
      }
      if (importer === undefined || !specifier.startsWith(".")) return null;
      const path = resolve(specifier, importer);
      return isLate(path) ? { id: path + STAND_IN, external: eager === null } : null;
    },
    resolveDynamicImport(specifier, importer) {
      if (typeof specifier !== "string" || !specifier.startsWith(".")) return null;
      if (eager === null) return { id: `\0later:${specifier}`, external: true };
      const path = resolve(specifier, importer);
      return isLate(path) ? { id: path + FILLER, moduleSideEffects: true } : null;
    },
    async load(id) {
      if (id === VARIABLES) {
        const modules = all.map(async (path) => ({
          names: (await exportsOf(ROOT + path)).own,
          cure: cureOf(path),
        }));
        return variablesCode(await Promise.all(modules));
      }
      const path = id.split("?")[0];
      const number = all.indexOf(path.slice(ROOT.length));
      if (id.endsWith(STAND_IN)) {
        const { own } = await exportsOf(path);
        return `export { ${
          own.map((name) => `${name}_${number} as ${name}`).join(", ")
        } } from "${VARIABLES}";`;
      }
      if (!id.endsWith(FILLER)) return null;
      const names = (await exportsOf(path)).own.join(", ");
      return `import { ${names} } from ${JSON.stringify(path + OWN)};
import { fills } from "${VARIABLES}";
fills[${number}](${names});
export { ${names} };`;
    },
    async transform(code, id) {
      const [path, kind] = id.split("?");
      const isRest = kind === "rest" || kind === "texts"; // of a module of the first file, see split_modules.ts, late_texts.ts
      const isCode = path.startsWith(ROOT) && (kind === undefined || isRest || id.endsWith(OWN));
      if (!isCode || path.endsWith("/mod.ts") || eager === null) return null;
      const own = namesTaken(code).filter(({ from }) => from.startsWith("."));
      const origins = eager.has(path) && !isRest ? [] : [
        ...await Promise.all(own.map(({ name, from }) => originOf(resolve(from, path), name))),
        ...(await Promise.all((await exportsOf(path)).whole.map(originsOf))).flat(),
      ];
      origins.push(...(brought[path.slice(ROOT.length)] ?? []).map((each) => ROOT + each).filter(isLate));
      const needed = new Set(origins.filter((origin) => origin !== undefined && origin !== path));
      if (needed.size === 0) return null;
      const imports = [...needed].map((origin) => `import ${JSON.stringify(origin + FILLER)};`);
      const edited = new MagicString(code).prepend(imports.join(""));
      return { code: edited.toString(), map: edited.generateMap({ hires: "boundary" }).toString() };
    },
  };
}
