import { assert, assertEquals } from "@std/assert";
import { bundle } from "../../tools/bundle.ts";
import { runInPage } from "./chromium.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

Deno.test("Chromium with SwiftShader computes on WebGPU", async () => {
  const { value, messages } = await runInPage<{ fallback: boolean; result: number[] }>(`
    export async function run() {
      const adapter = await navigator.gpu.requestAdapter();
      const device = await adapter.requestDevice();
      const buffer = device.createBuffer({ size: 16, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC });
      const staging = device.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
      const code = "@group(0) @binding(0) var<storage, read_write> y: array<f32>;" +
        "@compute @workgroup_size(4) fn main(@builtin(local_invocation_index) i: u32) { y[i] = f32(i * i); }";
      const compute = { module: device.createShaderModule({ code }), entryPoint: "main" };
      const pipeline = device.createComputePipeline({ layout: "auto", compute });
      const layout = pipeline.getBindGroupLayout(0);
      const group = device.createBindGroup({ layout, entries: [{ binding: 0, resource: { buffer } }] });
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(1);
      pass.end();
      encoder.copyBufferToBuffer(buffer, 0, staging, 0, 16);
      device.queue.submit([encoder.finish()]);
      await staging.mapAsync(GPUMapMode.READ);
      return { fallback: adapter.info.isFallbackAdapter, result: [...new Float32Array(staging.getMappedRange())] };
    }`);
  assertEquals(value, { fallback: true, result: [0, 1, 4, 9] });
  assertEquals(messages, []);
});

Deno.test("the browser bundle loads in a page and exports the public names", async () => {
  const { code, problems } = await bundle(`${ROOT}mod.ts`);
  assertEquals(problems, []);
  const { value, messages } = await runInPage<string[]>(
    'export const run = async () => Object.keys(await import("/peft_webgpu.js"));',
    { files: { "/peft_webgpu.js": code } },
  );
  for (const name of ["AutoModelForCausalLM", "GPT2LMHeadModel", "getPeftModel", "LoraConfig", "AdamW"]) {
    assert(value.includes(name), `${name} is missing from the exports ${value.join(", ")}`);
  }
  assertEquals(messages, []);
});
