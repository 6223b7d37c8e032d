/**
 * Bundles mod.ts for browsers with esbuild: dist/peft_webgpu.js, one ES module with a source map. npm packages and
 * `node:` modules, which the core reaches by dynamic import alone, stay outside. Fails where the result still names
 * Deno or Node, or imports anything at load time. Run: `deno task bundle`.
 * @module
 */
import * as esbuild from "esbuild";
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
  /** What keeps it from running in a browser; empty when it does. */
  readonly problems: readonly string[];
}

/** Globals of Deno and Node that no browser has. */
const RUNTIME_NAMES = /(?<![.\w$])(Deno|process|Buffer|require|__dirname|__filename|setImmediate)\b(?!\s*:)/g;

/** Names a bundle imports at load time or takes from Deno or Node, each as one line with what surrounds it. */
export function findRuntimeNames(code: string): string[] {
  const { code: blanked } = blankSource(code);
  return [...blanked.matchAll(RUNTIME_NAMES)].map((match) => {
    const around = code.slice(Math.max(0, match.index - 40), match.index + 40).replaceAll("\n", " ");
    return `line ${lineAt(code, match.index)} names ${match[1]}: …${around}…`;
  });
}

/**
 * Bundles one entry point for browsers.
 * @param entry path of the TypeScript file, such as `mod.ts`
 * @throws Error with esbuild's messages where a file cannot be read or parsed, or awaits at top level
 */
export async function bundle(entry: string): Promise<Bundle> {
  const { imports } = JSON.parse(await Deno.readTextFile(new URL("../deno.json", import.meta.url)));
  const packages = Object.entries(imports as Record<string, string>)
    .filter(([, target]) => target.startsWith("npm:"))
    .map(([name]) => name.endsWith("/") ? `${name}*` : name);
  const result = await esbuild.build({
    entryPoints: [entry],
    outfile: "peft_webgpu.js",
    bundle: true,
    write: false,
    metafile: true,
    minify: true,
    sourcemap: "linked",
    format: "esm",
    platform: "browser",
    target: "es2022",
    // `using` and top-level await are what older browsers lack: the first is lowered, the second refused.
    supported: { "top-level-await": false },
    external: ["node:*", ...packages],
    logLevel: "silent",
  });
  await esbuild.stop();
  const text = (suffix: string) => result.outputFiles.find((f) => f.path.endsWith(suffix))!.text;
  const code = text(".js");
  const bytes = new TextEncoder().encode(code);
  const zipped = new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"));
  const staticImports = Object.values(result.metafile.outputs)
    .flatMap((output) => output.imports)
    .filter((record) => record.external && record.kind !== "dynamic-import")
    .map((record) => `imports "${record.path}" at load time`);
  return {
    code,
    map: text(".js.map"),
    byteLength: bytes.length,
    gzipLength: (await new Response(zipped).arrayBuffer()).byteLength,
    problems: [...staticImports, ...findRuntimeNames(code)],
  };
}

if (import.meta.main) {
  const root = new URL("../", import.meta.url).pathname;
  const { code, map, byteLength, gzipLength, problems } = await bundle(`${root}mod.ts`);
  await Deno.mkdir(`${root}dist`, { recursive: true });
  await Deno.writeTextFile(`${root}dist/peft_webgpu.js`, code);
  await Deno.writeTextFile(`${root}dist/peft_webgpu.js.map`, map);
  for (const problem of problems) console.error(`dist/peft_webgpu.js ${problem}`);
  console.log(
    `dist/peft_webgpu.js: ${byteLength.toLocaleString("en")} bytes, ${
      gzipLength.toLocaleString("en")
    } gzipped`,
  );
  Deno.exit(problems.length === 0 ? 0 : 1);
}
