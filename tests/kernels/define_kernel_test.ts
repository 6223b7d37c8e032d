import { assertEquals } from "@std/assert";
import { defineKernel, elementTypes } from "../../kernels/define_kernel.ts";

Deno.test("defineKernel() declares constants, parameters and the buffers that there are, after directives", () => {
  const buffers = {
    x: "read vec4f // [rows, cols / 4]",
    bias: false,
    hits: "read_write atomic<u32> // [1]: how many",
  } as const;
  const kernel = defineKernel({
    name: "count",
    directives: ["enable f16;"],
    buffers,
    params: { rows: "u32", scale: "f32" },
    tuning: { WORKGROUP_SIZE: 64 },
    grid: ({ rows }) => [rows],
    program: "fn main() {}",
  });
  assertEquals(
    kernel.wgsl,
    `enable f16;
override WORKGROUP_SIZE: u32 = 64u;
@group(0) @binding(0) var<storage, read> x: array<vec4f>; // [rows, cols / 4]
@group(0) @binding(1) var<storage, read_write> hits: array<atomic<u32>>; // [1]: how many
@group(0) @binding(2) var<uniform> params: Params;
struct Params { rows: u32, scale: f32 }
fn main() {}`,
  );
  assertEquals<Record<string, string>>(kernel.buffers, { x: "read", hits: "read_write" });
  assertEquals(elementTypes(buffers), { x: "vec4f", hits: "atomic<u32>" });
  assertEquals(kernel.grid({ rows: 3, scale: 1 }, kernel.tuning), [3]);
});

Deno.test("defineKernel() declares no uniform for a kernel without parameters, and no comment without a shape", () => {
  const kernel = defineKernel({
    name: "one",
    buffers: { y: "read_write f32" },
    params: {},
    tuning: {},
    grid: () => [1],
    program: "fn main() {}",
  });
  assertEquals(
    kernel.wgsl,
    "@group(0) @binding(0) var<storage, read_write> y: array<f32>;\nfn main() {}",
  );
});
