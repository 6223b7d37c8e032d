/**
 * Dynamic imports of the library's own modules, for builds that are better off without.
 * @module
 */

/** Own modules that programs load later: what pushes to the hub, beside its package, and sockets of Deno and Node. */
const LOADED_LATER = /\/(?:hub_push|nats_socket)\.[jt]s$/;

/**
 * A module that imports at load time what it would import on first use. esbuild, when it splits, puts all that such an
 * import reaches into a page's first file wherever an index module names it, too, and keeps every export of it: a page
 * would grow by a quarter.
 */
export function withoutLateImports(code: string): string {
  const namespaces = new Map<string, string>();
  const changed = code.replace(/(await )?\bimport\("(\.[^"]+)"\)/g, (whole, awaited, path: string) => {
    if (LOADED_LATER.test(path)) return whole;
    const name = namespaces.get(path) ?? `later_${namespaces.size}`;
    namespaces.set(path, name);
    return awaited ? name : `Promise.resolve(${name})`;
  });
  return [...namespaces].map(([path, name]) => `import * as ${name} from "${path}";\n`).join("") + changed;
}
