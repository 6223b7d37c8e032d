/**
 * Writes the bundles for browsers to dist/: peft_webgpu.js, one ES module with every public name, and those by area, with
 * their source maps and the packages that they load on first use. Fails where one still names Deno or Node, or imports
 * anything at load time. Run: `deno task bundle`; with `--check` nothing is written, and the areas are built the faster way.
 * @module
 */

import * as esbuild from "esbuild";
import { bundle, findProblems } from "./bundle.ts";
import { AREAS, bundleArea, eagerFiles, gzipLength } from "./bundle_areas.ts";

const HELP = `Writes the bundles for browsers to dist/, in the clone.

Usage: ./run bundle [flags]

  --check  Write nothing: say what no page could load
  --help   Show this text`;
if (Deno.args.some((arg) => arg === "--help" || arg === "-h")) {
  console.log(HELP);
  Deno.exit(0);
}

const root = new URL("../", import.meta.url).pathname;
const dist = `${root}dist`;
const checks = Deno.args.includes("--check");
const write = async (name: string, text: string) => {
  if (!checks) await Deno.writeTextFile(`${dist}/${name}`, text);
};

const { code, map, byteLength, gzipLength: gzipped, parts, problems } = await bundle(
  `${root}entries/all.ts`,
);
if (!checks) {
  await Deno.mkdir(dist, { recursive: true });
  for await (const { name } of Deno.readDir(dist)) {
    if (/^(inference|training|peft_webgpu).*\.js(\.map)?$/.test(name)) await Deno.remove(`${dist}/${name}`);
  }
}
await write("peft_webgpu.js", code);
await write("peft_webgpu.js.map", map);
// Node takes a .js file for CommonJS where the package.json above it does not say otherwise
await write("package.json", `${JSON.stringify({ type: "module" })}\n`);
for (const [file, text] of parts) await write(file, text);
const all = problems.map((problem) => `peft_webgpu.js ${problem}`);
const number = (value: number) => value.toLocaleString("en");
console.log(
  `dist/peft_webgpu.js: ${number(byteLength)} bytes, ${
    number(gzipped)
  } gzipped; beside it, loaded on first use: ${[...parts.keys()].join(", ")}`,
);
for (const area of Object.keys(AREAS) as (keyof typeof AREAS)[]) {
  const files = await bundleArea(area, { shortest: !checks });
  const own = new Set(files.map(({ fileName }) => fileName));
  for (const file of files) {
    await write(file.fileName, file.code);
    await write(`${file.fileName}.map`, file.map!.toString());
    all.push(...findProblems(file, own).map((problem) => `${file.fileName} ${problem}`));
  }
  const first = eagerFiles(files, `${area}.js`);
  console.log(
    `dist/${area}.js: ${number(await gzipLength(first))} bytes gzipped in ${first.length} files, ${
      files.length - first.length
    } others on first use`,
  );
}
await esbuild.stop();
for (const problem of all) console.error(`dist/${problem}`);
Deno.exit(all.length === 0 ? 0 : 1);
