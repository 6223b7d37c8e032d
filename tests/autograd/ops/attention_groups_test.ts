import { assertAllClose, assertThrows } from "@std/assert";
import { attendToCache, defaultDevice, Tensor } from "../../../autograd/mod.ts";
import { attentionReference } from "../../reference/attention.ts";
import { check } from "../../reference/attention_check.ts";
import { randomValues } from "../../reference/matmul.ts";

/** Padding on the left of one sequence and on the right of the other, [2, T]. */
const padded = (T: number) =>
  [0, 1].flatMap((b) => Array.from({ length: T }, (_, j) => (b === 0 ? j < 3 : j >= T - 4) ? 0 : 1));

for (const hardware of [false, true]) {
  const on = hardware ? "on the kernels for hardware" : "on tiles";
  Deno.test(`attention() with groups of 1, 2, 3 and 8 query heads agrees with the reference ${on}`, async () => {
    for (const [H, Hkv] of [[2, 2], [4, 2], [3, 1], [6, 2], [8, 1]]) {
      for (const [D, T] of [[5, 1], [12, 17], [6, 33]]) await check({ B: 2, H, Hkv, D, T, hardware });
      await check({ B: 2, H, Hkv, D: 8, T: 13, mask: padded(13), p: 0.3, hardware });
      await check({ B: 1, H, Hkv, D: 4, T: 5, prefix: 9, hardware });
    }
  });

  Deno.test(`attention in a window, with and without groups, agrees with the reference ${on}`, async () => {
    for (const window of [1, 2, 3, 7, 8, 9, 16, 30, 31, 100]) {
      await check({ B: 2, H: 2, D: 5, T: 31, window, hardware });
      await check({ B: 2, H: 3, Hkv: 1, D: 8, T: 31, window, mask: padded(31), hardware });
    }
    for (const window of [1, 4, 12]) {
      // Keys of the prefix that no query sees get zeros.
      await check({ B: 2, H: 4, Hkv: 2, D: 8, T: 9, prefix: 21, window, p: 0.3, hardware });
      await check({ B: 1, H: 4, Hkv: 2, D: 8, T: 1, prefix: 21, window, hardware });
    }
  });
}

Deno.test("attention() with groups and a window agrees with the reference at a model's size", async () => {
  await check({ B: 1, H: 9, Hkv: 3, D: 64, T: 200, window: 130 });
  await check({ B: 1, H: 4, Hkv: 1, D: 256, T: 70, window: 33 });
  await check({ B: 1, H: 4, Hkv: 1, D: 32, T: 40, hardware: true });
});

Deno.test("attention with groups or a window takes several launches where the driver ends loops", async () => {
  for (const iterations of [1, 300]) {
    await check({ B: 2, H: 6, Hkv: 2, D: 12, T: 29, iterations });
    await check({ B: 2, H: 4, Hkv: 2, D: 12, T: 29, window: 5, mask: padded(29), p: 0.3, iterations });
    await check({ B: 1, H: 4, Hkv: 1, D: 12, T: 9, prefix: 20, window: 11, iterations });
  }
});

Deno.test("attendToCache() sees the last tokens of a cache as attention() does", async () => {
  const device = await defaultDevice();
  const [B, H, Hkv, D, capacity, past] = [2, 6, 2, 8, 21, 10];
  for (const [T, window] of [[1, null], [1, 4], [5, null], [5, 6]] as const) {
    const q = randomValues(1, B * T * H * D);
    const kv = randomValues(2, B * capacity * 2 * Hkv * D);
    const row = 2 * Hkv * D;
    const seen = (from: number) =>
      Float64Array.from(
        { length: B * (past + T) * Hkv * D },
        (_, n) => {
          const [token, c] = [Math.floor(n / (Hkv * D)), n % (Hkv * D)];
          const b = Math.floor(token / (past + T));
          return kv[(b * capacity + token % (past + T)) * row + from + c];
        },
      );
    const { o: expected } = attentionReference(q, seen(0), seen(Hkv * D), new Float32Array(q.length), {
      B,
      H,
      Hkv,
      Tq: T,
      Tk: past + T,
      D,
      past,
      scale: D ** -0.5,
      window: window ?? undefined,
    });
    using tq = Tensor.from(q, { device, shape: [B, T, H * D] });
    using cache = Tensor.from(kv, { device, shape: [B, capacity, row] });
    using o = attendToCache(tq, cache, { heads: H, keyValueHeads: Hkv, window, past });
    assertAllClose(await o.data(), expected, {
      rtol: 1e-5,
      atol: 1e-6,
      label: `${T} tokens, window ${window}`,
    });
    assertThrows(
      () => attendToCache(tq, cache, { heads: H, keyValueHeads: Hkv, past: capacity }),
      RangeError,
      "Cannot attend to a cache of 21 tokens: past + T must be at most that",
    );
  }
});
