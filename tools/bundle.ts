/**
 * Bundles a module for browsers in one file, and beside it the packages that tokenizers and files of data need, each loaded
 * on first use. Other npm packages and `node:` modules, which the core reaches by dynamic import alone, stay outside.
 * @module
 */
import * as esbuild from "esbuild";
import type { OutputChunk } from "rollup";
import { linkPackages } from "./package_links.ts";
import { build } from "./rollup_build.ts";
import { blankSource, lineAt } from "./source_text.ts";

/** A finished bundle. */
export interface Bundle {
  /** The ES module. */
  readonly code: string;
  /** Its source map, as JSON. */
  readonly map: string;
  /** Bytes of `code`. */
  readonly byteLength: number;
  /** Bytes of `code` after gzip. */
  readonly gzipLength: number;
  /** Modules that belong beside it, by file name: what tokenizers load on first use. */
  readonly parts: ReadonlyMap<string, string>;
  /** What keeps it from running in a browser; empty when it does. */
  readonly problems: readonly string[];
}

/** Globals of Deno and Node that no browser has; keys and methods of such a name (`require(a){…}`) are no uses of it. */
const RUNTIME_NAMES =
  /(?<![\w$]|\.\s*)(Deno|process|Buffer|require|__dirname|__filename|setImmediate)\b(?!\s*:|\s*\([^()]*\)\s*\{)/g;

/** Names a bundle imports at load time or takes from Deno or Node, each as one line with what surrounds it. */
export function findRuntimeNames(code: string): string[] {
  const { code: blanked } = blankSource(code);
  return [...blanked.matchAll(RUNTIME_NAMES)].map((match) => {
    const around = code.slice(Math.max(0, match.index - 40), match.index + 40).replaceAll("\n", " ");
    return `line ${lineAt(code, match.index)} names ${match[1]}: …${around}…`;
  });
}

/** A package that goes with the bundle. */
interface Part {
  readonly file: string;
  /** Its entry in deno.json. */
  readonly entry: string;
  /** Packages that it imports itself, with their versions. */
  readonly needs?: readonly string[];
}

/** The package of the hub, which {@linkcode bundleHub} bundles, and its file. */
const HUB = "@huggingface/hub";
const HUB_FILE = "peft_webgpu_hub.js";

/** Packages that go with the bundle, by the specifier that the source imports: file name, and package in deno.json. */
export const PARTS: Readonly<Record<string, Part>> = {
  "@huggingface/tokenizers": { file: "peft_webgpu_tokenizers.js", entry: "@huggingface/tokenizers" },
  "@huggingface/jinja": { file: "peft_webgpu_jinja.js", entry: "@huggingface/jinja" },
  "@noble/hashes/sha2.js": { file: "peft_webgpu_sha256.js", entry: "@noble/hashes/" },
  "@noble/hashes/legacy.js": { file: "peft_webgpu_sha1.js", entry: "@noble/hashes/" },
  "papaparse": { file: "peft_webgpu_csv.js", entry: "papaparse" },
  "hyparquet": { file: "peft_webgpu_parquet.js", entry: "hyparquet" },
  "hyparquet-compressors": {
    file: "peft_webgpu_parquet_compressors.js",
    entry: "hyparquet-compressors",
    needs: ["fzstd@0.1.1", "hysnappy@1.1.1"],
  },
  "gpt-tokenizer/bpeRanks/r50k_base": { file: "peft_webgpu_gpt2_vocabulary.js", entry: "gpt-tokenizer/" },
};

/** The hub's package for browsers, as far as it is called: uploads by Git LFS do without its WebAssembly. */
const HUB_CALLS = [
  "commitIter",
  "createBranch",
  "createRepo",
  "listFiles",
  "modelInfo",
  "pathsInfo",
  "repoExists",
  "whoAmI",
];

/** Options that every file for browsers shares. */
export const COMMON = {
  bundle: true,
  write: false,
  minify: true,
  lineLimit: 200, // runtimes print the line of an error
  format: "esm",
  platform: "browser",
  target: "es2022",
  // `using` and top-level await are what older browsers lack: the first is lowered, the second refused.
  supported: { "top-level-await": false },
  logLevel: "silent",
} as const satisfies esbuild.BuildOptions;

/** Bytes after gzip. */
export function gzip(bytes: Uint8Array<ArrayBuffer>): Promise<ArrayBuffer> {
  const zipped = new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Response(zipped).arrayBuffer();
}

/** The packages of {@linkcode PARTS}, with versions. @param imports of deno.json */
export const partPackages = (imports: Readonly<Record<string, string>>): string[] =>
  Object.values(PARTS).flatMap(({ entry, needs = [] }) => [imports[entry], ...needs]);

/** Text of the hub's part. @param folder with the package in it, as {@linkcode linkPackages} makes it */
export async function bundleHub(folder: string): Promise<string> {
  const { outputFiles } = await esbuild.build({
    ...COMMON,
    define: { process: "undefined" }, // which it asks for
    stdin: {
      resolveDir: folder,
      // the file by its path: esbuild does not look at "browser" where a package has "exports"
      contents: `export { ${HUB_CALLS.join(", ")} } from "./@huggingface/hub/dist/browser/index.mjs";`,
    },
    plugins: [{
      name: "no xet",
      setup: (build) => {
        build.onResolve({ filter: /xetchunk-wasm$/ }, ({ path }) => ({ path, namespace: "none" }));
        build.onLoad({ filter: /./, namespace: "none" }, () => ({ contents: "module.exports = {};" }));
      },
    }],
  });
  return outputFiles[0].text;
}

/** Text of each part. */
async function bundleParts(imports: Readonly<Record<string, string>>): Promise<Map<string, string>> {
  const folder = await linkPackages([...partPackages(imports), imports[HUB]]);
  try {
    const parts = new Map([[HUB_FILE, await bundleHub(folder)]]);
    for (const [specifier, { file }] of Object.entries(PARTS)) {
      const { outputFiles } = await esbuild.build({
        ...COMMON,
        stdin: {
          resolveDir: folder,
          contents:
            `export * from "${specifier}"; import * as all from "${specifier}"; export default all.default;`,
        },
        nodePaths: [folder],
      });
      parts.set(file, outputFiles[0].text);
    }
    return parts;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The file of a package that goes with the bundle; undefined for one that stays outside. */
export function partOf(specifier: string): string | undefined {
  if (specifier === HUB) return `./${HUB_FILE}`;
  return Object.hasOwn(PARTS, specifier) ? `./${PARTS[specifier].file}` : undefined;
}

/** What keeps a file from running in a browser: what it imports at load time from outside, and runtimes' names. */
export function findProblems({ code, imports }: OutputChunk, own: ReadonlySet<string>): string[] {
  const outside = imports.filter((name) => !own.has(name));
  return [...outside.map((name) => `imports "${name}" at load time`), ...findRuntimeNames(code)];
}

/**
 * Bundles one entry point for browsers.
 * @param entry path of the TypeScript file, such as `entries/all.ts`
 * @param options `parts`: also bundle what tokenizers load on first use; default true
 * @throws Error with the messages of the build where a file cannot be read or parsed, or awaits at top level
 */
export async function bundle(entry: string, options: { parts?: boolean } = {}): Promise<Bundle> {
  const { imports } = JSON.parse(await Deno.readTextFile(new URL("../deno.json", import.meta.url)));
  const [chunk] = await build({ entries: { peft_webgpu: entry }, external: partOf, single: true });
  const parts = options.parts ?? true ? await bundleParts(imports) : new Map<string, string>();
  await esbuild.stop();
  const bytes = new TextEncoder().encode(chunk.code);
  const inParts = [...parts].flatMap(([file, part]) =>
    findRuntimeNames(part).map((problem) => `${problem} (in ${file})`)
  );
  return {
    code: chunk.code,
    map: chunk.map!.toString(),
    byteLength: bytes.length,
    gzipLength: (await gzip(bytes)).byteLength,
    parts,
    problems: [...findProblems(chunk, new Set()), ...inParts],
  };
}
