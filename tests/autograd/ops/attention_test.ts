import { assert, assertAllClose, assertEquals, assertThrows } from "@std/assert";
import { cachedAttention, causalSelfAttention } from "../../../autograd/ops/attention.ts";
import { attention } from "../../../autograd/ops/key_value_attention.ts";
import { defaultDevice, type Device, noGrad, Tensor, tidy } from "../../../autograd/mod.ts";
import { philoxReference } from "../../reference/attention.ts";
import { check } from "../../reference/attention_check.ts";
import { attentionReach } from "../../../kernels/attention.ts";
import { randomValues } from "../../reference/matmul.ts";

Deno.test("causalSelfAttention() and its gradient agree with the float64 reference at odd sizes", async () => {
  for (const T of [1, 2, 3, 7, 17, 64]) await check({ B: 2, H: 3, D: 12, T });
  for (const D of [1, 5, 16]) await check({ B: 1, H: 2, D, T: 33 });
  await check({ B: 1, H: 1, D: 64, T: 129 });
});

Deno.test("causalSelfAttention() stays finite and right where scores are far apart", async () => {
  await check({ B: 1, H: 2, D: 16, T: 31, stretch: 60, scale: 1 });
  await check({ B: 1, H: 2, D: 16, T: 31, scale: 0.01 });
});

Deno.test("causalSelfAttention() hides padding on either side and gives zeros where every key is hidden", async () => {
  const rows = (...lines: string[]) => [...lines.join("")].map(Number);
  await check({ B: 3, H: 2, D: 12, T: 10, mask: rows("1111111111", "1111100000", "0001111111") });
  await check({ B: 2, H: 2, D: 5, T: 9, mask: rows("000000000", "101010101") });
  const device = await defaultDevice();
  using qkv = Tensor.from(randomValues(1, 2 * 6 * 24), { device, shape: [2, 6, 24], requiresGrad: true });
  using mask = Tensor.from(new Int32Array(12), { device, shape: [2, 6] });
  using o = causalSelfAttention(qkv, { heads: 2, attentionMask: mask });
  assertEquals([...await o.data()], Array(96).fill(0));
  o.backward(o.detach());
  assert((await qkv.grad!.data()).every((v) => v === 0), "nothing flows through hidden keys");
});

Deno.test("causalSelfAttention() drops the probabilities that Philox4x32-10 names, forward and backward", async () => {
  // Random123 kat_vectors: the generator under the reference.
  assertEquals(philoxReference([0, 0, 0, 0], [0, 0]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
  await check({ B: 2, H: 2, D: 12, T: 18, p: 0.25 });
  await check({ B: 1, H: 3, D: 5, T: 13, p: 0.6, mask: [..."1111111011111"].map(Number) });
});

Deno.test("attention() sees a prefix and passes gradients to queries, keys and values", async () => {
  await check({ B: 2, H: 2, D: 12, T: 9, prefix: 5 });
  await check({ B: 1, H: 2, D: 5, T: 1, prefix: 16, p: 0.3 });
  await check({ B: 2, H: 1, D: 8, T: 4, prefix: 3, mask: [..."01111110111111"].map(Number) });
});

Deno.test("causalSelfAttention() and attention() agree with the reference on the kernels for hardware too", async () => {
  for (const T of [1, 7, 33]) await check({ B: 2, H: 3, D: 12, T, hardware: true });
  await check({ B: 2, H: 2, D: 5, T: 9, mask: [..."000000000101010101"].map(Number), hardware: true });
  await check({ B: 1, H: 3, D: 5, T: 13, p: 0.6, mask: [..."1111111011111"].map(Number), hardware: true });
  await check({ B: 2, H: 2, D: 12, T: 9, prefix: 5, hardware: true });
});

Deno.test("attention over the binding limit reads each sequence's own mask, draws and statistics", async () => {
  const mask = [..."11101111" + "01111111" + "11110111" + "11011111" + "10111110"].map(Number);
  for (const hardware of [false, true]) {
    // 8 x 48 numbers a sequence: two sequences of 1,536 bytes in one binding of 4 KiB.
    await check({ B: 5, H: 2, D: 8, T: 8, mask, p: 0.3, limit: 4096, hardware });
    await check({ B: 5, H: 2, D: 8, T: 6, prefix: 2, mask, p: 0.3, limit: 4096, hardware });
  }
});

Deno.test("attention takes several launches where the driver ends loops, and agrees with the reference", async () => {
  const mask = [..."00101111101111101011011111011".repeat(2)].map(Number);
  // The fewest iterations make launches of eight keys.
  await check({ B: 2, H: 3, D: 12, T: 29, iterations: 1 });
  await check({ B: 2, H: 2, D: 5, T: 29, mask, iterations: 1 });
  await check({ B: 2, H: 2, D: 12, T: 29, mask, p: 0.3, iterations: 300 });
  await check({ B: 1, H: 2, D: 12, T: 9, prefix: 20, iterations: 40 });
  await check({ B: 1, H: 2, D: 12, T: 1, prefix: 28, p: 0.3, iterations: 1 });
  await check({ B: 2, H: 2, D: 12, T: 29, mask, p: 0.3, iterations: 1, hardware: true }); // tiles take over
});

Deno.test("attention over this driver's own loop limit agrees with the reference", async () => {
  // llvmpipe runs 65,535 iterations: 496 keys of 511 channels one by one, 14,968 of 64 channels four at a time.
  await check({ B: 1, H: 1, D: 511, T: 530 });
  await check({ B: 1, H: 1, D: 64, T: 1, prefix: 15_500 });
  await check({ B: 1, H: 1, D: 64, T: 9, prefix: 15_500 });
});

Deno.test("attentionReach() is without limit on hardware, and for a driver what one launch runs at most", () => {
  const tile = {
    variant: "tile",
    rows: { forward: 8, backwardQuery: 8, backwardKeyValue: 8 },
    vector: true,
  } as const;
  const registers = { ...tile, variant: "registers" } as const;
  for (const dropout of [false, true]) {
    assertEquals(attentionReach("forward", { ...tile, dropout }, 64, Infinity), Infinity);
  }
  assertEquals(attentionReach("forward", { ...tile, dropout: false }, 64, 65535), 14_968);
  assertEquals(attentionReach("forward", { ...tile, dropout: false }, 128, 65535), 7_816);
  assert(attentionReach("forward", { ...tile, dropout: true }, 64, 65535) < 14_968);
  assertEquals(attentionReach("backwardKeyValue", { ...registers, dropout: false }, 64, 65535), 65_528);
});

Deno.test("causalSelfAttention() with a scale 1% off fails the comparison", async () => {
  let message = "";
  await check({ B: 1, H: 2, D: 12, T: 17 }, 1.01).catch((error: Error) => message = error.message);
  assert(message.includes("elements differ"), `a wrong formula must fail, received "${message}"`);
});

/** What the whole sequence at once gives. */
function wholeSequence(device: Device, data: Float32Array<ArrayBuffer>, B: number, T: number, C: number) {
  return causalSelfAttention(Tensor.from(data, { device, shape: [B, T, 3 * C] }), { heads: 2 });
}

Deno.test("cachedAttention() token by token equals the whole sequence at once", async () => {
  const device = await defaultDevice();
  const [B, T, C] = [2, 11, 24];
  const data = randomValues(5, B * T * 3 * C);
  const whole = await noGrad(() => wholeSequence(device, data, B, T, C)).data();
  using cache = Tensor.from(new Float32Array(B * 16 * 2 * C), { device, shape: [B, 16, 2 * C] });
  for (const [past, count] of [[0, 5], [5, 1], [6, 1], [7, 4]]) {
    const part = new Float32Array(B * count * 3 * C);
    const expected = new Float32Array(B * count * C);
    for (let b = 0; b < B; b++) {
      const start = b * T + past;
      part.set(data.subarray(start * 3 * C, (start + count) * 3 * C), b * count * 3 * C);
      expected.set(whole.subarray(start * C, (start + count) * C) as Float32Array, b * count * C);
    }
    using qkv = Tensor.from(part, { device, shape: [B, count, 3 * C] });
    using o = cachedAttention(qkv, cache, { heads: 2, past });
    assertAllClose(await o.data(), expected, {
      atol: 1e-6,
      rtol: 1e-5,
      label: `tokens ${past} to ${past + count}`,
    });
  }
});

Deno.test("causalSelfAttention() frees what it saves once its gradient is done", async () => {
  const device = await defaultDevice();
  const step = () =>
    tidy(() => {
      using qkv = Tensor.from(randomValues(1, 2 * 6 * 24), { device, shape: [2, 6, 24], requiresGrad: true });
      causalSelfAttention(qkv, { heads: 2 }).backward(
        Tensor.from(randomValues(2, 96), { device, shape: [2, 6, 8] }),
      );
    });
  step();
  const before = device.memory.liveBytes;
  step();
  assertEquals(device.memory.liveBytes, before);
});

Deno.test("attention ops name what they require when an operand does not fit", async () => {
  const device = await defaultDevice();
  tidy(() => {
    const zeros = (...shape: number[]) =>
      Tensor.from(new Float32Array(shape.reduce((a, b) => a * b, 1)), { device, shape });
    const rng = Tensor.from(new Uint32Array(4), { device });
    const qkv = zeros(2, 4, 24);
    assertThrows(
      () => causalSelfAttention(zeros(2, 4, 25), { heads: 1 }),
      TypeError,
      "qkv [B, T, 3C] is required",
    );
    assertThrows(
      () => causalSelfAttention(zeros(4, 24), { heads: 1 }),
      TypeError,
      "qkv of rank 3 is required",
    );
    assertThrows(
      () => causalSelfAttention(qkv, { heads: 3 }),
      RangeError,
      "Cannot attend: 8 channels must be divisible by the number of heads, received 3",
    );
    assertThrows(
      () => causalSelfAttention(qkv, { heads: 2, attentionMask: rng }),
      TypeError,
      "an int32 or uint32 mask [2, 4] is required, received uint32 [4]",
    );
    assertThrows(
      () => causalSelfAttention(qkv, { heads: 2, dropout: { p: 1.5, rng, call: 0 } }),
      RangeError,
      "a dropout probability from 0 to 1 is required, received 1.5",
    );
    assertThrows(
      () => attention(zeros(2, 4, 8), zeros(2, 4, 16), { heads: 4, keyValueHeads: 3 }),
      TypeError,
      "kv [2, Tk, 12] is required",
    );
    assertThrows(
      () => attention(zeros(2, 4, 8), zeros(2, 4, 12), { heads: 4, keyValueHeads: 3 }),
      RangeError,
      "Cannot attend: keyValueHeads must divide 4 heads, received 3",
    );
    assertThrows(
      () => causalSelfAttention(qkv, { heads: 2, keyValueHeads: 1 }),
      TypeError,
      "qkv in one tensor has as many heads of keys and values as of queries",
    );
    assertThrows(
      () => causalSelfAttention(qkv, { heads: 2, window: 0 }),
      RangeError,
      "Cannot attend: a window of at least 1 token is required, received 0",
    );
    assertThrows(() => attention(zeros(2, 4, 8), zeros(2, 4, 8), { heads: 2 }), TypeError, "kv [2, Tk, 16]");
    assertThrows(
      () => attention(zeros(2, 4, 8), zeros(2, 3, 16), { heads: 2 }),
      RangeError,
      "past + Tq must be at most Tk, received past -1, Tq 4 and Tk 3",
    );
    assertThrows(
      () => cachedAttention(qkv, zeros(2, 6, 16), { heads: 2, past: 3 }),
      RangeError,
      "Cannot append 4 tokens to a cache of 6: 3 are in it already",
    );
    assertThrows(
      () => cachedAttention(qkv, zeros(2, 6, 12), { heads: 2, past: 0 }),
      TypeError,
      "a cache [2, capacity, 16] is required",
    );
  });
});
