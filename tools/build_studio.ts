/**
 * Builds the studio, a page where one teaches a model, as static files that any host can serve under any path:
 * dist/studio/ with index.html, the page's script and style, the engine's script (a worker) and what it loads on first
 * use, the built-in model, its sample data, and the font. Run: `deno run -A tools/build_studio.ts [--hub URL]`.
 * @module
 */
import * as esbuild from "esbuild";
import { parseArgs } from "node:util";
import { COMMON, findRuntimeNames, gzip, partPackages, PARTS } from "./bundle.ts";
import { withoutLateImports } from "./late_imports.ts";
import { listFiles } from "./list_files.ts";
import { linkPackages } from "./package_links.ts";

const ROOT = new URL("../", import.meta.url).pathname;

/** Where models come from unless another hub is chosen: its files lie on hosts of two domains. */
export const DEFAULT_HUB = "https://huggingface.co";
const DEFAULT_HUB_HOSTS = ["https://huggingface.co", "https://*.huggingface.co", "https://*.hf.co"];

/** Packages of the page, by their names in deno.json, and what they need themselves. */
const PAGE_PACKAGES = ["preact", "@preact/signals", "uplot", "@fontsource-variable/figtree"];
const PAGE_NEEDS = ["@preact/signals-core@1.14.5"];
/** Packages of the engine alone, and what they need themselves. */
const ENGINE_PACKAGES = [
  "fflate",
  "valibot",
  ...["nats-core", "jetstream", "kv", "obj"].map((name) => `@nats-io/${name}`),
];
const ENGINE_NEEDS = ["@nats-io/nkeys@2.0.3", "@nats-io/nuid@3.0.0", "js-sha256@0.11.1", "tweetnacl@1.0.3"];

/** Choices of a build. */
export interface StudioOptions {
  /** Folder to write; default dist/studio. */
  readonly output?: string;
  /** Module of both pages' worker; default studio/engine/worker.ts, and join_worker.ts for the page by which a tab joins. */
  readonly engine?: string;
  /** Origin of the model hub, the only other one that the page may reach; default {@linkcode DEFAULT_HUB}. */
  readonly hub?: string;
}

/** What a build wrote. */
export interface StudioBuild {
  readonly output: string;
  /** Bytes of every file, by path. */
  readonly files: ReadonlyMap<string, number>;
  /** Paths of the page's script, its style, and the worker's script. */
  readonly page: string;
  readonly style: string;
  readonly engine: string;
  /** The same of the page by which a tab joins a training. */
  readonly join: { readonly page: string; readonly style: string; readonly engine: string };
  /** What a first visit loads before it can show anything, gzipped: the scripts, and the style. */
  readonly gzip: { readonly page: number; readonly style: number; readonly engine: number };
  /** What keeps it from running in a browser; empty when it does. */
  readonly problems: readonly string[];
}

/**
 * The policy that the page's `<meta>` states, and its worker inherits: its own origin and the hub, nothing else.
 * @param more further sources of connections: `ws: wss:` of the page by which a tab joins, which narrows that to one broker
 */
export function contentPolicy(hub: string, more: readonly string[] = []): string {
  const hosts = hub === DEFAULT_HUB ? DEFAULT_HUB_HOSTS : [hub];
  return [
    "default-src 'none'",
    "script-src 'self' 'wasm-unsafe-eval'", // Parquet's decompressor is WebAssembly
    "style-src 'self'",
    "font-src 'self'",
    "img-src 'self' data:",
    `connect-src 'self' blob: ${[...hosts, ...more].join(" ")}`,
    "worker-src 'self' blob:",
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
}

/** The policy of each page of the build that has another than {@linkcode contentPolicy}, by its path. */
export const pagePolicies = (hub: string): Readonly<Record<string, string>> => ({
  "/join.html": contentPolicy(hub, ["ws:", "wss:"]),
});

/** `https://host:port` of a hub's address; null for what is no web address. */
export function hubOrigin(hub: string): string | null {
  const { protocol, origin } = URL.canParse(hub) ? new URL(hub) : { protocol: "", origin: "" };
  return /^https?:$/.test(protocol) ? origin : null;
}

/** The outputs of one esbuild run, written below `output`; the entry's path is first. */
async function write(output: string, options: esbuild.BuildOptions): Promise<string[]> {
  const { outputFiles } = await esbuild.build({ ...COMMON, ...options, write: false, outdir: output });
  const paths: string[] = [];
  for (const { path, contents } of outputFiles!) {
    await Deno.writeFile(path, contents);
    paths.push(path.slice(output.length + 1));
  }
  return paths;
}

/**
 * Builds the studio.
 * @throws Error with esbuild's messages where a source cannot be read or parsed @throws TypeError for a hub without origin
 */
export async function buildStudio(options: StudioOptions = {}): Promise<StudioBuild> {
  const { output = `${ROOT}dist/studio` } = options;
  const hub = hubOrigin(options.hub ?? DEFAULT_HUB);
  if (hub === null) {
    throw new TypeError(`Cannot build the studio: the hub must be a web address, received "${options.hub}"`);
  }
  const { imports } = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`)) as {
    imports: Record<string, string>;
  };
  await Deno.remove(output, { recursive: true }).catch(() => {});
  await Deno.mkdir(output, { recursive: true });
  const packages = await linkPackages([
    ...[...PAGE_PACKAGES, ...ENGINE_PACKAGES].map((name) => imports[name]),
    ...PAGE_NEEDS,
    ...ENGINE_NEEDS,
    ...partPackages(imports),
  ]);
  try {
    const own = Object.entries(imports).filter(([, target]) => target.startsWith("./"));
    const shared = {
      nodePaths: [packages],
      alias: Object.fromEntries(own.map(([name, target]) => [name, ROOT + target.slice(2)])),
      entryNames: "[name]-[hash]",
      chunkNames: "[name]-[hash]",
      assetNames: "[name]-[hash]",
    } satisfies esbuild.BuildOptions;
    const outside = Object.entries(imports)
      .filter(([name, target]) =>
        target.startsWith("npm:") && ![...PAGE_PACKAGES, ...ENGINE_PACKAGES].includes(name)
      )
      .filter(([name]) => !Object.values(PARTS).some(({ entry }) => entry === name))
      .map(([name]) => name.endsWith("/") ? `${name}*` : name);
    const isEntry = (path: string) => /^(?:engine|join_engine|studio|join)-[A-Z0-9]{8}\.js$/.test(path);
    /** One page: its worker, its script and style, and the file that names them. */
    const buildPage = async (
      html: string,
      parts: { engine: string; engineName: string; name: string; entry: string; policy: string },
    ) => {
      const { engine, engineName, name, entry, policy } = parts;
      const engineFiles = await write(output, {
        ...shared,
        entryPoints: { [engineName]: engine },
        splitting: true,
        keepNames: true, // adapter files and the script of a run name classes
        chunkNames: "engine-[name]-[hash]",
        define: { process: "undefined" }, // which a package asks for to know Node
        plugins: [{
          name: "signatures without Node", // whose random numbers the package would ask for
          setup: ({ onLoad }) =>
            onLoad({ filter: /\bnacl-fast\.js$/ }, async ({ path }) => ({
              contents: (await Deno.readTextFile(path)).replace(/typeof require !== 'undefined'/, "false"),
            })),
        }, {
          name: "without late imports", // a worker uses most of the library
          setup: ({ onLoad }) =>
            onLoad({ filter: /\.ts$/ }, async ({ path }) => {
              const source = await Deno.readTextFile(path);
              return {
                contents: path.includes("/studio/") ? source : withoutLateImports(source),
                loader: "ts",
              };
            }),
        }],
        external: ["node:*", "./nats_socket.ts", ...outside], // browsers have WebSockets alone
      });
      const engineFile = engineFiles.find(isEntry)!;
      const pageFiles = await write(output, {
        ...shared,
        entryPoints: { [name]: ROOT + entry },
        splitting: true,
        chunkNames: `${name}-[name]-[hash]`,
        loader: { ".woff2": "file" },
        jsx: "automatic",
        jsxImportSource: "preact",
        define: {
          ENGINE_FILE: JSON.stringify(engineFile),
          HUB_ORIGIN: JSON.stringify(hub),
        },
      });
      const page = pageFiles.find(isEntry)!;
      const [style, font] = [".css", ".woff2"].map((end) => pageFiles.find((path) => path.endsWith(end))!);
      const filled: Record<string, string> = { policy, page, style, font };
      const text = (await Deno.readTextFile(`${ROOT}studio/${html}`))
        .replaceAll(/\{\{(\w+)\}\}/g, (_, name: string) => filled[name]);
      await Deno.writeTextFile(`${output}/${html}`, text);
      return { page, style, engine: engineFile };
    };
    const [{ page, style, engine }, join] = await Promise.all([
      buildPage("index.html", {
        ...{ name: "studio", entry: "studio/page/main.tsx", policy: contentPolicy(hub) },
        ...{ engineName: "engine", engine: options.engine ?? `${ROOT}studio/engine/worker.ts` },
      }),
      buildPage("join.html", {
        ...{ name: "join", entry: "studio/page/join/main.tsx", policy: pagePolicies(hub)["/join.html"] },
        ...{ engineName: "join_engine", engine: options.engine ?? `${ROOT}studio/engine/join_worker.ts` },
      }),
    ]);
    for (const name of ["theme.js", "icon.svg"]) {
      await Deno.copyFile(`${ROOT}studio/page/${name}`, `${output}/${name}`);
    }
    for (const folder of ["model", "data"]) {
      await Deno.mkdir(`${output}/assets/${folder}`, { recursive: true });
      for (const path of await listFiles(`${ROOT}examples/demo/${folder}`, /./)) {
        await Deno.copyFile(`${ROOT}examples/demo/${folder}/${path}`, `${output}/assets/${folder}/${path}`);
      }
    }
    await Deno.copyFile(`${ROOT}examples/teach/support.jsonl`, `${output}/assets/data/support.jsonl`);
    await Deno.copyFile(`${packages}/@fontsource-variable/figtree/LICENSE`, `${output}/font_license.txt`);

    const files = new Map<string, number>();
    const problems: string[] = [];
    for (const path of await listFiles(output, /./)) {
      files.set(path, (await Deno.stat(`${output}/${path}`)).size);
      if (!path.endsWith(".js")) continue;
      const code = await Deno.readTextFile(`${output}/${path}`);
      problems.push(...findRuntimeNames(code).map((problem) => `${path} ${problem}`));
    }
    const zipped = async (path: string) => (await gzip(await Deno.readFile(`${output}/${path}`))).byteLength;
    const lengths = {
      page: await zipped(page),
      style: await zipped(style),
      engine: await zipped(engine),
    };
    return { output, files, page, style, engine, join, gzip: lengths, problems };
  } finally {
    await esbuild.stop();
    await Deno.remove(packages, { recursive: true });
  }
}

if (import.meta.main) {
  const { values } = parseArgs({
    args: Deno.args,
    options: { hub: { type: "string" }, output: { type: "string" } },
  });
  const { output, gzip: lengths, problems } = await buildStudio(values);
  for (const problem of problems) console.error(problem);
  const kilobytes = (bytes: number) => `${(bytes / 1000).toFixed(1)} kB`;
  console.log(
    `${output}: gzipped, the page's script has ${kilobytes(lengths.page)}, its style ${
      kilobytes(lengths.style)
    }, ` +
      `the engine ${kilobytes(lengths.engine)}`,
  );
  Deno.exit(problems.length === 0 ? 0 : 1);
}
