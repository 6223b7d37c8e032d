import { assert, assertEquals, assertRejects } from "@std/assert";
import { bundle, findRuntimeNames } from "../../tools/bundle.ts";

async function bundleText(files: Record<string, string>): Promise<Awaited<ReturnType<typeof bundle>>> {
  const root = await Deno.makeTempDir();
  try {
    for (const [name, text] of Object.entries(files)) await Deno.writeTextFile(`${root}/${name}`, text);
    return await bundle(`${root}/mod.ts`, { parts: false });
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

Deno.test("bundle() keeps dynamic imports of packages and node: outside and finds no problem", async () => {
  const result = await bundleText({
    "mod.ts": 'export * from "./a.ts"; export const f = () => import("re2js");',
    "a.ts": 'export const g = () => import("node:fs/promises"); export const text = "in Deno, process";',
  });
  assertEquals(result.problems, []);
  assert(result.code.includes('import("node:fs/promises")') && result.code.includes('import("re2js")'));
  assert(result.gzipLength > 0 && result.byteLength === result.code.length);
});

Deno.test("bundle() reports a static import and every name of a runtime", async () => {
  const result = await bundleText({
    "mod.ts":
      'import { readFileSync } from "node:fs"; export const x = readFileSync(process.env.A + Deno.args[0]);',
  });
  assertEquals(result.problems[0], 'imports "node:fs" at load time');
  assertEquals(result.problems.slice(1).map((p) => p.split(":")[0]), [
    "line 1 names process",
    "line 1 names Deno",
  ]);
});

Deno.test("bundle() rejects top-level await", async () => {
  await assertRejects(
    () => bundleText({ "mod.ts": "export const x = await f();" }),
    Error,
    "Top-level await",
  );
});

Deno.test("findRuntimeNames() ignores properties and strings", () => {
  assertEquals(findRuntimeNames('a.process(); b = { process: 1 }; c = "Deno"; d = `require ${e}`;'), []);
  assertEquals(findRuntimeNames("class A { require(a, b) { return a; } }"), []);
  assertEquals(findRuntimeNames("if (require(a)) { b(); }").length, 1);
});
