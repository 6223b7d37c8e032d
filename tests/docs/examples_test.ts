/**
 * Every export has an example in its comment, and it is one of those that snippets_test.ts runs.
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { snippetsOfComments } from "./snippets.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** Exports whose example does not run, by name, and why. */
const NOT_RUN: Readonly<Record<string, string>> = {
  handleStore: "a browser's private file system",
  storeHubModel: "a browser's private file system, and a hub",
  login: "an account of a hub",
  logout: "an account of a hub",
  whoAmI: "an account of a hub",
  uploadFolder: "an account of a hub",
  deleteCachedModel: "a model in the cache that nobody needs any more",
};

/** The part of `deno doc --json` that is read here. */
interface Documentation {
  readonly nodes: Readonly<Record<string, { readonly symbols: readonly DocumentedSymbol[] }>>;
}

/** A name that a module exports. */
interface DocumentedSymbol {
  readonly name: string;
  /** Several for overloads, and for a class with an interface of the same name; one of them has the example. */
  readonly declarations: readonly {
    /** "reference" for a name that another module documents. */
    readonly kind: string;
    readonly location: { readonly filename: string; readonly line: number };
    readonly jsDoc?: { readonly doc?: string; readonly tags?: readonly { kind: string; doc?: string }[] };
  }[];
}

/** One export of the package. */
interface Export {
  readonly name: string;
  /** File and line of its first declaration. */
  readonly place: string;
  /** The code of its examples. */
  readonly examples: readonly string[];
}

/** Every name that an entry of deno.json exports, once. */
async function exportsOfPackage(): Promise<Export[]> {
  const { exports } = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`)) as {
    exports: Record<string, string>;
  };
  const args = ["doc", "--json", ...Object.values(exports)];
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  const { nodes } = JSON.parse(new TextDecoder().decode(stdout)) as Documentation;
  const found = new Map<string, Export>();
  for (const { name, declarations } of Object.values(nodes).flatMap(({ symbols }) => symbols)) {
    const own = declarations.filter(({ kind }) => kind !== "reference");
    if (own.length === 0) continue;
    const { filename, line } = own[0].location;
    const place = `${filename.replace(/^file:\/\//, "").slice(ROOT.length)}:${line}`;
    const texts = own.flatMap(({ jsDoc }) => [jsDoc?.doc, ...jsDoc?.tags?.map(({ doc }) => doc) ?? []]);
    const examples = texts.flatMap((text) =>
      [...(text ?? "").matchAll(/^```ts(?: ignore)?\n([^]*?)^```$/gm)].map(([, code]) => code.trim())
    );
    found.set(`${place} ${name}`, { name, place, examples });
  }
  return [...found.values()];
}

Deno.test("every export has an example that runs, or says why it does not", async () => {
  const run = new Set((await snippetsOfComments()).map(({ code }) => code.trim()));
  const all = await exportsOfPackage();
  assert(all.length > 600, `${all.length} exports`);
  const idle = all.filter(({ examples }) => !examples.some((code) => run.has(code)));
  const isExcused = ({ name, examples }: Export) => Object.hasOwn(NOT_RUN, name) && examples.length > 0;
  assertEquals(idle.filter((entry) => !isExcused(entry)).map(({ place, name }) => `${place} ${name}`), []);
  const excuses = Object.keys(NOT_RUN).filter((name) => !idle.some((entry) => entry.name === name));
  assertEquals(excuses, [], "these have an example that runs, or are no exports");
});
