import { assert, assertEquals } from "@std/assert";
import { defaultDevice, dequantize, readAndDispose } from "../../autograd/mod.ts";
import { GGML_TYPES, type GgmlTypeName } from "../../io/gguf_types.ts";
import { safetensors } from "../../io/safetensors.ts";
import { WEIGHT_FORMATS } from "../../kernels/weights/mod.ts";
import { READABLE_TYPES } from "../../io/gguf_types.ts";

const FIXTURE = new URL("../fixtures/gguf/blocks.safetensors", import.meta.url).pathname;

/** Element types that are dequantised, by the names of ggml. */
const { F32: _, ...TYPES } = READABLE_TYPES;

Deno.test("dequantize() gives gguf-py's numbers to the bit, for every format", async () => {
  const device = await defaultDevice();
  const tensors = await safetensors.load(FIXTURE);
  assertEquals(tensors.size, 2 * Object.keys(TYPES).length);
  for (const [name, type] of Object.entries(TYPES)) {
    const blocks = tensors.get(`${name}.blocks`)!.data.slice();
    const bytes = tensors.get(`${name}.values`)!.data;
    const wanted = new Uint32Array(bytes.slice().buffer);
    const values = await readAndDispose(dequantize(blocks, type, device)) as Float32Array<ArrayBuffer>;
    const got = new Uint32Array(values.buffer);
    assertEquals(got.length, wanted.length);
    const wrong = got.findIndex((bits, i) => bits !== wanted[i]);
    assertEquals(wrong, -1, `${name}: element ${wrong} is ${values[wrong]}`);
  }
});

Deno.test("dequantize() takes more blocks than 65,535 workgroups have threads, and whole blocks only", async () => {
  const device = await defaultDevice();
  const blocks = 540_000; // 17.3 million elements: 67,500 workgroups
  const bytes = new Uint8Array(blocks * 34);
  for (let b = 0; b < blocks; b++) {
    bytes[34 * b + 1] = 0x3c; // 1.0
    bytes[34 * b + 2 + b % 32] = b % 127 + 1;
  }
  const values = await readAndDispose(dequantize(bytes, "q8_0", device)) as Float32Array;
  assertEquals(values.length, blocks * 32);
  for (let b = 0; b < blocks; b += 997) {
    const row = values.subarray(32 * b, 32 * b + 32);
    assert(row.every((value, i) => value === (i === b % 32 ? b % 127 + 1 : 0)), `block ${b}`);
  }
  assertEquals(values[32 * (blocks - 1) + (blocks - 1) % 32], (blocks - 1) % 127 + 1);
  let message = "";
  try {
    dequantize(new Uint8Array(51), "q8_0", device);
  } catch (error) {
    message = (error as Error).message;
  }
  assertEquals(message, "Cannot dequantize q8_0: a multiple of 34 bytes is required, received 51");
});

Deno.test("formats of GGUF have the blocks that files have", () => {
  for (const [name, type] of Object.entries(TYPES)) {
    const { elements, bytes } = GGML_TYPES[name as GgmlTypeName];
    const { buffers, block } = WEIGHT_FORMATS[type];
    assertEquals(buffers.length, 1);
    assertEquals(buffers[0].bytes / buffers[0].elements, bytes / elements);
    if (elements > 1) assertEquals([block, buffers[0].elements], [elements, elements]);
  }
});
