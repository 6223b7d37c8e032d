import { assertAllClose, assertEquals } from "@std/assert";
import {
  cast,
  type DType,
  embedding,
  gatedProduct,
  linear,
  linearCrossEntropy,
  loraLinear,
  Tensor,
  tidy,
  type WeightLayout,
} from "../../autograd/mod.ts";
import { FORMATS_BY_NAME, WEIGHT_FORMATS, type WeightFormat } from "../../kernels/weights/mod.ts";
import { randomValues } from "../reference/matmul.ts";
import { anotherDevice } from "../reference/another_device.ts";

/** A format of this test's own: bytes, and in a second buffer a scale for 32 of them. */
const bytesWithScales: WeightFormat = {
  name: "test8",
  block: 32,
  buffers: [
    { suffix: "", elements: 4, bytes: 4, note: "four bytes per word" },
    { suffix: "Scale", elements: 32, bytes: 4, note: "[rows, cols / 32]" },
  ],
  reading: {
    name: "test8",
    types: () => ["u32", "f32"],
    body: (width, [b, scale]) =>
      width === 4
        ? `return unpack4x8snorm(${b}[i]) * ${scale}[i / 8u];`
        : `return unpack4x8snorm(${b}[i / 4u])[i % 4u] * ${scale}[i / 32u];`,
  },
  array: "Uint32Array",
  isBroken: () => false,
  file: "F32",
  unpack: "test8ToFloat",
  pack: {
    kernel: "floatToTest8",
    text: `var most = 0.0;
  for (var k = 0u; k < 32u; k++) { most = max(most, abs(x[i + k])); }
  yScale[block] = most;
  let inverse = select(1.0 / most, 0.0, most == 0.0);
  for (var k = 0u; k < 8u; k++) {
    let at = i + 4u * k;
    y[i / 4u + k] = pack4x8snorm(vec4f(x[at], x[at + 1u], x[at + 2u], x[at + 3u]) * inverse);
  }`,
  },
  rule: "a last dimension divisible by 32 is required",
};
Object.assign(WEIGHT_FORMATS, { test8: bytesWithScales });
Object.assign(FORMATS_BY_NAME, { test8: bytesWithScales });
const TEST8 = "test8" as DType;

const [V, C, M] = [700, 640, 70];

for (const limit of [undefined, 400 * 2 ** 10]) {
  const where = limit ? `in windows of ${limit} bytes` : "in one binding";
  Deno.test(`a format with a second buffer serves products, lookups, the head and conversions, ${where}`, async () => {
    const device = await anotherDevice({
      limits: limit ? { maxStorageBufferBindingSize: limit } : undefined,
    });
    const random = (seed: number, shape: number[]) =>
      Tensor.from(randomValues(seed, shape.reduce((a, b) => a * b)), { device, shape });
    const numbers = async (tensor: Tensor) => await tensor.data() as Float32Array;
    const whole = random(1, [V, C]);
    const packed = cast(whole, TEST8);
    const plain = cast(packed, "float32"); // what the packed numbers stand for
    assertEquals(packed.byteLength, V * C + V * C / 32 * 4);
    assertAllClose(await numbers(plain), await numbers(whole), { rtol: 0, atol: 0.005 });
    /** An op gives the same for the packed weight as for its numbers. */
    const compare = async (label: string, op: (weight: Tensor) => Tensor) => {
      const [ours, expected] = [tidy(() => op(packed)), tidy(() => op(plain))];
      assertAllClose(await numbers(ours), await numbers(expected), { rtol: 1e-4, atol: 2e-5, label });
    };
    const ids = Tensor.from(Int32Array.of(3, 699, 0, 512), { device, shape: [2, 2] });
    await compare("embedding", (weight) => embedding(ids, weight));
    const [A, B] = [random(4, [8, C]), random(5, [V, 8])];
    const x = { linear: random(2, [M, C]), conv1d: random(3, [M, V]) };
    for (const layout of ["linear", "conv1d"] as WeightLayout[]) {
      await compare(layout, (weight) => linear(x[layout], weight, null, { layout }));
      const gradients = [packed, plain].map((weight) => {
        const input = x[layout].copy();
        input.requiresGrad = true;
        const y = linear(input, weight, null, { layout });
        y.backward(random(9, [...y.shape]));
        return input.grad!;
      });
      const [ours, expected] = await Promise.all(gradients.map(numbers));
      assertAllClose(ours, expected, { rtol: 1e-4, atol: 2e-5, label: `dx, ${layout}` });
    }
    await compare("one row", (weight) => linear(random(6, [1, C]), weight, null));
    await compare("lora", (weight) => loraLinear(x.linear, weight, null, A, B, 0.5));
    const labels = Tensor.from(Int32Array.from({ length: M }, (_, i) => i * 17 % V), { device });
    await compare("head", (weight) => linearCrossEntropy(x.linear, weight, labels));
    await device.sync(); // throws what WebGPU had to report
    device.trim();
  });
}

Deno.test("a gated product that would bind nine buffers takes two launches, with the same numbers", async () => {
  const device = await anotherDevice();
  const make = (seed: number, shape: number[], requiresGrad = true) =>
    Tensor.from(randomValues(seed, shape.reduce((a, b) => a * b)), { device, shape, requiresGrad });
  const weight = cast(make(3, [64, 32], false), TEST8);
  const run = (gated: boolean) => {
    const [x, by, bias, A, B] = [[6, 32], [6, 64], [64], [4, 32], [64, 4]].map((shape, i) =>
      make(i + 4, shape)
    );
    const y = gated
      ? loraLinear(x, weight, bias, A, B, 0.5, { gate: { activation: "silu", by } })
      : gatedProduct("silu", by, loraLinear(x, weight, bias, A, B, 0.5));
    y.backward(make(9, [6, 64], false));
    return [y, x.grad!, by.grad!, bias.grad!, A.grad!, B.grad!];
  };
  const [fused, apart] = [run(true), run(false)];
  for (const i of fused.keys()) assertEquals(await fused[i].data(), await apart[i].data());
});
