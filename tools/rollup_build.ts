/**
 * Builds the library for browsers: Rollup puts the modules of each file together, esbuild takes the types out, and what the
 * result says at load time and of its runtime is checked.
 * @module
 */

import * as esbuild from "esbuild";
import { type OutputChunk, type Plugin, rollup } from "rollup";
import { minify } from "terser";
import { minifyWgsl } from "./minify_wgsl.ts";
import { pureInitializers } from "./pure_initializers.ts";
import { type ExportNames, renameImports, shortenExports } from "./short_exports.ts";

const ROOT = new URL("../", import.meta.url).pathname;

/** Language of the files. */
const TARGET = "es2022";

/** The file that all others share. */
const CORE = "core";

/** Characters of a line, about. */
const LINE = 200;

/**
 * Modules that do something when they are loaded, and those that load them for it alone. What other modules do then matters
 * to nobody who uses none of their names.
 */
const WITH_SIDE_EFFECTS = ["/peft/mod.ts", "/peft/adapter_wrapper.ts", "?filler", "?more"];

/** What a build makes. */
export interface BuildOptions {
  /** Modules that become files, by the files' names without ".js". */
  readonly entries: Readonly<Record<string, string>>;
  /** Where imports that are no files of the library go, by specifier; others stay as they are. */
  readonly external: (specifier: string) => string | undefined;
  /** Plugins that see modules before the library's own loader. */
  readonly plugins?: readonly Plugin[];
  /** One file: what is imported on first use is in it. Default false: such modules are files of their own. */
  readonly single?: boolean;
  /** Whether a module is in the file that all others share; default: each is where it is loaded. */
  readonly isCore?: (path: string) => boolean;
  /** What the names of files that are no entries begin with; default nothing. */
  readonly chunkPrefix?: string;
  /** Whether to look for the shortest code, which takes three times as long; default false. */
  readonly shortest?: boolean;
  /** Whether code is as long as it is written; default false. */
  readonly isPlain?: boolean;
  /** Whether to find out which modules are in which file and no more: their code stays long, without maps; default false. */
  readonly isTrial?: boolean;
}

/** A module without its types. */
interface Plain {
  readonly text: string;
  readonly result: Promise<esbuild.TransformResult>;
}

/** By path: builds of one process share most modules. */
const plain = new Map<string, Plain>();

/** Takes the types out of a module. */
export async function withoutTypes(path: string): Promise<esbuild.TransformResult> {
  const text = await Deno.readTextFile(path);
  const known = plain.get(path);
  if (known?.text === text) return await known.result;
  const result = esbuild.transform(text, {
    loader: "ts",
    target: TARGET,
    // `using` and top-level await are what older browsers lack: the first is lowered, the second refused.
    supported: { "top-level-await": false },
    sourcemap: "external",
    sourcefile: path,
    logLevel: "silent",
  });
  plain.set(path, { text, result });
  return await result;
}

/** Loads the library's modules: their types go, and the WGSL of kernels becomes shorter. */
function modules({ entries, external }: BuildOptions): Plugin {
  return {
    name: "library",
    resolveId(specifier, importer) {
      if (importer === undefined) return entries[specifier];
      if (specifier.startsWith(".")) return new URL(specifier, `file://${importer.split("?")[0]}`).pathname;
      return { id: external(specifier) ?? specifier, external: "absolute" };
    },
    async load(id) {
      const { code, map } = await withoutTypes(id.split("?")[0]);
      return { code, map };
    },
    transform: (code, path) =>
      path.startsWith(`${ROOT}kernels/`) && !path.endsWith("?texts") ? minifyWgsl(code) : null,
  };
}

/**
 * Makes a file's code short. Lines stay short enough for a runtime to print the one of an error; the shortest code is for
 * browsers, which have the source map.
 */
function minified(shortest: boolean): Plugin {
  const names = Promise.withResolvers<ExportNames>();
  return {
    name: "minified",
    async renderChunk(code, chunk, _, { chunks }) {
      if (!shortest) {
        const how = { minify: true, lineLimit: LINE, target: TARGET, sourcemap: "external" } as const;
        const { code: short, map } = await esbuild.transform(code, { ...how, format: "esm" });
        return { code: short, map };
      }
      const isCore = chunk.name === CORE;
      const [others] = Object.values(chunks).filter(({ name }) => !isCore && name === CORE);
      const named = others ? renameImports(code, `./${others.fileName}`, await names.promise) : code;
      const { code: short, map } = await minify(named, {
        module: true,
        ecma: 2020,
        compress: { passes: 3, pure_getters: true, keep_fargs: false },
        format: { comments: false },
        sourceMap: true,
      });
      if (!isCore) return { code: short!, map: map as string };
      const shorter = shortenExports(short!);
      names.resolve(shorter.names);
      return { code: shorter.code, map: map as string };
    },
  };
}

/**
 * Builds the files.
 * @throws Error with the message of the step that fails: a file that cannot be read or parsed, or awaits at top level
 */
export async function build(options: BuildOptions): Promise<OutputChunk[]> {
  const {
    entries,
    single = false,
    shortest = false,
    isPlain = false,
    isTrial = false,
    chunkPrefix = "",
    isCore = () => false,
  } = options;
  const bundle = await rollup({
    input: Object.fromEntries(Object.keys(entries).map((name) => [name, name])),
    treeshake: {
      moduleSideEffects: (path) => WITH_SIDE_EFFECTS.some((end) => path.endsWith(end)),
      propertyReadSideEffects: false,
    },
    plugins: [...options.plugins ?? [], modules(options), pureInitializers()],
    onLog: () => {},
  });
  try {
    const { output } = await bundle.generate({
      format: "es",
      inlineDynamicImports: single,
      ...single ? {} : { manualChunks: (path: string) => isCore(path) ? CORE : undefined },
      onlyExplicitManualChunks: true,
      hoistTransitiveImports: false,
      minifyInternalExports: true,
      entryFileNames: "[name].js",
      chunkFileNames: `${chunkPrefix}[name].js`,
      sourcemap: !isTrial,
      plugins: isTrial || isPlain ? [] : [minified(shortest)],
    });
    return output.filter((file) => file.type === "chunk");
  } finally {
    await bundle.close();
  }
}
