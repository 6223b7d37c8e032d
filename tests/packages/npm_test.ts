/**
 * The npm package, installed into an empty project: used in Node and Bun's way, checked by TypeScript, built by esbuild and
 * Vite. Names begin with "npm:", so that a machine without npm lists them as skipped.
 * @module
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { fetchNpmTools, INSTALL } from "../../tools/fetch_npm_tools.ts";
import { makeNpmPackage } from "../../tools/npm_package.ts";
import { gzip } from "../../tools/bundle.ts";
import { NATS_SERVER, NatsServer } from "../distributed/nats_server.ts";
import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
import { findChromium, runInPage } from "../browser/chromium.ts";

const tools = await fetchNpmTools(() => console.log("fetching Dawn, TypeScript, esbuild and Vite (300 MB)"));
const ignore = tools === null;
const root = new URL("../../", import.meta.url).pathname;

/** A command in a project. */
async function run(
  cwd: string,
  command: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(command, {
    args: [...args],
    cwd,
    env,
    stdin: "null",
  })
    .output();
  const [out, error] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  assertEquals(code, 0, `${command} ${args.join(" ")}\n${out}\n${error}`);
  return out;
}

let made: Promise<string> | undefined;

/**
 * A project with the package, and nothing else of its own; the tools are in a folder above. One for all tests of this file:
 * they write files of other names.
 */
function project(): Promise<string> {
  return made ??= (async () => {
    const folder = await Deno.makeTempDir({ dir: tools! });
    globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
    await Deno.writeTextFile(`${folder}/package.json`, '{ "private": true, "type": "module" }\n');
    const tarball = await makeNpmPackage(folder);
    await run(folder, "npm", [...INSTALL, tarball]);
    for (const file of ["train_step.mjs", "consumer.ts"]) {
      await Deno.copyFile(`${root}tests/packages/${file}`, `${folder}/${file}`);
    }
    return folder;
  })();
}

/** Dawn refuses old Mesa drivers: Chromium's SwiftShader serves where it lies beside the browser. */
async function softwareDriver(): Promise<Record<string, string>> {
  const real = await Deno.realPath(await findChromium());
  for (const folder of [real.replace(/\/[^/]*$/, ""), "/usr/lib/chromium"]) {
    const file = `${folder}/vk_swiftshader_icd.json`;
    if (await Deno.stat(file).then(() => true, () => false)) return { VK_ICD_FILENAMES: file };
  }
  return {};
}

Deno.test({
  name: "npm: the package in an empty project computes, trains, saves and loads in Node",
  ignore,
  fn: async () => {
    const folder = await project();
    const model = `${root}examples/demo/model`;
    const out = await run(folder, "node", ["train_step.mjs", model], await softwareDriver());
    const { losses, ...rest } = JSON.parse(out.trim().split("\n").at(-1)!);
    assertEquals(rest, {
      shape: [1, 3, 64],
      changed: true,
      same: true,
      text: "Ahoy, matey",
      classes: ["Tensor", "GgufError", "HubError"],
    });
    assertEquals(losses.length, 4);
    assert(losses[0] > 4 && losses[3] < losses[0], losses.join());
    const { dependencies } = JSON.parse(
      await Deno.readTextFile(`${folder}/node_modules/@peft/webgpu/package.json`),
    );
    assert("@webgpu/types" in dependencies && !("linkedom" in dependencies));
  },
});

Deno.test({
  name: "npm: every entry has types that TypeScript takes, with its own types of WebGPU and without",
  ignore,
  fn: async () => {
    const folder = await project();
    const shared = { target: "es2022", strict: true, noEmit: true, lib: ["esnext", "dom", "dom.iterable"] };
    const node = { ...shared, module: "nodenext", moduleResolution: "nodenext", types: [] };
    const bundler = { ...shared, module: "esnext", moduleResolution: "bundler", skipLibCheck: true };
    const { lib: _, ...plain } = node; // the names of es2022 alone: Symbol.dispose is a later one
    const cases = { node, plain, bundler: { ...bundler, types: ["@webgpu/types"] } };
    for (const [name, compilerOptions] of Object.entries(cases)) {
      const config = `${folder}/tsconfig.${name}.json`;
      await Deno.writeTextFile(config, JSON.stringify({ compilerOptions, files: ["consumer.ts"] }));
      await run(folder, "node", [`${tools}/node_modules/typescript/bin/tsc`, "-p", config]);
    }
  },
});

/** What a program loads of an area before it runs, gzipped, at most. */
const AREAS: Readonly<Record<string, readonly [code: string, mostBytes: number]>> = {
  gpu: [`export { initDevice } from "@peft/webgpu/gpu";`, 9_000],
  hub: [`export { uploadFolder, whoAmI } from "@peft/webgpu/hub";`, 11_000],
  tokenizer: [`export { AutoTokenizer } from "@peft/webgpu/tokenizer";`, 24_000],
  tensor: [`export { linear, matmul, Tensor } from "@peft/webgpu/tensor";`, 29_500],
  gpt2: [`export { GPT2LMHeadModel } from "@peft/webgpu/model";`, 97_500],
  model: [`export { AutoModelForCausalLM } from "@peft/webgpu/model";`, 122_000],
  peft: [`export { getPeftModel, LoraConfig } from "@peft/webgpu/peft";`, 117_500],
};

/** A page that answers, with names of an entry. */
const answering = (entry: string) =>
  `import { AutoModelForCausalLM, AutoTokenizer, PeftModel } from "${entry}";
  const [url, adapter] = [new URL("/files/model/", location.href), new URL("/files/adapter/", location.href)];
  const tokenizer = await AutoTokenizer.fromPretrained(url);
  const model = await PeftModel.fromPretrained(await AutoModelForCausalLM.fromPretrained(url), adapter);
  document.title = tokenizer.decode((await model.generate("Once", { tokenizer, maxNewTokens: 4 }))[0]);`;

/** A page that trains, with names of an entry. */
const trains = (entry: string) =>
  `import { AutoModelForCausalLM, AutoTokenizer, getPeftModel, LoraConfig, TextDataset, Trainer } from "${entry}";
  const url = new URL("/files/model/", location.href);
  const tokenizer = await AutoTokenizer.fromPretrained(url);
  const model = getPeftModel(await AutoModelForCausalLM.fromPretrained(url), new LoraConfig());
  const trainDataset = TextDataset.fromTexts(["Ahoy, matey! The sea be calm."], tokenizer, { blockSize: 8 });
  const trainer = new Trainer({ model, trainDataset, args: { maxSteps: 2, loggingSteps: 1, reportTo: "none" } });
  await trainer.train();
  document.title = trainer.state.logHistory[0].loss.toFixed(1);`;

/** Pages that Vite builds, too: one of modules, one of an area's bundle. */
const BUILT_BY_VITE = ["inference", "training_area"];

/** What a page may load before it starts, gzipped. */
const PAGES = {
  inference: { code: answering("@peft/webgpu"), mostBytes: 188_000 },
  training: { code: trains("@peft/webgpu"), mostBytes: 233_000 },
  inference_area: { code: answering("@peft/webgpu/inference"), mostBytes: 60_000 },
  training_area: { code: trains("@peft/webgpu/training"), mostBytes: 109_500 },
} as const;

/** Files that a module loads before it runs, by the imports that stand at its top. */
async function eagerFiles(folder: string, file: string, seen: Set<string> = new Set()): Promise<Set<string>> {
  if (seen.has(file)) return seen;
  seen.add(file);
  const code = await Deno.readTextFile(`${folder}/${file}`);
  const imports = code.matchAll(
    /(?:^|[;}])\s*(?:import|export)\s*(?:[\w$\s{},*]*?\s*from\s*)?["']\.\/([^"']+)["']/g,
  );
  for (const [, name] of imports) await eagerFiles(folder, name, seen);
  return seen;
}

async function eagerBytes(folder: string, file: string): Promise<number> {
  let bytes = 0;
  for (const name of await eagerFiles(folder, file)) {
    bytes += (await gzip(await Deno.readFile(`${folder}/${name}`))).byteLength;
  }
  return bytes;
}

/** Builds `NAME.js` of a project with esbuild, and gives the bytes that it loads before it runs. */
async function build(folder: string, name: string): Promise<number> {
  const flags = [
    "--bundle",
    "--minify",
    "--splitting",
    "--format=esm",
    "--target=es2022",
    "--log-level=error",
  ];
  const out = [`--outdir=esbuild-${name}`, "--platform=browser", "--supported:top-level-await=true"];
  await run(folder, "node", [`${tools}/node_modules/esbuild/bin/esbuild`, `${name}.js`, ...flags, ...out]);
  const bytes = await eagerBytes(`${folder}/esbuild-${name}`, `${name}.js`);
  console.log(`${name}, esbuild: ${bytes} bytes gzipped`);
  return bytes;
}

Deno.test({
  name: "npm: an area loads its own code alone, and its size is held",
  ignore,
  fn: async () => {
    const folder = await project();
    for (const [name, [code, mostBytes]] of Object.entries(AREAS)) {
      await Deno.writeTextFile(`${folder}/area-${name}.js`, code);
      const bytes = await build(folder, `area-${name}`);
      assert(bytes < mostBytes, `${name} has ${bytes} bytes, at most ${mostBytes}`);
    }
  },
});

Deno.test({
  name: "npm: esbuild and Vite build pages of it whose size is held",
  ignore,
  fn: async () => {
    const folder = await project();
    for (const [name, { code, mostBytes }] of Object.entries(PAGES)) {
      await Deno.writeTextFile(`${folder}/${name}.js`, code);
      const built = await build(folder, name);
      assert(built < mostBytes, `esbuild's ${name} has ${built} bytes, at most ${mostBytes}`);

      if (!BUILT_BY_VITE.includes(name)) continue;
      const html = `<!doctype html><script type="module" src="./${name}.js"></script>`;
      await Deno.writeTextFile(`${folder}/index.html`, html);
      const vite = ["build", "--target", "es2022", "--outDir", `vite-${name}`, "--logLevel", "error"];
      await run(folder, "node", [`${tools}/node_modules/vite/bin/vite.js`, ...vite]);
      const page = await Deno.readTextFile(`${folder}/vite-${name}/index.html`);
      const [, entry] = /src="\/assets\/([^"]+)"/.exec(page)!;
      const viteBytes = await eagerBytes(`${folder}/vite-${name}/assets`, entry);
      assert(viteBytes < mostBytes, `Vite's ${name} has ${viteBytes} bytes, at most ${mostBytes}`);
      console.log(`${name}, Vite: ${viteBytes} bytes gzipped`);
    }
  },
});

Deno.test({
  name: "npm: pages that esbuild built of the areas answer and train in Chromium",
  ignore,
  fn: async () => {
    const folder = await project();
    const base = () => AutoModelForCausalLM.fromPretrained(`${root}examples/demo/model`);
    await Deno.symlink(`${root}examples/demo/model`, `${folder}/model`);
    const model = getPeftModel(await base(), new LoraConfig({ r: 4, targetModules: ["c_attn"] }));
    await model.savePretrained(`${folder}/adapter`);
    const titleOf = async (built: string, entry: string) => {
      const files = await Array.fromAsync(
        Deno.readDir(built),
        async ({ name }) => [`/${name}`, await Deno.readTextFile(`${built}/${name}`)] as const,
      );
      const script = `export const run = async () => (await import("/${entry}"), document.title);`;
      const { value } = await runInPage<string>(script, {
        files: Object.fromEntries(files),
        folder: `${folder}/`,
      });
      return value;
    };
    for (const [name, title] of [["inference_area", "Once upon a time there"], ["training_area", "4.5"]]) {
      await Deno.writeTextFile(`${folder}/${name}.js`, PAGES[name as keyof typeof PAGES].code);
      await build(folder, name);
      assertEquals(await titleOf(`${folder}/esbuild-${name}`, `${name}.js`), title);
    }
  },
});

Deno.test({
  name: "npm: a built program finds the adapter that a trainer's peftConfig names",
  ignore,
  fn: async () => {
    const folder = await project();
    const code = `import { LoraConfig, SFTTrainer } from "@peft/webgpu";
      const model = { forward() {}, namedParameters() {}, namedModules: () => [], parameters: () => [] };
      try {
        new SFTTrainer({ model, processingClass: { encode() {} }, trainDataset: [{ text: "a" }], peftConfig: new LoraConfig() });
      } catch (error) {
        console.log(error.message);
      }`;
    await Deno.writeTextFile(`${folder}/wrapped.js`, code);
    await build(folder, "wrapped");
    assertMatch(
      await run(folder, "node", ["esbuild-wrapped/wrapped.js"]),
      /^Cannot apply lora: targetModules is required/,
    );
  },
});

Deno.test({
  name: "npm: Node talks to NATS",
  ignore: ignore || NATS_SERVER === null,
  fn: async () => {
    const folder = await project();
    await Deno.writeTextFile(
      `${folder}/broker.js`,
      `import { JetStreamBroker, readObject } from "@peft/webgpu/distributed";
      const broker = await JetStreamBroker.connect({ url: process.argv[2] });
      const store = await broker.objects("files");
      await store.put("a", new Uint8Array(300_000).fill(7));
      console.log((await readObject(store, "a")).filter((byte) => byte === 7).length);
      await broker.close();`,
    );
    await using server = await NatsServer.start();
    assertEquals(await run(folder, "node", ["broker.js", server.url]), "300000\n");
  },
});
