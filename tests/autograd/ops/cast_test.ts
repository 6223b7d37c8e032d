import { assert, assertAllClose, assertEquals, assertThrows } from "@std/assert";
import { cast, defaultDevice, Device, Tensor, tidy } from "../../../autograd/mod.ts";
import { randomValues } from "../../reference/matmul.ts";

/** Bits of the float16 nearest to a number, by the host's own conversion. */
function halfBits(value: number): number {
  const view = new DataView(new ArrayBuffer(2));
  view.setFloat16(0, value);
  return view.getUint16(0);
}

/** The value of float16 bits, by the host's own conversion. */
function halfValue(bits: number): number {
  const view = new DataView(new ArrayBuffer(2));
  view.setUint16(0, bits);
  return view.getFloat16(0);
}

const isNanBits = (bits: number) => (bits & 0x7fff) > 0x7c00;

Deno.test("cast() float16 to float32 gives the value of each of the 65,536 halves", async () => {
  const device = await defaultDevice();
  const bits = Uint16Array.from({ length: 65_536 }, (_, i) => i);
  using y = tidy(() => cast(Tensor.from(bits, { device }), "float32"));
  const values = await y.data();
  assertEquals(y.dtype, "float32");
  for (let i = 0; i < bits.length; i++) {
    const expected = halfValue(i);
    assert(
      Object.is(values[i], expected) || (Number.isNaN(values[i]) && Number.isNaN(expected)),
      `${i.toString(16)}: received ${values[i]}, expected ${expected}`,
    );
  }
});

Deno.test("cast() float32 to float16 rounds to nearest even: every half, every midpoint and their neighbours", async () => {
  const device = await defaultDevice();
  const values: number[] = [];
  const word = new DataView(new ArrayBuffer(4));
  const step = (value: number, by: number) => {
    word.setFloat32(0, value);
    word.setUint32(0, word.getUint32(0) + by);
    return word.getFloat32(0);
  };
  for (let bits = 0; bits < 0x7c00; bits += 3) { // a third of the positive halves, all exponents
    const low = halfValue(bits);
    const high = bits === 0x7bff ? 65_536 : halfValue(bits + 1);
    const middle = (low + high) / 2; // exact in float32
    for (const v of [low, middle, step(middle, 1), step(middle, -1)]) values.push(v, -v);
  }
  values.push(0, -0, 65_504, 65_519.99, 65_520, 65_536, 1e10, 3.4e38, Infinity, -Infinity, 1e-40, -1e-40);
  values.push(2 ** -24, 2 ** -25, 2 ** -25 * 1.0000001, 2 ** -26, 2 ** -14, 2 ** -14 * 0.99999, NaN, -65_520);
  const data = Float32Array.from(values);
  using y = tidy(() => cast(Tensor.from(data, { device }), "float16"));
  const bits = await y.data();
  assertEquals(y.dtype, "float16");
  assertEquals(bits.length, data.length);
  data.forEach((value, i) => {
    const expected = halfBits(value);
    assert(
      bits[i] === expected || (isNanBits(bits[i]) && Number.isNaN(value)),
      `${value}: received ${bits[i].toString(16)}, expected ${expected.toString(16)}`,
    );
  });
});

Deno.test("cast() between int32 and float32 is exact for integers and truncates towards zero", async () => {
  const device = await defaultDevice();
  const ids = Int32Array.of(0, 1, -1, 50_256, -100, 2 ** 24, -(2 ** 24), 7);
  using floats = tidy(() => cast(Tensor.from(ids, { device }), "float32"));
  assertEquals([...await floats.data()], [...ids]);
  using back = cast(floats, "int32");
  assertEquals([...await back.data()], [...ids]);
  using cut = tidy(() => cast(Tensor.from([1.9, -1.9, 0.5, -0.5, 3], { device }), "int32"));
  assertEquals([...await cut.data()], [1, -1, 0, 0, 3]);
});

Deno.test("cast() to the same type is a second handle, and wants no gradient", async () => {
  const device = await defaultDevice();
  const before = device.memory.liveBytes;
  const x = Tensor.from([1, 2], { device, requiresGrad: true });
  const same = cast(x, "float32");
  assert(!same.requiresGrad && !cast(x, "float16").requiresGrad);
  x.dispose();
  assertEquals([...await same.data()], [1, 2]);
  same.dispose();
  assert(device.memory.liveBytes <= before + 256);
});

Deno.test("cast() refuses pairs without conversion and odd rows of halves", async () => {
  const device = await defaultDevice();
  tidy(() => {
    const words = Tensor.from(Uint32Array.of(1), { device });
    assertThrows(
      () => cast(words, "float32"),
      TypeError,
      "Cannot cast uint32 to float32: there is no such conversion",
    );
    const odd = Tensor.from([[1, 2, 3]], { device });
    assertThrows(
      () => cast(odd, "float16"),
      TypeError,
      "Cannot cast [1, 3] to float16: an even last dimension is required, since halves are packed in pairs",
    );
  });
});

Deno.test("cast() converts what is over the binding limit in windows", async () => {
  const whole = await defaultDevice();
  const device = await Device.create({
    device: whole.gpuDevice,
    limits: { maxStorageBufferBindingSize: 1024 },
  });
  const values = randomValues(3, 700);
  const x = Tensor.from(values, { device, shape: [350, 2] });
  const halves = cast(x, "float16");
  const back = cast(halves, "float32");
  const expected = values.map((v) => Math.fround(v));
  assertAllClose(await back.data() as Float32Array, expected, { rtol: 2 ** -11, atol: 1e-7 });
  const once = cast(Tensor.from(values, { device: whole, shape: [350, 2] }), "float16");
  assertEquals(await halves.data(), await once.data());
  for (const tensor of [x, halves, back, once]) tensor.dispose();
});
