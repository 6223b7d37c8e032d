/**
 * Which file imports which, types included, and the circles in it.
 * @module
 */
import { blankSource, findImports } from "./source_text.ts";

/** Files by path, with the paths of the files they import; paths are relative to the repository's root. */
export type ImportGraph = ReadonlyMap<string, readonly string[]>;

/** Resolves a relative specifier against the file that names it; both relative to the root, with slashes. */
export function resolveImport(from: string, specifier: string): string {
  const parts = from.split("/").slice(0, -1);
  for (const step of specifier.split("/")) {
    if (step === "..") parts.pop();
    else if (step !== ".") parts.push(step);
  }
  return parts.join("/");
}

/** The graph of sources by path. Imports that load later, with `import(…)`, count; packages do not. */
export function importGraph(sources: ReadonlyMap<string, string>): ImportGraph {
  const graph = new Map<string, string[]>();
  for (const [path, text] of sources) {
    const targets = findImports(blankSource(text))
      .filter(({ specifier }) => specifier.startsWith("."))
      .map(({ specifier }) => resolveImport(path, specifier))
      .filter((target) => sources.has(target));
    graph.set(path, [...new Set(targets)]);
  }
  return graph;
}

/**
 * Groups of files that import each other in a circle, each sorted, largest first (Tarjan's strongly connected components
 * of more than one file, and files that import themselves).
 */
export function findCircles(graph: ImportGraph): string[][] {
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const found: string[][] = [];
  const visit = (path: string) => {
    index.set(path, index.size);
    low.set(path, index.get(path)!);
    stack.push(path);
    for (const target of graph.get(path) ?? []) {
      if (!index.has(target)) {
        visit(target);
        low.set(path, Math.min(low.get(path)!, low.get(target)!));
      } else if (stack.includes(target)) low.set(path, Math.min(low.get(path)!, index.get(target)!));
    }
    if (low.get(path) !== index.get(path)) return;
    const group = stack.splice(stack.indexOf(path));
    if (group.length > 1 || graph.get(path)!.includes(path)) found.push(group.sort());
  };
  for (const path of graph.keys()) if (!index.has(path)) visit(path);
  return found.sort((a, b) => b.length - a.length);
}

/** A shortest way from a file of a circle back to itself: `a.ts -> b.ts -> a.ts`. */
export function showCircle(graph: ImportGraph, group: readonly string[]): string {
  const start = group[0];
  const from = new Map<string, string>();
  const queue = [start];
  for (const path of queue) {
    for (const target of graph.get(path) ?? []) {
      if (target === start) {
        const way = [start];
        for (let at = path; at !== start; at = from.get(at)!) way.unshift(at);
        return [start, ...way].join(" -> ");
      }
      if (group.includes(target) && !from.has(target)) {
        from.set(target, path);
        queue.push(target);
      }
    }
  }
  return group.join(", ");
}
