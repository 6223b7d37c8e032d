import { assertAllClose, assertEquals, assertThrows } from "@std/assert";
import { concat, defaultDevice, noGrad, placeHeads, scale, Tensor, tidy } from "../../../autograd/mod.ts";
import { checkOp, type Values } from "../../reference/check_op.ts";
import { ownDevice } from "../../reference/fixtures.ts";
import { randomValues } from "../../reference/matmul.ts";

interface Sizes {
  B: number;
  T: number;
  H: number;
  Hkv: number;
  D: number;
  /** Position of each token, [B, T] or [1, T]; undefined: nothing turns. */
  positions?: number[][];
}

const LENGTH = 40;
/** Cosine and sine at a position. */
const angle = (position: number, i: number, D: number) => position / 100 ** (2 * i / D);
const tableOf = (D: number) =>
  Float32Array.from({ length: LENGTH * D }, (_, n) => {
    const [position, part, i] = [Math.floor(n / D), Math.floor(n % D / (D / 2)), n % (D / 2)];
    return (part === 0 ? Math.cos : Math.sin)(angle(position, i, D));
  });

/** q turned, then keys turned and values side by side: rows of [T, (H + 2 Hkv) D]. */
function placed({ q, k, v }: Values, { B, T, H, Hkv, D, positions }: Sizes, sign: 1 | -1) {
  const width = (H + 2 * Hkv) * D;
  const y = new Float64Array(B * T * width);
  const turn = (x: ArrayLike<number>, heads: number, from: number, turns: boolean) => {
    for (let token = 0; token < B * T; token++) {
      const row = positions?.[Math.floor(token / T) % positions.length];
      for (let n = 0; n < heads * D; n++) {
        const [i, start] = [n % (D / 2), n - n % D];
        const at = (c: number) => x[token * heads * D + start + c];
        const radians = turns && row ? sign * angle(row[token % T], i, D) : 0;
        const [a, b] = [at(i), at(i + D / 2)];
        y[token * width + from + n] = n % D < D / 2
          ? a * Math.cos(radians) - b * Math.sin(radians)
          : b * Math.cos(radians) + a * Math.sin(radians);
      }
    }
  };
  turn(q, H, 0, true);
  turn(k, Hkv, H * D, true);
  turn(v, Hkv, (H + Hkv) * D, false);
  return y;
}

/** Columns `from` to `to` of rows of `width`. */
function columns(x: ArrayLike<number>, width: number, from: number, to: number): Float64Array {
  return Float64Array.from(
    { length: x.length / width * (to - from) },
    (_, n) => x[Math.floor(n / (to - from)) * width + from + n % (to - from)],
  );
}

async function check(sizes: Sizes, frozen: string[] = [], overwritesQuery = false): Promise<void> {
  const { B, T, H, Hkv, D, positions } = sizes;
  const device = await ownDevice();
  const width = (H + 2 * Hkv) * D;
  using table = Tensor.from(tableOf(D), { device, shape: [LENGTH, 2, D / 2] });
  using at = positions
    ? Tensor.from(Int32Array.from(positions.flat()), { device, shape: [positions.length, T] })
    : null;
  await checkOp({
    device,
    label: `placeHeads ${JSON.stringify(sizes)} -${frozen}`,
    frozen,
    inputs: {
      q: { data: randomValues(1, B * T * H * D), shape: [B, T, H * D] },
      k: { data: randomValues(2, B * T * Hkv * D), shape: [B, T, Hkv * D] },
      v: { data: randomValues(3, B * T * Hkv * D), shape: [B, T, Hkv * D] },
    },
    op: ({ q, k, v }) => {
      const own = overwritesQuery ? scale(q, 1) : q; // a copy, to be turned where it lies
      const rotation = at && { positions: at, table };
      const placed = placeHeads(own, k, v, { headSize: D, rotation, overwritesQuery });
      assertEquals(placed.q.storage === own.storage, overwritesQuery || !rotation);
      return concat([placed.q, placed.kv], 2);
    },
    shape: [B, T, width],
    reference: (values) => ({
      y: placed(values, sizes, 1),
      gradients: (dy) => {
        const parts = {
          q: columns(dy, width, 0, H * D),
          k: columns(dy, width, H * D, (H + Hkv) * D),
          v: columns(dy, width, (H + Hkv) * D, width),
        };
        const back = placed(parts, sizes, -1);
        return {
          q: columns(back, width, 0, H * D),
          k: columns(back, width, H * D, (H + Hkv) * D),
          v: columns(back, width, (H + Hkv) * D, width),
        };
      },
    }),
    gate: { rtol: 1e-5, atol: 1e-6 },
  });
}

Deno.test("placeHeads() and its gradient agree with the float64 reference", async () => {
  await check({ B: 2, T: 3, H: 2, Hkv: 1, D: 4, positions: [[0, 1, 2]] });
  await check({ B: 2, T: 5, H: 6, Hkv: 2, D: 6, positions: [[0, 0, 1, 2, 3], [7, 9, 11, 13, 39]] });
  await check({
    B: 1,
    T: 17,
    H: 3,
    Hkv: 3,
    D: 64,
    positions: [Array.from({ length: 17 }, (_, i) => i + 20)],
  });
  await check({ B: 2, T: 3, H: 2, Hkv: 1, D: 4 });
  await check({ B: 3, T: 7, H: 4, Hkv: 2, D: 10 });
});

Deno.test("placeHeads() turns queries where they lie, with the same gradients", async () => {
  await check({ B: 2, T: 5, H: 6, Hkv: 2, D: 6, positions: [[0, 0, 1, 2, 3], [7, 9, 11, 13, 39]] }, [], true);
  await check({ B: 1, T: 3, H: 2, Hkv: 2, D: 8, positions: [[3, 4, 5]] }, ["q"], true);
  await check({ B: 1, T: 3, H: 2, Hkv: 1, D: 4 }, [], true);
});

Deno.test("placeHeads() sends gradients to the operands that want one", async () => {
  for (const frozen of [["q"], ["k"], ["v"], ["k", "v"], ["q", "k", "v"]]) {
    await check({ B: 1, T: 3, H: 2, Hkv: 1, D: 4, positions: [[1, 2, 3]] }, frozen);
    if (frozen[0] !== "q") await check({ B: 1, T: 3, H: 2, Hkv: 1, D: 4 }, frozen);
  }
});

Deno.test("placeHeads() writes keys and values into their rows of a cache, and nowhere else", async () => {
  const device = await defaultDevice();
  const [B, T, H, Hkv, D, capacity, past] = [2, 3, 4, 2, 6, 9, 4];
  for (const positions of [undefined, [[4, 5, 6]]]) {
    const sizes = { B, T, H, Hkv, D, positions };
    const values = {
      q: randomValues(1, B * T * H * D),
      k: randomValues(2, B * T * Hkv * D),
      v: randomValues(3, B * T * Hkv * D),
    };
    const row = 2 * Hkv * D;
    const wide = (H + 2 * Hkv) * D;
    const expected = new Float64Array(B * capacity * row).fill(5);
    const all = placed(values, sizes, 1);
    const kv = columns(all, wide, H * D, wide);
    for (let token = 0; token < B * T; token++) {
      const to = (Math.floor(token / T) * capacity + past + token % T) * row;
      expected.set(kv.subarray(token * row, (token + 1) * row), to);
    }
    using cache = Tensor.from(new Float32Array(expected.length).fill(5), {
      device,
      shape: [B, capacity, row],
    });
    const q = noGrad(() =>
      tidy(() => {
        const [q, k, v] = (["q", "k", "v"] as const).map((name) =>
          Tensor.from(values[name], { device, shape: [B, T, values[name].length / (B * T)] })
        );
        const rotation = positions && {
          positions: Tensor.from(Int32Array.from(positions[0]), { device, shape: [1, T] }),
          table: Tensor.from(tableOf(D), { device, shape: [LENGTH, 2, D / 2] }),
        };
        const options = { headSize: D, rotation: rotation ?? null };
        assertThrows(
          () => placeHeads(q, k, v, { ...options, cache: { tensor: cache, past: 7 } }),
          RangeError,
          "Cannot append 3 tokens to a cache of 9: 7 are in it already",
        );
        return placeHeads(q, k, v, { ...options, cache: { tensor: cache, past } }).q;
      })
    );
    assertAllClose(await cache.data(), expected, { rtol: 1e-5, atol: 1e-6 });
    assertAllClose(await q.data(), columns(all, wide, 0, H * D), { rtol: 1e-5, atol: 1e-6 });
    q.dispose();
  }
});

Deno.test("placeHeads() names what it requires when an operand does not fit", async () => {
  const device = await defaultDevice();
  tidy(() => {
    const zeros = (...shape: number[]) =>
      Tensor.from(new Float32Array(shape.reduce((a, b) => a * b, 1)), { device, shape });
    const [q, k] = [zeros(1, 2, 8), zeros(1, 2, 4)];
    assertThrows(
      () => placeHeads(q, k, zeros(1, 2, 8), { headSize: 4, rotation: null }),
      TypeError,
      "q [B, T, H D], k and v [B, T, Hkv D] of an even D, and a cache [B, capacity, 2 Hkv D] are required",
    );
    assertThrows(() => placeHeads(q, k, k, { headSize: 3, rotation: null }), TypeError, "and D 3");
    const positions = Tensor.from(new Int32Array(3), { device, shape: [1, 3] });
    assertThrows(
      () => placeHeads(q, k, k, { headSize: 4, rotation: { positions, table: zeros(9, 2, 2) } }),
      TypeError,
      "int32 positions [1, 2] or [1, 2] and a table [length, 2, 2] are required, received int32 [1, 3]",
    );
    assertEquals(q.isDisposed, false);
  });
});
