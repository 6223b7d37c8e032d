import { assert, assertEquals } from "@std/assert";
import type { KernelSpec } from "../../kernels/kernel_spec.ts";
import { checkWgsl } from "../../tools/check_wgsl.ts";
import { numberLines } from "../../tools/print_wgsl.ts";

const KERNEL: KernelSpec = {
  name: "copy",
  wgsl: `override WORKGROUP: u32 = 64u;
struct Params { count: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;
@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u) { if (id.x < params.count) { y[id.x] = x[id.x]; } }
`,
  buffers: { x: "read", y: "read_write" },
  params: { count: "u32" },
  tuning: { WORKGROUP: 64 },
  grid: () => [1],
};

Deno.test("checkWgsl() accepts a correct kernel", async () => {
  assertEquals(await checkWgsl([KERNEL]), []);
});

Deno.test("checkWgsl() reports kernel, line, column and excerpt of a compile error, and goes on", async () => {
  const broken = { ...KERNEL, name: "broken", wgsl: KERNEL.wgsl.replace("y[id.x] = x", "y[id.x] = 1u + x") };
  const problems = await checkWgsl([broken, KERNEL, { ...broken, name: "broken_too" }]);
  assertEquals(problems.length, 2);
  assert(
    /^broken 7:\d+ no matching[\s\S]*\n {4}fn main.*y\[id\.x\] = 1u \+ x.*\n +\^$/.test(problems[0]),
    problems[0],
  );
  assert(problems[1].startsWith("broken_too 7:"), problems[1]);
});

Deno.test("checkWgsl() reports a pipeline whose bindings or constants differ from the descriptor", async () => {
  for (
    const wrong of [
      { ...KERNEL, buffers: { x: "read" } as const, params: {} },
      { ...KERNEL, buffers: { x: "read_write", y: "read_write" } as const },
      { ...KERNEL, tuning: { GROUP: 64 } },
      { ...KERNEL, tuning: { WORKGROUP: 1024 } },
    ]
  ) {
    const problems = await checkWgsl([wrong as KernelSpec]);
    assert(problems.length === 1 && problems[0].startsWith("copy pipeline: "), problems.join("\n"));
  }
});

Deno.test("numberLines() numbers lines with an even margin", () => {
  assertEquals(numberLines("a\n\nb"), "1  a\n2\n3  b");
  assertEquals(numberLines("\n".repeat(9)).split("\n").slice(8), [" 9", "10"]);
});
