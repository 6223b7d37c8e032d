import { assertEquals } from "@std/assert";
import { checkCircles, checkFile, checkLayers } from "../../tools/check_layers.ts";

Deno.test("checkFile() accepts the arrows of the design", () => {
  const accepted: [path: string, source: string][] = [
    ["kernels/matmul.ts", 'import { groupsFor } from "./kernel_spec.ts";'],
    ["gpu/device.ts", 'import type { KernelSpec } from "../kernels/kernel_spec.ts";'],
    [
      "autograd/ops/matmul.ts",
      'import { MATMUL } from "../../kernels/matmul.ts"; import { D } from "../../gpu/mod.ts";',
    ],
    ["nn/linear.ts", 'import { Tensor } from "../autograd/mod.ts";'],
    [
      "model/gpt2.ts",
      'import { load } from "../io/safetensors.ts"; import { Module } from "../nn/module.ts";',
    ],
    ["peft/lora.ts", 'import { Tensor } from "../autograd/tensor.ts"; const m = () => import("re2js");'],
    ["train/trainer.ts", 'import { save } from "../io/mod.ts";'],
    ["io/files.ts", 'const open = () => import("node:fs/promises");'],
    [
      "cli/main.ts",
      'import { AdamW } from "../mod.ts"; import { parseArgs } from "node:util"; Deno.exit(0);',
    ],
    ["examples/lora.ts", 'import { AdamW } from "@peft/webgpu"; await main();'],
    ["bench/step.ts", 'import { matmul } from "../kernels/matmul.ts"; import { x } from "../gpu/mod.ts";'],
    ["mod.ts", 'export { Trainer } from "./train/trainer.ts";'],
    ["tests/a_test.ts", 'import { x } from "../gpu/mod.ts";'],
    ["model/gpt2.ts", '// Deno.env\nconst text = "Deno.env"; async function f() { await text; }'],
  ];
  for (const [path, source] of accepted) assertEquals(checkFile(path, source), [], path);
});

Deno.test("checkFile() names the file, the line and the rule of every broken arrow", () => {
  const rejected: [path: string, source: string, problem: string][] = [
    ["nn/a.ts", "const x = 1;\nusing y = open();", "nn/a.ts:2 declares with using: Node 20 cannot run it"],
    [
      "kernels/a.ts",
      'import "../gpu/mod.ts";',
      'kernels/a.ts:1 imports "../gpu/mod.ts": kernels may import nothing, received gpu',
    ],
    [
      "gpu/a.ts",
      'import { MATMUL } from "../kernels/matmul.ts";',
      'gpu/a.ts:1 imports "../kernels/matmul.ts": gpu may import types of kernels, options, received kernels',
    ],
    [
      "gpu/a.ts",
      'import type { T } from "../autograd/tensor.ts";',
      'gpu/a.ts:1 imports "../autograd/tensor.ts": gpu may import types of kernels, options, received autograd',
    ],
    [
      "io/a.ts",
      '\nimport { T } from "../autograd/tensor.ts";',
      'io/a.ts:2 imports "../autograd/tensor.ts": io may import options, received autograd',
    ],
    [
      "nn/a.ts",
      'import { D } from "../gpu/mod.ts";',
      'nn/a.ts:1 imports "../gpu/mod.ts": nn may import autograd, options, received gpu',
    ],
    [
      "peft/a.ts",
      'import { G } from "../model/gpt2.ts";',
      'peft/a.ts:1 imports "../model/gpt2.ts": peft may import nn, autograd, io, options, received model',
    ],
    [
      "train/a.ts",
      'export * from "../peft/lora.ts";',
      'train/a.ts:1 imports "../peft/lora.ts": train may import nn, autograd, io, options, received peft',
    ],
    [
      "model/sub/a.ts",
      'const m = import("../../train/a.ts");',
      'model/sub/a.ts:1 imports "../../train/a.ts": model may import nn, autograd, io, options, received train',
    ],
    [
      "cli/a.ts",
      'import { x } from "../nn/linear.ts";',
      'cli/a.ts:1 imports "../nn/linear.ts": cli may import mod.ts, entries, options, serve, distributed, jobs, received nn',
    ],
    [
      "examples/a.ts",
      'import { x } from "../cli/main.ts";',
      'examples/a.ts:1 imports "../cli/main.ts": examples may import mod.ts, entries, tools, received cli',
    ],
    [
      "nn/a.ts",
      'import { x } from "@peft/webgpu";',
      'nn/a.ts:1 imports "@peft/webgpu": the core imports its own files by relative paths',
    ],
    [
      "model/a.ts",
      'import * as v from "valibot";',
      'model/a.ts:1 imports "valibot" at load time: the core reaches packages by dynamic import',
    ],
    [
      "io/a.ts",
      'import { open } from "node:fs";',
      'io/a.ts:1 imports "node:fs" at load time: the core reaches packages by dynamic import',
    ],
    [
      "peft/a.ts",
      'const f = () => import("node:fs");',
      'peft/a.ts:1 imports "node:fs": only io touches files and the runtime',
    ],
    [
      "peft/a.ts",
      'const f = () => import("npm:re2js");',
      'peft/a.ts:1 imports "npm:re2js": name the package in the import map of deno.json',
    ],
    [
      "cli/a.ts",
      'import "https://example.org/x.ts";',
      'cli/a.ts:1 imports "https://example.org/x.ts": packages come from npm through the import map',
    ],
    [
      "train/a.ts",
      "\n\nconst a = Deno.args;",
      "train/a.ts:3 names Deno: the core runs in browsers and Node too",
    ],
    ["jobs/a.ts", "const a = Deno.args;", "jobs/a.ts:1 names Deno: jobs runs in browsers too"],
    ["jobs/a.ts", 'import "@std/path";', 'jobs/a.ts:1 imports "@std/path": jobs runs in browsers too'],
    ["mod.ts", "const a = await f();", "mod.ts:1 awaits at top level: the core loads synchronously"],
  ];
  for (const [path, source, problem] of rejected) assertEquals(checkFile(path, source), [problem]);
});

Deno.test("checkFile() knows the layers of peft/, and reports files that are in none", () => {
  const cases: [string, string, string[]][] = [
    [
      "peft/layers/a.ts",
      'import "../state/b.ts"; import type { C } from "../config/c.ts"; import "./d.ts";',
      [],
    ],
    [
      "peft/state/a.ts",
      'import type { B } from "../layers/b.ts";',
      ["peft/state/a.ts:1 imports peft/layers/b.ts, of a layer above its own (peft/layers/)"],
    ],
    [
      "peft/registry.ts",
      'export { x } from "./adapters/x.ts"; import "./lora/lora.ts";',
      ["peft/registry.ts:1 imports peft/adapters/x.ts, of a layer above its own (peft/adapters/)"],
    ],
    ["peft/helpers.ts", 'import "./mod.ts";', [
      "peft/helpers.ts:1 peft/helpers.ts is in none of the layers of peft/",
    ]],
  ];
  for (const [path, source, problems] of cases) assertEquals(checkFile(path, source), problems);
});

Deno.test("checkCircles() names each circle, types included", () => {
  const sources = new Map([
    ["nn/a.ts", 'import type { B } from "./b.ts";'],
    ["nn/b.ts", 'export { A } from "./a.ts";'],
    ["nn/c.ts", 'import "./a.ts";'],
  ]);
  assertEquals(checkCircles(sources), [
    "2 files import each other in a circle: nn/a.ts -> nn/b.ts -> nn/a.ts",
  ]);
  sources.set("nn/b.ts", "");
  assertEquals(checkCircles(sources), []);
});

Deno.test("checkLayers() walks the folders of the tree and reports in the order of the paths", async () => {
  const root = await Deno.makeTempDir();
  try {
    for (const folder of ["nn", "io/deep", "docs", "io/node_modules"]) {
      await Deno.mkdir(`${root}/${folder}`, { recursive: true });
    }
    await Deno.writeTextFile(`${root}/nn/bad.ts`, 'import "../gpu/mod.ts";');
    await Deno.writeTextFile(`${root}/io/deep/bad.js`, "Deno.exit();");
    await Deno.writeTextFile(`${root}/io/node_modules/skipped.ts`, "Deno.exit();");
    await Deno.writeTextFile(`${root}/docs/skipped.ts`, "Deno.exit();");
    assertEquals((await checkLayers(root)).map((p) => p.split(" ")[0]), ["io/deep/bad.js:1", "nn/bad.ts:1"]);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
