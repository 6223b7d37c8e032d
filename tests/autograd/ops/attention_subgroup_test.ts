import { assert, assertEquals } from "@std/assert";
import { causalSelfAttention, defaultDevice, Tensor } from "../../../autograd/mod.ts";
import { chooseKernels } from "../../../autograd/ops/_attention_reach.ts";
import { selectAttention } from "../../../kernels/attention.ts";
import { check } from "../../reference/attention_check.ts";
import { randomValues } from "../../reference/matmul.ts";

// Without subgroups these run on tiles.
const subgroup = true;
/** Padding on the left of one sequence and on the right of the other, and a hidden token in the middle; [2, T]. */
const padded = (T: number) =>
  [0, 1].flatMap((b) =>
    Array.from({ length: T }, (_, j) => j === T >> 1 || (b === 0 ? j < 3 : j >= T - 4) ? 0 : 1)
  );

Deno.test("attention of a subgroup and its gradient agree with the float64 reference at odd sizes", async () => {
  for (const T of [1, 15, 16, 17, 33]) await check({ B: 2, H: 3, D: 32, T, subgroup });
  await check({ B: 1, H: 1, D: 64, T: 129, subgroup });
  await check({ B: 1, H: 2, D: 32, T: 31, stretch: 60, scale: 1, subgroup });
  await check({ B: 2, H: 2, D: 32, T: 19, prefix: 21, subgroup });
});

Deno.test("attention of a subgroup hides padding, windows, other documents, and serves groups of heads", async () => {
  const rows = [[1, 8, 7, 1, 16], [33]];
  await check({ B: 2, H: 2, D: 32, T: 33, mask: padded(33), subgroup });
  await check({ B: 2, H: 2, D: 32, T: 9, mask: new Array(18).fill(0), subgroup }); // every key is hidden
  for (const [H, Hkv] of [[4, 2], [3, 1]]) {
    await check({ B: 2, H, Hkv, D: 32, T: 33, mask: padded(33), window: 9, subgroup });
    await check({ B: 2, H, Hkv, D: 32, T: 33, documents: rows, mask: padded(33), subgroup });
  }
  await check({
    B: 1,
    H: 4,
    Hkv: 2,
    D: 32,
    T: 19,
    prefix: 30,
    window: 20,
    mask: new Array(49).fill(1),
    subgroup,
  });
  for (const window of [1, 16, 40]) await check({ B: 1, H: 2, D: 32, T: 50, window, subgroup });
});

Deno.test("attention of a subgroup agrees with the reference at models' sizes", async () => {
  await check({ B: 1, H: 9, Hkv: 3, D: 64, T: 302, documents: [[120, 1, 63, 88, 30]], subgroup });
});

Deno.test("attention of a subgroup passes NaN and infinity on", async () => {
  const device = await defaultDevice();
  const choice = selectAttention(device.profile, 64);
  for (const bad of [NaN, Infinity]) {
    const values = randomValues(1, 20 * 3 * 32);
    values[5 * 96] = bad; // the query of token 5
    const qkv = Tensor.from(values, { device, shape: [1, 20, 96], requiresGrad: true });
    const o = causalSelfAttention(qkv, { heads: 1, choice });
    const numbers = await o.data();
    assert(numbers.slice(5 * 32, 6 * 32).every(Number.isNaN), `${bad} in a query`);
    assert(numbers.slice(0, 5 * 32).every(Number.isFinite), "other queries are as they were");
    o.backward(Tensor.from(randomValues(2, 20 * 32), { device, shape: [1, 20, 32] }));
    const grad = await qkv.grad!.data();
    assert(Number.isNaN(grad[5 * 96]), "the gradient of that query");
    for (const tensor of [o, qkv]) tensor.dispose();
  }
});

Deno.test("chooseKernels() takes subgroups for many queries, and tiles where they cannot serve", async () => {
  const device = await defaultDevice();
  const shape = { B: 1, Tq: 64, Tk: 64, headSize: 64, heads: 2, keyValueHeads: 2, window: null };
  const of = (changes: Partial<typeof shape>, dropout = false) =>
    chooseKernels(device, undefined, { ...shape, ...changes }, dropout).choice.variant;
  const many = device.profile.subgroupSize > 1 ? "subgroup" : "tile";
  assertEquals(of({}), many);
  assertEquals(of({ headSize: 128 }), device.profile.subgroupSize === 8 ? many : of({ headSize: 128 }));
  for (
    const [changes, dropout] of [[{ Tq: 1 }], [{ Tq: 40 }], [{ headSize: 40 }], [{ headSize: 512 }], [
      {},
      true,
    ]] as const
  ) {
    assertEquals(of(changes, dropout ?? false), "tile", JSON.stringify(changes));
  }
});
