import { assert, assertEquals, assertThrows } from "@std/assert";
import type { OutputChunk } from "rollup";
import { AREAS, eagerFiles, fileThatBrings, gzipLength } from "../../tools/bundle_areas.ts";
import { TRAINING, withoutTraining } from "../../tools/without_training.ts";
import { areaFiles } from "../browser/bundles.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** Paths of the modules with code in files, from the root, late ones by their own names. */
const modulesIn = (files: readonly OutputChunk[]) =>
  new Set(
    files.flatMap(({ modules }) => Object.entries(modules))
      .filter(([path, { renderedLength }]) => renderedLength > 0 && !path.endsWith("?late"))
      .map(([path]) => path.slice(ROOT.length).split("?")[0]),
  );

for (const area of Object.keys(AREAS) as (keyof typeof AREAS)[]) {
  Deno.test(`${area}.js leaves every late module to a file that is loaded on first use`, async () => {
    const files = await areaFiles(area);
    const first = modulesIn(eagerFiles(files, `${area}.js`));
    const all = modulesIn(files);
    for (const path of AREAS[area].late) {
      assert(!first.has(path), `${path} is in the first file`);
      if (!LEFT_OUT.has(path)) assert(all.has(path), `${path} is in no file`);
    }
    const entries = Object.keys(AREAS[area].entries).map((name) => `${name}.js`);
    assertEquals(entries.filter((name) => !files.some(({ fileName }) => fileName === name)), []);
    const names = files.flatMap(({ imports, dynamicImports }) => [...imports, ...dynamicImports]);
    const own = names.filter((name) => name.startsWith(area));
    assertEquals(own.filter((name) => !files.some(({ fileName }) => fileName === name)), []);
  });
}

for (const area of Object.keys(AREAS) as (keyof typeof AREAS)[]) {
  Deno.test(`messages of ${area}.js name a file that brings what is missing`, async () => {
    const files = await areaFiles(area);
    const code = eagerFiles(files, `${area}.js`).map((file) => file.code).join("\n");
    const named = [...AREAS[area].late].map((path) => [path, fileThatBrings(area, path)] as const);
    for (const [path, file] of named) {
      if (file === null) continue;
      assert(modulesIn(eagerFiles(files, file)).has(path), `${file} brings ${path}`);
      assert(code.includes(`import "./${file}" first`), `${file} in a message`);
    }
    const adapters = `${area}_adapters.js`;
    assertEquals(fileThatBrings(area, "peft/methods/other_methods.ts"), adapters);
    const ofOft = modulesIn(eagerFiles(files, `${area}_oft.js`));
    assert(modulesIn(eagerFiles(files, adapters)).isSupersetOf(ofOft));
    assert(ofOft.has("peft/methods/oft.ts") && !ofOft.has("peft/methods/loha.ts"), "one method's file");
    assert(named.filter(([, file]) => file !== null).length > 30);
  });
}

for (const area of Object.keys(AREAS) as (keyof typeof AREAS)[]) {
  Deno.test(`${area}_texts.js has the texts of the errors of ${area}.js`, async () => {
    const files = await areaFiles(area);
    const code = (names: readonly OutputChunk[]) => names.map(({ code }) => code).join("\n");
    const [first, texts] = [`${area}.js`, `${area}_texts.js`].map((name) => eagerFiles(files, name));
    const more = files.some(({ fileName }) => fileName === `${area}_more.js`)
      ? eagerFiles(files, `${area}_more.js`) // what texts may call
      : [];
    const later = texts.filter((file) => !first.includes(file) && !more.includes(file));
    for (const text of ["unknown $", "rows on the host are required", "Cannot find WebGPU", "did you mean"]) {
      assert(!code(first).includes(text), text);
      assert(code(later).includes(text), text);
    }
    assert(code(first).includes(`first (`), "what an error says whose text is not there");
    assert(await gzipLength(later) < 20_000, "little that is no text");
  });
}

/** What a page that only answers has no use for, and no way to ask for. */
const LEFT_OUT = new Set([
  "autograd/checkpoint.ts",
  "autograd/ops/add_noise.ts",
  "autograd/ops/dropout.ts",
  "autograd/ops/log_probs.ts",
  "gpu/capture.ts",
  "gpu/rehearsal.ts",
  "kernels/attention_backward.ts",
  "model/labelled_forward.ts",
]);

Deno.test("inference.js has no program that computes a gradient", async () => {
  const files = await areaFiles("inference");
  const [code] = [files.map(({ code }) => code).join("\n")];
  for (const name of ["layerNormBackward", "rmsNormBackward", "embeddingBackward", "attention.backward"]) {
    assert(!code.includes(name), name);
  }
  assert(code.includes("layerNormForward"));
});

Deno.test("withoutTraining() leaves bodies out by name, and refuses a name that a module does not have", async () => {
  const change = (code: string, path: string, bodies: Parameters<typeof withoutTraining>[0]) => {
    return withoutTraining(bodies).transform(code, ROOT + path)?.code;
  };
  const code = "class A { get b() { return 1; } set b(c) { d(); } #e() { f(); } }\nfunction g() { h(); }";
  assertEquals(
    change(code, "nn/a.ts", {
      "nn/a.ts": { "A.b": "return 2;", "set A.b": "", "A.#e": "i();", g: "return 3;" },
    }),
    "class A { get b() { return 2; } set b(c) {  } #e() { i(); } }\nfunction g() { return 3; }",
  );
  assertEquals(
    change(
      'const y = record("op", { inputs: { x }, outputs: [z], backward: () => ({ x }) });',
      "autograd/ops/a.ts",
      {},
    ),
    "const y = [z][0];",
  );
  assertThrows(
    () => change(code, "nn/a.ts", { "nn/a.ts": { "A.j": "" } }),
    Error,
    'Cannot leave "A.j" out of nn/a.ts: there is no such function or method',
  );
  for (const path of Object.keys(TRAINING)) assert((await Deno.stat(ROOT + path)).isFile, path);
});
