/**
 * Weights in formats of few bits: every op that takes one gives what it gives for the numbers that the blocks stand for.
 * @module
 */
import { assert, assertAllClose, assertEquals, assertThrows } from "@std/assert";
import {
  type BitsandbytesFormatName,
  cast,
  type Device,
  embedding,
  keep,
  linear,
  linearCrossEntropy,
  loraLinear,
  quantize,
  type QuantizedType,
  Tensor,
  tidy,
  type WeightLayout,
} from "../../autograd/mod.ts";
import { launchMatmul, type MatmulCall } from "../../autograd/ops/_matmul.ts";
import type { MatmulTile } from "../../kernels/matmul.ts";
import { formatBytes, WEIGHT_FORMATS } from "../../kernels/weights/mod.ts";
import { randomValues } from "../reference/matmul.ts";
import { GGUF_TYPES, randomWeight } from "../reference/quantized.ts";
import { anotherDevice } from "../reference/another_device.ts";

const [C, M] = [256, 5];

/** Products that walk along rows of the weight. */
const ALONG_ROWS = /^linear|row, linear|dx, conv1d|lora|head/;
/** A product whose threads share the steps of a sum, where they form a subgroup. */
const SPLIT = /one row, conv1d/;

/** Whether kernels take the numbers of a row in their order; else those of one word of codes at a time. */
const takesInOrder = (type: QuantizedType) => WEIGHT_FORMATS[type].reading.shared!.pieces.place[1] === 1;

/** Ops of one weight [V, C] and its numbers; results are equal to the bit where sums have the same order. */
async function compareOps(device: Device, type: QuantizedType, V: number, thorough = true): Promise<void> {
  const random = (seed: number, shape: number[]) =>
    Tensor.from(randomValues(seed, shape.reduce((a, b) => a * b)), { device, shape });
  const packed = GGUF_TYPES.includes(type)
    ? randomWeight(device, type, [V, C], 7)
    : await quantize(random(7, [V, C]), type as BitsandbytesFormatName);
  const plain = cast(packed, "float32");
  assertEquals(packed.byteLength, formatBytes(WEIGHT_FORMATS[type], V * C));
  const whole = packed.byteLength <= device.limits.maxStorageBufferBindingSize;
  const inOrder = takesInOrder(type);
  const compare = async (label: string, op: (weight: Tensor) => Tensor) => {
    const [ours, expected] = [tidy(() => op(packed)), tidy(() => op(plain))];
    const [got, wanted] = [await ours.data(), await expected.data()] as Float32Array[];
    const most = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const ordered = (inOrder || !ALONG_ROWS.test(label)) && !SPLIT.test(label);
    if (whole && ordered) assertEquals(got, wanted, `${type}, ${label}`);
    else if (whole) assertAllClose(got, wanted, { rtol: 0, atol: 1e-6 * most, label: `${type}, ${label}` });
    // Windows of f32 and of blocks end at other rows, between which sums of up to 1,200 terms are rounded.
    else assertAllClose(got, wanted, { rtol: 1e-4, atol: 1e-4, label: `${type}, ${label}` });
  };
  const ids = Tensor.from(Int32Array.of(3, V - 1, 0, 200), { device, shape: [2, 2] });
  await compare("embedding", (weight) => embedding(ids, weight));
  if (whole) await compare("embedding of columns", (weight) => embedding(ids, weight, { transposed: true }));
  const [A, B] = [random(4, [8, C]), random(5, [V, 8])];
  const x = { linear: random(2, [M, C]), conv1d: random(3, [M, V]) };
  const layouts: WeightLayout[] = ["linear", "conv1d"];
  for (const layout of layouts) {
    const row = random(6, [1, layout === "linear" ? C : V]);
    await compare(`one row, ${layout}`, (weight) => linear(row, weight, null, { layout }));
  }
  await device.sync(); // throws what WebGPU had to report
  if (!thorough) return;
  for (const layout of layouts) {
    await compare(layout, (weight) => linear(x[layout], weight, null, { layout }));
    await compare(`dx, ${layout}`, (weight) => {
      const input = x[layout].copy();
      input.requiresGrad = true;
      const y = linear(input, weight, null, { layout });
      y.backward(random(9, [...y.shape]));
      return input.grad!.copy();
    });
  }
  await compare("lora", (weight) => loraLinear(x.linear, weight, null, A, B, 0.5));
  const labels = Tensor.from(Int32Array.from({ length: M }, (_, i) => i * 17 % V), { device });
  await compare("head", (weight) => linearCrossEntropy(x.linear, weight, labels));
  await device.sync(); // throws what WebGPU had to report
}

Deno.test("weights of few bits serve products, their input gradients, lookups and the head as their numbers do", async () => {
  const device = await anotherDevice();
  // One format for each kind of block; the others differ in how four numbers are read.
  const thorough = ["q4_1", "q8_0", "q6_k", "nf4_double"];
  const bitsandbytes = ["nf4", "nf4_double", "fp4", "fp4_double", "int8"] as const;
  for (const type of [...GGUF_TYPES, ...bitsandbytes]) {
    await compareOps(device, type, 260, thorough.includes(type));
  }
  device.trim();
});

Deno.test("weights of few bits over the binding limit are bound in windows", async () => {
  const device = await anotherDevice({ limits: { maxStorageBufferBindingSize: 136 * 2 ** 10 } });
  for (const type of ["q4_0", "q8_0", "q6_k", "nf4"] as const) await compareOps(device, type, 1200);
  device.trim();
});

Deno.test("weights of few bits are refused where they cannot be: other shapes, other bytes, gradients", async () => {
  const device = await anotherDevice();
  const bytes = new Uint8Array(18 * 4);
  const make = (shape: number[], data = bytes) => Tensor.from(data, { device, dtype: "q4_0", shape });
  using weight = make([2, 64]);
  assertThrows(() => make([4, 33]), TypeError, "rows of whole blocks of 32 are required, received 72 bytes");
  assertThrows(
    () => make([4, 64]),
    TypeError,
    "Cannot make a q4_0 tensor of shape [4, 64]: 144 bytes are required, received 72 bytes",
  );
  assertThrows(() => weight.requiresGrad = true, TypeError, "float32 is required");
  assertThrows(() => cast(Tensor.from([[1]], { device }), "q4_0"), TypeError, "no such conversion");
  assertEquals(await weight.data(), bytes);
  device.trim();
});

/** Tiles of hardware: through workgroup memory, with tiles read ahead, and with steps of K shared between threads. */
const HARDWARE: MatmulTile[] = [
  { variant: "shared", tileM: 4, tileN: 4, lanesM: 4, lanesN: 8, lanesK: 1, tileK: 16, ahead: true },
  { variant: "register", tileM: 2, tileN: 4, lanesM: 1, lanesN: 8, lanesK: 8, tileK: 4 },
  { variant: "register", tileM: 1, tileN: 4, lanesM: 1, lanesN: 8, lanesK: 1, tileK: 4, scalar: true },
];

/** Products in these tiles, if asked with what an epilogue adds, beside those of the numbers in f32. */
async function compareTiles(
  device: Device,
  type: QuantizedType,
  layout: "nt" | "nn",
  [M, N, K]: readonly [number, number, number],
  tiles: readonly MatmulTile[],
  epilogue = false,
): Promise<void> {
  const random = (seed: number, ...shape: number[]) =>
    Tensor.from(randomValues(seed, shape.reduce((a, b) => a * b)), { device, shape });
  const shape = layout === "nt" ? [N, K] : [K, N];
  const packed = GGUF_TYPES.includes(type)
    ? randomWeight(device, type, shape, 3)
    : await quantize(random(2, ...shape), type as BitsandbytesFormatName);
  const [a, u, v] = [random(1, M, K), random(4, M, 8), random(5, 8, N)];
  const [bias, gate] = [random(6, N), random(7, M, N)];
  const product = async (b: Tensor, more: Partial<MatmulCall>) => {
    const y = Tensor.from(new Float32Array(M * N), { device, shape: [M, N] });
    const operands = { a: { tensor: a, ld: K }, b: { tensor: b, ld: shape[1] }, y: { tensor: y, ld: N } };
    launchMatmul(device, { layout, M, N, K, ...operands, ...more });
    return await y.data() as Float32Array;
  };
  const epilogues: Partial<MatmulCall>[] = epilogue
    ? [{ bias, extension: { layout: "nn", u, v, R: 8 } }, { gate, activation: "silu" }]
    : [{}];
  const numbers = tidy(() => keep(cast(packed, "float32")));
  for (const more of epilogues) {
    const expected = await product(numbers, more);
    const most = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    for (const tile of tiles) {
      const { variant, tileM, tileN, lanesM, lanesN, lanesK, ahead } = tile;
      const lanes = `${lanesM}x${lanesN}x${lanesK}`;
      const label = `${type} ${layout} ${M}x${N}x${K} ${variant} ${tileM}x${tileN} of ${lanes} ${
        ahead ?? ""
      }`;
      assertAllClose(await product(packed, { ...more, tile }), expected, {
        rtol: 0,
        atol: 1e-6 * most,
        label,
      });
    }
  }
}

Deno.test("weights of few bits have the same products in the tiles of hardware", async () => {
  const device = await anotherDevice();
  for (const type of ["q4_0", "q6_k", "nf4_double"] as const) {
    for (const layout of ["nt", "nn"] as const) {
      await compareTiles(device, type, layout, [6, layout === "nt" ? 64 : 256, 256], HARDWARE);
    }
  }
  device.trim();
});

Deno.test("weights of few bits have the same products in the tiles of subgroups", async () => {
  const device = await anotherDevice();
  const threads = device.profile.subgroupSize;
  const tile = (tileM: number, tileN: number, lanesM: number, lanesN: number, lanesK = 1): MatmulTile => ({
    ...{ variant: "register", tileM, tileN, lanesM, lanesN, lanesK, tileK: 4 },
    broadcast: threads > 0,
  });
  const lanes = threads || 8;
  // A format of each way in which the quads of a piece lie, and one with a table.
  for (const type of ["q5_0", "q8_0", "q5_k", "nf4_double"] as const) {
    const { elements } = WEIGHT_FORMATS[type].reading.shared!.pieces;
    const block = Math.max(64, WEIGHT_FORMATS[type].block);
    // Columns that end inside a tile where blocks allow it, rows that end inside one, and steps with a rest.
    const columns = elements === 32 ? 96 : 2 * block;
    await compareTiles(device, type, "nt", [3, 40, 2 * block], [tile(3, 4, 1, lanes)]);
    await compareTiles(device, type, "nt", [13, 40, block], [tile(8, 8, 1, lanes)]);
    await compareTiles(device, type, "nn", [37, columns, 48], [tile(4, 64, lanes, 1)], type === "q5_k");
    await compareTiles(device, type, "nn", [1, columns, 46], [tile(1, elements, 1, 1, lanes)]);
  }
  device.trim();
});

Deno.test("one row over as many weights of few bits as a head has is summed to its end", async () => {
  // The input's gradient of a tied head: more steps than a driver that ends loops after 65,535 turns runs at one a turn.
  const [rows, columns] = [49_152, 64];
  const device = await anotherDevice();
  const row = Tensor.from(randomValues(1, rows), { device, shape: [1, rows] });
  for (const type of ["q8_0", "q4_1"] as const) {
    const packed = randomWeight(device, type, [rows, columns], 7);
    const numbers = await tidy(() => cast(packed, "float32")).data() as Float32Array;
    const result = await tidy(() => linear(row, packed, null, { layout: "conv1d" })).data() as Float32Array;
    const x = await row.data() as Float32Array;
    for (const c of [0, 1, 40, columns - 1]) {
      let [sum, magnitude] = [0, 0];
      for (let r = 0; r < rows; r++) {
        sum += x[r] * numbers[r * columns + c];
        magnitude += Math.abs(x[r] * numbers[r * columns + c]);
      }
      // Higham and Mary 2019's probabilistic bound, times 4
      const gate = 4 * Math.sqrt(rows) * 2 ** -24 * magnitude;
      assert(Math.abs(result[c] - sum) <= gate, `${type}, column ${c}: ${result[c]} for ${sum}`);
    }
    packed.dispose();
  }
  device.trim();
});
