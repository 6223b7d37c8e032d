import { assert, assertAllClose, assertEquals, assertStringIncludes } from "@std/assert";
import { AutoModelForCausalLM } from "../../model/mod.ts";
import { wholeBundle } from "./bundles.ts";
import { runInPage } from "./chromium.ts";
import type { teachInPage } from "./teach_in_page.js";
import { trainLora } from "./train_lora.js";

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

Deno.test("the browser bundle trains a LoRA in a page, with the losses of Deno", async () => {
  const { code, problems } = await wholeBundle();
  assertEquals(problems, []);
  const script = 'import * as lib from "/peft_webgpu.js"; import { trainLora } from "/train_lora.js";' +
    "export const run = () => trainLora(lib);";
  const { value, messages } = await runInPage<Awaited<ReturnType<typeof trainLora>>>(script, {
    files: {
      "/peft_webgpu.js": code,
      "/train_lora.js": await Deno.readTextFile(new URL("train_lora.js", import.meta.url)),
    },
  });
  assertEquals(messages, []);
  assertEquals(value.logitsShape, [2, 13, 61]);
  assertEquals(value.trainable.length, 8);
  assert(
    value.trainable.every((name) => /\.lora_[AB]\.default\.weight$/.test(name)),
    value.trainable.join(", "),
  );
  assert(!value.frozenChanged, "a frozen weight has changed");
  assert(value.losses.at(-1)! < 0.9 * value.losses[0], `the loss does not fall: ${value.losses.join(", ")}`);
  // Same seed, another WebGPU implementation (Dawn) and driver (SwiftShader): rounding alone may differ.
  const here = await trainLora(await import(`${ROOT}entries/all.ts`));
  assertAllClose(value.losses, here.losses, { rtol: 0, atol: 1e-4 });
});

Deno.test("a page does what the README teaches: URL, tokenizers, Trainer, an adapter in memory", async () => {
  const { code, parts } = await wholeBundle();
  const script = 'import * as lib from "/peft_webgpu.js"; import { teachInPage } from "/teach_in_page.js";' +
    'export const run = () => teachInPage(lib, new URL("/files/", location.href));';
  const { value, messages } = await runInPage<Awaited<ReturnType<typeof teachInPage>>>(script, {
    files: {
      "/peft_webgpu.js": code,
      ...Object.fromEntries([...parts].map(([name, text]) => [`/${name}`, text])),
      "/teach_in_page.js": await Deno.readTextFile(new URL("teach_in_page.js", import.meta.url)),
    },
    folder: `${ROOT}examples/demo/model/`,
  });
  const { text, merged, withoutFiles, ...rest } = value as Record<string, unknown>;
  assertEquals(rest, {
    globalStep: 2,
    lines: 4, // the beginning, two logs, the end
    files: ["README.md", "adapter_config.json", "adapter_model.safetensors"],
    gpt2: [15496, 11, 18468, 9792, 0],
  });
  assert(String(text).startsWith("Ahoy") && String(text).length > 6, String(text));
  assertEquals(merged, text);
  assertStringIncludes(
    String(withoutFiles),
    "Cannot open files by path: a file system is required, received a runtime without one; " +
      'pass a URL such as new URL("./model/", location.href), files that were picked, or memoryFolder()',
  );
  // The server has no special_tokens_map.json, and the page's console notes each 404.
  assertEquals(messages.filter((message) => !message.includes("404")), []);
});

Deno.test("a page loads a GGUF file behind a URL, in ranges, with the logits of Deno", async () => {
  const { code } = await wholeBundle();
  const file = "gpt2_f32.gguf"; // longer than the block that small reads share
  const script = `import * as lib from "/peft_webgpu.js";
    export async function run() {
      const ranges = [];
      const { fetch } = globalThis;
      globalThis.fetch = (url, init) => {
        ranges.push(init?.headers?.Range ?? "none");
        return fetch(url, init);
      };
      const model = await lib.AutoModelForCausalLM.fromPretrained(new URL("/files/${file}", location.href));
      const logits = [...await model.forward({ inputIds: [[1, 2, 3]] }).logits.data()];
      return { logits, ranges };
    }`;
  const folder = `${ROOT}tests/fixtures/gguf/`;
  const { value, messages } = await runInPage<{ logits: number[]; ranges: string[] }>(script, {
    files: { "/peft_webgpu.js": code },
    folder,
  });
  const model = await AutoModelForCausalLM.fromPretrained(`${folder}${file}`);
  using here = model.forward({ inputIds: [[1, 2, 3]] }).logits;
  assertAllClose(value.logits, await here.data(), { rtol: 0, atol: 1e-4 });
  assertEquals(value.ranges[0], "bytes=0-65535");
  assert(
    value.ranges.length > 5 && value.ranges.every((range) => range.startsWith("bytes=")),
    `${value.ranges}`,
  );
  assertEquals(messages, []);
  model.dispose();
});

Deno.test("a page without the bundle's parts is told which file a tokenizer needs", async () => {
  const { code } = await wholeBundle();
  const script = 'import * as lib from "/peft_webgpu.js"; export const run = async () => [' +
    'await lib.AutoTokenizer.fromPretrained("gpt2").catch((error) => error.message),' +
    'await lib.AutoTokenizer.fromPretrained(new URL("/files/", location.href)).catch((error) => error.message)];';
  const { value } = await runInPage<string[]>(script, {
    files: { "/peft_webgpu.js": code },
    folder: `${ROOT}examples/demo/model/`,
  });
  assertStringIncludes(value[0], "beside the browser bundle its file peft_webgpu_gpt2_vocabulary.js");
  assertStringIncludes(value[1], "beside the browser bundle its file peft_webgpu_tokenizers.js");
});
