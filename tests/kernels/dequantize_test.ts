import { assert, assertEquals } from "@std/assert";
import { defaultDevice, type Device, Tensor } from "../../autograd/mod.ts";
import { safetensors } from "../../io/safetensors.ts";
import { GGML_TYPES } from "../../io/gguf_types.ts";
import {
  blockOf,
  DEQUANTIZE_FORMATS,
  type DequantizeFormat,
  dequantizeKernel,
} from "../../kernels/dequantize.ts";

const FIXTURE = new URL("../fixtures/gguf/blocks.safetensors", import.meta.url).pathname;

/** What the kernel makes of blocks. */
async function dequantized(device: Device, format: DequantizeFormat, blocks: Uint8Array, size: number) {
  const words = new Uint32Array(Math.ceil(blocks.length / 4));
  new Uint8Array(words.buffer).set(blocks);
  using x = Tensor.from(words, { device });
  using y = Tensor.from(new Float32Array(size).fill(7), { device });
  device.dispatch(dequantizeKernel(format), { blocks: x.view, y: y.view }, { size });
  return await y.data() as Float32Array<ArrayBuffer>;
}

Deno.test("dequantizeKernel() gives gguf-py's numbers to the bit, for every format", async () => {
  const device = await defaultDevice();
  const tensors = await safetensors.load(FIXTURE);
  assertEquals(tensors.size, 2 * DEQUANTIZE_FORMATS.length);
  for (const format of DEQUANTIZE_FORMATS) {
    const blocks = tensors.get(`${format}.blocks`)!.data;
    const bytes = tensors.get(`${format}.values`)!.data;
    const wanted = new Uint32Array(bytes.slice().buffer);
    const values = await dequantized(device, format, blocks, wanted.length);
    const got = new Uint32Array(values.buffer);
    const wrong = got.findIndex((bits, i) => bits !== wanted[i]);
    assertEquals(wrong, -1, `${format}: element ${wrong} is ${values[wrong]}`);
  }
});

Deno.test("dequantizeKernel() writes `size` elements and no more, over more than 65,535 workgroups too", async () => {
  const device = await defaultDevice();
  const part = await dequantized(device, "Q8_0", new Uint8Array(2 * 34), 60);
  assertEquals(part.length, 60);
  const blocks = 540_000; // 17.3 million elements: 67,500 workgroups
  const bytes = new Uint8Array(blocks * 34);
  for (let b = 0; b < blocks; b++) {
    bytes[34 * b + 1] = 0x3c; // 1.0
    bytes[34 * b + 2 + b % 32] = b % 127 + 1;
  }
  const values = await dequantized(device, "Q8_0", bytes, blocks * 32);
  for (let b = 0; b < blocks; b += 997) {
    const row = values.subarray(32 * b, 32 * b + 32);
    assert(row.every((value, i) => value === (i === b % 32 ? b % 127 + 1 : 0)), `block ${b}`);
  }
  assertEquals(values[32 * (blocks - 1) + (blocks - 1) % 32], (blocks - 1) % 127 + 1);
});

Deno.test("blockOf() has the sizes that files have", () => {
  for (const format of DEQUANTIZE_FORMATS) {
    const { elements, bytes } = GGML_TYPES[format];
    assertEquals(blockOf(format), { ...blockOf(format), elements, bytes });
  }
});
