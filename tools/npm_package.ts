/**
 * Makes the npm package of a checkout: dist/peft-webgpu-VERSION.tgz, plain JavaScript with types for Node, Bun and bundlers.
 * `deno pack` compiles; here the command line, which needs Deno, is left out with the packages that it alone needs, and
 * package.json says what npm and bundlers want to know. Run: `deno task npm`.
 * @module
 */

import * as esbuild from "esbuild";
import { bundleHub } from "./bundle.ts";
import { AREAS, bundleArea } from "./bundle_areas.ts";
import { withoutLateImports } from "./late_imports.ts";
import { minifyWgsl } from "./minify_wgsl.ts";
import { linkPackages } from "./package_links.ts";

/** What `deno pack` writes to package.json, as far as it is read here. */
interface Manifest {
  version: string;
  exports: Record<string, unknown>;
  dependencies: Record<string, string>;
  [name: string]: unknown;
}

/** Packages that the command line alone needs. */
const CLI_PACKAGES = ["@observablehq/plot", "cli-progress", "linkedom", "yaml"];

/** The hub's package for browsers: bundlers find Node's form of it, whose imports no browser has. */
const HUB_FILE = "hub_browser.js";

/** Bundles by area: what builds of pages find in place of the modules, and smaller than they could make it. */
const BUNDLES = "bundles";

/** Types of WebGPU, for programs whose TypeScript is older than 6 or has no "dom". */
const WEBGPU_TYPES = "^0.1.74";

/** Runs a command. @throws {Error} with what it printed if it fails */
async function run(command: string, args: readonly string[], cwd: string): Promise<void> {
  const { success, stderr } = await new Deno.Command(command, { args: [...args], cwd, stdin: "null" })
    .output();
  if (!success) {
    const said = new TextDecoder().decode(stderr).trim().split("\n").slice(-5).join(" ");
    throw new Error(`Cannot make the npm package: ${command} ${args[0]} must succeed, received "${said}"`);
  }
}

/** package.json as npm and bundlers need it. */
function complete({ exports, dependencies, ...rest }: Manifest): Manifest {
  const { "./cli": _, ...entries } = exports;
  const needed = Object.entries(dependencies).filter(([name]) => !CLI_PACKAGES.includes(name));
  return {
    ...rest,
    description:
      "Parameter-efficient fine-tuning of language models on WebGPU: transformers and peft for TypeScript",
    keywords: ["webgpu", "lora", "peft", "fine-tuning", "llm", "transformers"],
    engines: { node: ">=20.16" },
    browser: { "@huggingface/hub": `./${HUB_FILE}` },
    // Bundlers leave out what a program does not name, but for what tells trainers of adapters.
    sideEffects: ["./peft/mod.js", "./peft/adapter_wrapper.js", `./${BUNDLES}/*`],
    exports: withBundles(entries),
    dependencies: { ...Object.fromEntries(needed), "@webgpu/types": WEBGPU_TYPES },
    peerDependencies: { webgpu: ">=0.6.0" },
    peerDependenciesMeta: { webgpu: { optional: true } },
  };
}

/** Pages get an area's bundle; Node and Bun its modules, which are those of all other entries. */
function withBundles(entries: Record<string, unknown>): Record<string, unknown> {
  const areas = Object.keys(AREAS).map((area) => {
    const { types, ...modules } = entries[`./${area}`] as Record<string, string>;
    return [`./${area}`, { types, node: modules.default, default: `./${BUNDLES}/${area}.js` }];
  });
  return { ...entries, ...Object.fromEntries(areas) };
}

async function writeBundles(folder: string): Promise<void> {
  // whoever builds a page makes it short
  const how = { shortest: false, external: (specifier: string) => specifier, whole: "@peft/webgpu" };
  await Deno.mkdir(folder);
  for (const area of Object.keys(AREAS) as (keyof typeof AREAS)[]) {
    for (const { fileName, code } of await bundleArea(area, how)) {
      await Deno.writeTextFile(`${folder}/${fileName}`, code);
    }
  }
}

/** Types that name `Symbol.dispose`, or take those of a package that does, bring the name: programs of ES2022 lack it. */
function withDisposable(types: string): string {
  const needs = /\bSymbol\.(?:asyncDispose|dispose)\b|"@nats-io\//.test(types);
  return needs ? `/// <reference lib="esnext.disposable" />\n${types}` : types;
}

/** What a module at a path becomes: kernels without comments and spaces, which no bundler takes out of texts. */
const adaptModule = (path: string) => (code: string) => {
  const short = path.includes("/package/kernels/") ? minifyWgsl(code).code : code;
  return withoutLateImports(short);
};

/** Changes the files of a folder and of those in it for Node and bundlers. */
async function adaptFiles(folder: string): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const path = `${folder}/${name}`;
    const change = name.endsWith(".js") ? adaptModule(path) : name.endsWith(".d.ts") ? withDisposable : null;
    if (isDirectory) await adaptFiles(path);
    else if (change) await Deno.writeTextFile(path, change(await Deno.readTextFile(path)));
  }
}

async function hubForBrowsers(): Promise<string> {
  const { imports } = JSON.parse(await Deno.readTextFile(new URL("../deno.json", import.meta.url)));
  const folder = await linkPackages([imports["@huggingface/hub"]]);
  try {
    return await bundleHub(folder);
  } finally {
    await esbuild.stop();
    await Deno.remove(folder, { recursive: true });
  }
}

/**
 * Makes the tarball.
 * @param folder where it goes
 * @returns its path
 * @throws {Error} where `deno pack` or `tar` fails
 */
export async function makeNpmPackage(folder: string): Promise<string> {
  const root = new URL("../", import.meta.url).pathname;
  const work = await Deno.makeTempDir();
  try {
    const packed = `${work}/packed.tgz`;
    await run(Deno.execPath(), ["pack", "--quiet", "--allow-dirty", "--no-source-maps", "-o", packed], root);
    await run("tar", ["-xzf", packed, "-C", work], work);
    const manifest: Manifest = JSON.parse(await Deno.readTextFile(`${work}/package/package.json`));
    await Deno.writeTextFile(
      `${work}/package/package.json`,
      `${JSON.stringify(complete(manifest), null, 2)}\n`,
    );
    await Deno.remove(`${work}/package/cli`, { recursive: true });
    await adaptFiles(`${work}/package`);
    await writeBundles(`${work}/package/${BUNDLES}`);
    await Deno.writeTextFile(`${work}/package/${HUB_FILE}`, await hubForBrowsers());
    await Deno.mkdir(folder, { recursive: true });
    const path = `${folder}/peft-webgpu-${manifest.version}.tgz`;
    await run("tar", ["-czf", path, "-C", work, "package"], work);
    return path;
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

if (import.meta.main) {
  const path = await makeNpmPackage(new URL("../dist", import.meta.url).pathname);
  const { size } = await Deno.stat(path);
  console.log(`${path}: ${size.toLocaleString("en")} bytes; npm install ${path}`);
}
