/**
 * Dynamic imports of the library's own modules, for builds that are better off without.
 * @module
 */

/**
 * Own modules that programs load later: what reads tokenizers of GGUF files, what pushes to the hub, beside its package, and
 * sockets of Deno and Node.
 */
const LOADED_LATER = /\/(?:gguf_tokenizer|hub_push|nats_socket)\.[jt]s$/;

/** A dynamic import of which a statement takes some names: those alone are imported. */
const TAKEN_APART = /\bconst \{([\w\s,:$]+)\} = await import\("(\.[^"]+)"\);/g;

/** A statement that only loads a module. */
const LOADED = /(?<=(?:^|[;{})])\s*)await import\("(\.[^"]+)"\);/gm;

/**
 * A module that imports at load time what it would import on first use. esbuild, when it splits, puts all that such an
 * import reaches into a page's first file wherever an index module names it, too, and keeps every export of it: a page
 * would grow by a quarter.
 */
export function withoutLateImports(code: string): string {
  const imports: string[] = [];
  const known = new Map<string, string>();
  const imported = (path: string, name: string | null) => {
    const key = `${path} ${name ?? ""}`;
    if (!known.has(key)) {
      const local = `later_${known.size}`;
      known.set(key, local);
      const what = name === null ? `* as ${local}` : `{ ${name} as ${local} }`;
      imports.push(`import ${what} from "${path}";\n`);
    }
    return known.get(key)!;
  };
  const named = code.replace(TAKEN_APART, (whole, list: string, path: string) => {
    if (LOADED_LATER.test(path)) return whole;
    const names = list.split(",").map((each) => each.trim()).filter((each) => each !== "");
    return names.map((each) => {
      const [name, local = name] = each.split(":").map((part) => part.trim());
      return `const ${local} = ${imported(path, name)};`;
    }).join(" ");
  });
  const loaded = named.replace(LOADED, (whole, path: string) => {
    if (LOADED_LATER.test(path)) return whole;
    imports.push(`import "${path}";\n`);
    return ";";
  });
  const changed = loaded.replace(/(await )?\bimport\("(\.[^"]+)"\)/g, (whole, awaited, path: string) => {
    if (LOADED_LATER.test(path)) return whole;
    const all = imported(path, null);
    return awaited ? all : `Promise.resolve(${all})`;
  });
  return imports.join("") + changed;
}
