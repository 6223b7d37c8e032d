import { assertEquals, assertRejects } from "@std/assert";
import * as esbuild from "esbuild";
import { once } from "./bundles.ts";

Deno.test("once() keeps what was made, and makes again what failed", async () => {
  let calls = 0;
  const fail = () => Promise.reject(new Error(`failure ${++calls}`));
  await assertRejects(() => once("kept", fail), Error, "failure 1");
  await assertRejects(() => once("kept", fail), Error, "failure 2");
  assertEquals(await once("kept", () => Promise.resolve("made")), "made");
  assertEquals(await once("kept", fail), "made");
});

Deno.test("once() ends no build that another call asked for meanwhile", async () => {
  const first = once("first", () => esbuild.transform("let first: number = 1;", { loader: "ts" }));
  const load: esbuild.Plugin = {
    name: "load after the first",
    setup(build) {
      build.onResolve({ filter: /^second$/ }, ({ path }) => ({ path, namespace: "memory" }));
      build.onLoad({ filter: /./, namespace: "memory" }, async () => {
        await first;
        await new Promise((resolve) => setTimeout(resolve)); // what follows the first has run
        return { contents: "export const second = 2;" };
      });
    },
  };
  const second = once("second", () => {
    return esbuild.build({ entryPoints: ["second"], write: false, plugins: [load], logLevel: "silent" });
  });
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("the second build never ended")), 10_000);
  });
  try {
    assertEquals((await first).code, "let first = 1;\n");
    assertEquals((await Promise.race([second, late])).outputFiles![0].text.includes("second = 2"), true);
  } finally {
    clearTimeout(timer);
    await esbuild.stop();
  }
});
