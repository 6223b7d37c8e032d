import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { allKernels } from "../../kernels/mod.ts";
import type { KernelSpec } from "../../kernels/kernel_spec.ts";

/** What a WGSL text declares, in the vocabulary of {@linkcode KernelSpec}. */
interface Declared {
  bindings: { group: number; binding: number; name: string; access: string; type: string }[];
  params: [name: string, type: string][];
  overrides: [name: string, value: number][];
  entryPoints: string[];
}

/** Reads the declarations of a WGSL program; comments are ignored. */
function readDeclarations(wgsl: string): Declared {
  const text = wgsl.replaceAll(/\/\/.*$/gm, "").replaceAll(/\/\*[\s\S]*?\*\//g, "");
  const bindings = [
    ...text.matchAll(
      /@group\(\s*(\d+)\s*\)\s*@binding\(\s*(\d+)\s*\)\s*var\s*<([^>]*)>\s*(\w+)\s*:\s*([^;]+);/g,
    ),
  ].map((m) => {
    const space = m[3].split(",").map((part) => part.trim());
    const access = space[0] === "storage" ? space[1] ?? "read" : space[0];
    return { group: Number(m[1]), binding: Number(m[2]), name: m[4], access, type: m[5].trim() };
  });
  const struct = /struct\s+Params\s*\{([^}]*)\}/.exec(text)?.[1] ?? "";
  const params = struct.split(",").map((field) => field.trim()).filter(Boolean)
    .map((field) => field.split(":").map((part) => part.trim()) as [string, string]);
  const overrides = [...text.matchAll(/(?:^|[;\s])override\s+(\w+)\s*(?::\s*\w+\s*)?(?:=\s*([^;]+))?;/g)]
    .map((m): [string, number] => [m[1], Number(m[2]?.trim().replace(/(?<=[\d.])[uif]$/, ""))]);
  const entryPoints = [...text.matchAll(/@compute\b[^{]*?\bfn\s+(\w+)/g)].map((m) => m[1]);
  return { bindings, params, overrides, entryPoints };
}

/** Asserts that the WGSL of a kernel declares what its descriptor says, no more and no less. */
function assertConforms(kernel: KernelSpec): void {
  const { name } = kernel;
  const { bindings, params, overrides, entryPoints } = readDeclarations(kernel.wgsl);
  const expected = Object.entries(kernel.buffers).map(([name, access]): string[] => [name, access]);
  if (Object.keys(kernel.params).length > 0) expected.push(["params", "uniform"]);
  const inOrder = bindings.toSorted((a, b) => a.binding - b.binding);
  assertEquals(inOrder.map((b) => [b.name, b.access]), expected, `${name}: bindings`);
  assertEquals(inOrder.map((b) => [b.group, b.binding]), expected.map((_, i) => [0, i]), `${name}: numbers`);
  assertEquals(params, Object.entries(kernel.params), `${name}: fields of Params`);
  assertEquals(
    Object.fromEntries(overrides),
    { ...kernel.tuning },
    `${name}: override constants and their defaults`,
  );
  assertEquals(entryPoints, ["main"], `${name}: entry points`);
  const uniform = inOrder.find((b) => b.access === "uniform");
  if (uniform) assertEquals(uniform.type, "Params", `${name}: type of params`);
  for (const line of kernel.wgsl.split("\n").filter((line) => line.includes("var<storage"))) {
    assert(
      line.includes("//"),
      `${name}: a comment with the shape stands on every binding, received "${line}"`,
    );
  }
}

Deno.test("allKernels() lists kernels whose WGSL declares what their descriptors say", () => {
  const kernels = allKernels();
  assertNotEquals(kernels.length, 0, "allKernels() lists no kernel");
  for (const kernel of kernels) assertConforms(kernel);
});

Deno.test("allKernels() gives every kernel a name of its own", () => {
  const names = allKernels().map((kernel) => kernel.name);
  assertEquals(names.filter((name, i) => names.indexOf(name) !== i), []);
});

Deno.test("allKernels() binds at most 8 storage buffers a kernel and asks for features by WGSL's name", () => {
  for (const { name, buffers, features = [] } of allKernels()) {
    assert(Object.keys(buffers).length <= 8, `${name}: ${Object.keys(buffers).length} storage buffers`);
    for (const feature of features) assert(/^[a-z0-9-]+$/.test(feature), `${name}: feature "${feature}"`);
  }
});

Deno.test("assertConforms() rejects a descriptor that differs from its text in any part", () => {
  const kernel: KernelSpec = {
    name: "copy",
    wgsl: `
      override WORKGROUP: u32 = 64u; // override HIDDEN = 1;
      struct Params { count: u32, scale: f32, }
      @group(0) @binding(0) var<storage, read> x: array<f32>; // [count]
      @group(0) @binding(1) var<storage, read_write> y: array<f32>; // [count]
      @group(0) @binding(2) var<uniform> params: Params;
      @compute @workgroup_size(WORKGROUP, 1, 1)
      fn main(@builtin(global_invocation_id) id: vec3u) { y[id.x] = x[id.x] * params.scale; }`,
    buffers: { x: "read", y: "read_write" },
    params: { count: "u32", scale: "f32" },
    tuning: { WORKGROUP: 64 },
    grid: ({ count }, { WORKGROUP }) => [Math.ceil(count / WORKGROUP)],
  };
  assertConforms(kernel);
  const wrong: Partial<KernelSpec>[] = [
    { buffers: { y: "read_write", x: "read" } },
    { buffers: { x: "read", y: "read" } },
    { buffers: { x: "read", y: "read_write", z: "read" } },
    { params: { scale: "f32", count: "u32" } },
    { params: { count: "i32", scale: "f32" } },
    { tuning: { WORKGROUP: 128 } },
    { tuning: {} },
    { tuning: { WORKGROUP: 64, HIDDEN: 1 } },
    { wgsl: kernel.wgsl.replace("@binding(2)", "@binding(3)") },
    { wgsl: kernel.wgsl.replace("fn main", "fn copy") },
    { wgsl: kernel.wgsl.replace("// [count]", "") },
  ];
  for (const change of wrong) {
    let conforms = true;
    try {
      assertConforms({ ...kernel, ...change });
    } catch {
      conforms = false;
    }
    assert(!conforms, `accepted ${JSON.stringify(change)}`);
  }
});
