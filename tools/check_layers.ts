/**
 * Checks the arrows between folders that docs/architecture.md draws, and what keeps the core free of a runtime:
 * no `Deno`, no static `node:` or `npm:` import, no top-level await; and what keeps `jobs/` in a browser. Run: `deno run --allow-read tools/check_layers.ts`.
 * @module
 */
import { findCircles, importGraph, resolveImport, showCircle } from "./import_graph.ts";
import { blankSource, findImports, lineAt } from "./source_text.ts";
import { listFiles } from "./list_files.ts";

/** Folders whose files run in any WebGPU runtime, browsers included. */
export const CORE_FOLDERS: readonly string[] = [
  "options",
  "kernels",
  "gpu",
  "autograd",
  "tuning",
  "io",
  "nn",
  "model",
  "peft",
  "train",
  "plan",
];

/** Folders above the core whose files run in a browser's worker, too. */
const BROWSER_FOLDERS: readonly string[] = ["jobs"];

/** What the files of each folder may import, besides their own folder. `types:` allows type imports alone. */
export const ARROWS: Readonly<Record<string, readonly string[]>> = {
  options: [],
  kernels: [],
  gpu: ["types:kernels", "options"],
  autograd: ["gpu", "kernels", "options"],
  tuning: ["autograd", "gpu", "kernels", "io", "options"],
  io: ["options"],
  nn: ["autograd", "options"],
  model: ["nn", "autograd", "io", "options"],
  peft: ["nn", "autograd", "io", "options"],
  train: ["nn", "autograd", "io", "options"],
  plan: ["train", "peft", "model", "nn", "autograd", "options"],
  serve: ["mod.ts", "entries"],
  distributed: ["mod.ts", "entries", "options"],
  jobs: ["mod.ts", "entries", "options", "distributed"],
  cli: ["mod.ts", "entries", "options", "serve", "distributed", "jobs"],
  studio: ["mod.ts", "entries", "options", "distributed", "jobs"],
  examples: ["mod.ts", "entries", "tools"],
  bench: [...CORE_FOLDERS, "mod.ts", "entries", "cli", "jobs", "examples", "tools"],
  "auto_peft.ts": ["model", "peft", "io", "options"],
  "mod.ts": [...CORE_FOLDERS, "auto_peft.ts"],
  entries: [...CORE_FOLDERS, "auto_peft.ts"],
};

/** Layers inside a folder, lowest first: a file imports from its own layer and those below it. */
export const LAYERS: Readonly<Record<string, readonly (readonly string[])[]>> = {
  peft: [
    ["peft/config/", "peft/targets/", "peft/adaptable_model.ts"],
    ["peft/state/"],
    ["peft/layers/"],
    ["peft/methods/", "peft/lora/", "peft/bottleneck/", "peft/trainable_tokens/", "peft/virtual_tokens/"],
    ["peft/registry.ts"],
    ["peft/files/"],
    ["peft/adapters/"],
    ["peft/operations/"],
    ["peft/peft_model.ts", "peft/extract_lora.ts"],
    ["peft/adapter_wrapper.ts"],
    ["peft/mod.ts"],
  ],
};

/** Number of the layer of a path in its folder; -1 where the folder has layers and none lists it. */
function layerOf(path: string): number {
  return LAYERS[partOf(path)].findIndex((entries) =>
    entries.some((entry) => entry.endsWith("/") ? path.startsWith(entry) : path === entry)
  );
}

/** Why one file of a folder with layers may not import another of it, or null. */
function layerProblem(from: string, to: string): string | null {
  if (!Object.hasOwn(LAYERS, partOf(from)) || partOf(to) !== partOf(from)) return null;
  const [own, other] = [layerOf(from), layerOf(to)];
  if (own < 0) return `${from} is in none of the layers of ${partOf(from)}/`;
  if (other <= own) return null;
  return `imports ${to}, of a layer above its own (${LAYERS[partOf(from)][other][0]})`;
}

/** The part of the repository a path belongs to: its first folder, or the file's name at the root. */
function partOf(path: string): string {
  return path.split("/")[0];
}

/**
 * Violations in one file, each as `path:line message`.
 * @param path where the file stands, relative to the repository's root
 * @param text its source
 */
export function checkFile(path: string, text: string): string[] {
  const part = partOf(path);
  const allowed = ARROWS[part];
  if (allowed === undefined) return [];
  const core = CORE_FOLDERS.includes(part) || ["mod.ts", "entries", "auto_peft.ts"].includes(part);
  const source = blankSource(text);
  const problems: string[] = [];
  const report = (line: number, message: string) => problems.push(`${path}:${line} ${message}`);

  for (const { specifier, line, typeOnly, dynamic } of findImports(source)) {
    if (specifier.startsWith(".") || specifier.startsWith("@peft/webgpu")) {
      const target = specifier.startsWith(".")
        ? partOf(resolveImport(path, specifier))
        : specifier === "@peft/webgpu"
        ? "mod.ts"
        : "entries";
      const layer = specifier.startsWith(".") ? layerProblem(path, resolveImport(path, specifier)) : null;
      if (layer !== null) report(line, layer);
      if (core && specifier.startsWith("@")) {
        report(line, `imports "${specifier}": the core imports its own files by relative paths`);
      } else if (target !== part && !allowed.includes(target)) {
        const typesAllowed = allowed.includes(`types:${target}`);
        if (typesAllowed && typeOnly) continue;
        const may = allowed.map((a) => a.replace("types:", "types of ")).join(", ") || "nothing";
        report(line, `imports "${specifier}": ${part} may import ${may}, received ${target}`);
      }
    } else if (/^(?:https?|jsr):/.test(specifier)) {
      report(line, `imports "${specifier}": packages come from npm through the import map`);
    } else if (BROWSER_FOLDERS.includes(part) && /^(?:node:|@std\/)/.test(specifier)) {
      report(line, `imports "${specifier}": ${part} runs in browsers too`);
    } else if (core && !dynamic && !typeOnly) {
      report(line, `imports "${specifier}" at load time: the core reaches packages by dynamic import`);
    } else if (core && specifier.startsWith("node:") && part !== "io") {
      report(line, `imports "${specifier}": only io touches files and the runtime`);
    } else if (core && specifier.startsWith("npm:")) {
      report(line, `imports "${specifier}": name the package in the import map of deno.json`);
    }
  }
  if (core || BROWSER_FOLDERS.includes(part)) {
    for (const match of source.code.matchAll(/(?<![.\w$])Deno\b/g)) {
      const what = core ? "the core runs in browsers and Node too" : `${part} runs in browsers too`;
      report(lineAt(source.code, match.index), `names Deno: ${what}`);
    }
  }
  if (core) {
    for (const match of source.code.matchAll(/(?<![.\w$])using\s+[\w$]+\s*=/g)) {
      report(lineAt(source.code, match.index), "declares with using: Node 20 cannot run it");
    }
    for (const index of topLevelAwaits(source.code)) {
      report(lineAt(source.code, index), "awaits at top level: the core loads synchronously");
    }
  }
  return problems;
}

/** Indices of `await` outside every bracket. */
function topLevelAwaits(code: string): number[] {
  const found: number[] = [];
  let depth = 0;
  for (const match of code.matchAll(/[{(]|[})]|(?<![.\w$])await\b/g)) {
    if (match[0] === "await") {
      if (depth === 0) found.push(match.index);
    } else depth += match[0] === "{" || match[0] === "(" ? 1 : -1;
  }
  return found;
}

/** Files that import each other in a circle, types included, each circle as one line. */
export function checkCircles(sources: ReadonlyMap<string, string>): string[] {
  const graph = importGraph(sources);
  return findCircles(graph).map((group) =>
    `${group.length} files import each other in a circle: ${showCircle(graph, group)}`
  );
}

/** Violations in all TypeScript and JavaScript files under a repository's root, sorted by path. */
export async function checkLayers(root: string): Promise<string[]> {
  const sources = new Map<string, string>();
  for (const path of await listFiles(root, /\.(?:[cm]?[jt]s|[jt]sx)$/, Object.keys(ARROWS))) {
    sources.set(path, await Deno.readTextFile(`${root}/${path}`));
  }
  return [...[...sources].flatMap(([path, text]) => checkFile(path, text)), ...checkCircles(sources)];
}

if (import.meta.main) {
  const problems = await checkLayers(Deno.args[0] ?? ".");
  for (const problem of problems) console.error(problem);
  console.log(problems.length === 0 ? "arrows hold" : `${problems.length} arrows broken`);
  Deno.exit(problems.length === 0 ? 0 : 1);
}
