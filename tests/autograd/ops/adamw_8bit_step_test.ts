/**
 * AdamW with moments in 8-bit codes: the codes, one step against float64, slots without gradients, and what it keeps.
 * @module
 */
import { assert, assertAllClose, assertEquals } from "@std/assert";
import { SlotState } from "../../../autograd/ops/_slot_state.ts";
import { adamw8bitRule } from "../../../autograd/ops/adamw_8bit_step.ts";
import type { AdamWValues } from "../../../autograd/ops/adamw_step.ts";
import { Tensor } from "../../../autograd/tensor.ts";
import { Device } from "../../../gpu/mod.ts";
import { decodeDynamic, encodeDynamic } from "../../../kernels/dynamic_codes.ts";
import { defaultDevice } from "../../../gpu/mod.ts";
import { randomValues } from "../../reference/matmul.ts";
import { pretendHardware } from "../../reference/profiles.ts";

/** Entries of bitsandbytes' create_dynamic_map(signed), and their sum; its entry 0 of the signed map is -0.992968738. */
const MAPS = [
  {
    signed: true,
    sum: 1 - 0.007031261920929,
    entries: [
      [0, -1],
      [1, -0.9789062738418579],
      [60, -0.14921875298023224],
      [126, -5.500000384017767e-7],
      [127, 0],
      [128, 5.500000384017767e-7],
      [129, 3.250000190746505e-6],
      [200, 0.23359374701976776],
      [254, 0.992968738079071],
      [255, 1],
    ],
  },
  {
    signed: false,
    sum: 75.1052632433869,
    entries: [
      [0, 0],
      [1, 3.2500003044333425e-7],
      [60, 0.009296874515712261],
      [126, 0.09929687529802322],
      [127, 0.103515625],
      [200, 0.6167968511581421],
      [254, 0.9964843988418579],
      [255, 1],
    ],
  },
] as const;

for (const { signed, sum, entries } of MAPS) {
  Deno.test(`${signed ? "signed" : "unsigned"} codes are bitsandbytes' dynamic map, and a value gets the code it came from`, () => {
    const all = Uint8Array.from({ length: 256 }, (_, i) => i);
    const values = decodeDynamic(all, Float32Array.of(1), signed);
    for (const [code, value] of entries) assertAllClose([values[code]], [value], { rtol: 2e-7, atol: 0 });
    assertAllClose([values.reduce((a, b) => a + b)], [sum], { rtol: 1e-6, atol: 0 });
    assert(values.every((value, i) => i === 0 || value > values[i - 1]), "ascending");
    for (const scale of [1, 3e-12, 7.3e5]) {
      const scaled = decodeDynamic(all, Float32Array.of(scale), signed);
      const again = encodeDynamic(scaled, signed);
      assertEquals([...again.codes], [...all]);
      assertEquals(again.scales[0], Math.fround(scale));
    }
  });
}

const VALUES: AdamWValues = { lr: 1e-2, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.1, step: 7 };
const SIZES = [1, 3, 255, 256, 257, 1021, 5000];

/** Moments of every size, from -1 to 1 over many decades. */
function moments(size: number, seed: number): [m: Float32Array<ArrayBuffer>, v: Float32Array<ArrayBuffer>] {
  const m = randomValues(seed, size).map((x, i) => x ** 3 * 10 ** -(i % 6)) as Float32Array<ArrayBuffer>;
  return [
    m,
    randomValues(seed + 50, size).map((x, i) => x ** 2 * 10 ** -(i % 4)) as Float32Array<ArrayBuffer>,
  ];
}

/** A device with the kernels of hardware, and the plain one. */
async function devices(): Promise<Device[]> {
  const plain = await defaultDevice();
  const hardware = await Device.create({ device: plain.gpuDevice });
  pretendHardware(hardware);
  return [plain, hardware];
}

Deno.test("SlotState with adamw8bitRule updates weights as float64 does, and keeps the nearest codes of its moments", async () => {
  for (const device of await devices()) {
    const params = SIZES.map((size, i) => Tensor.from(randomValues(i, size), { device }));
    const grads = SIZES.map((size, i) => Tensor.from(randomValues(100 + i, size), { device }));
    const state = new SlotState(params, adamw8bitRule);
    const before: Float32Array[][] = [];
    for (const [i, size] of SIZES.entries()) {
      state.write(i, moments(size, i));
      before.push((await state.read(i))!);
    }
    state.prepare(() => {}, () => VALUES);
    state.launch(grads);
    for (const [i, size] of SIZES.entries()) {
      const [p, g] = [Float64Array.from(randomValues(i, size)), randomValues(100 + i, size)];
      const { lr, betas: [beta1, beta2], eps, weightDecay, step } = VALUES;
      const m = Float64Array.from(before[i][0], (x, k) => x + (1 - beta1) * (g[k] - x));
      const v = Float64Array.from(before[i][1], (x, k) => beta2 * x + (1 - beta2) * g[k] ** 2);
      m.forEach((x, k) => {
        p[k] *= 1 - lr * weightDecay;
        p[k] -= lr / (1 - beta1 ** step) * x / (Math.sqrt(v[k]) / Math.sqrt(1 - beta2 ** step) + eps);
      });
      const label = `size ${size}`;
      assertAllClose(await params[i].data(), p, { rtol: 5e-6, atol: 5e-7, label: `p, ${label}` });
      const kept = (await state.read(i))!;
      for (const [k, exact] of [m, v].entries()) {
        const { codes, scales } = encodeDynamic(Float32Array.from(exact), k === 0);
        const nearest = decodeDynamic(codes, scales, k === 0);
        kept[k].forEach((value, e) => {
          const [error, least] = [Math.abs(value - exact[e]), Math.abs(nearest[e] - exact[e])];
          assert(
            error <= least * 1.001 + 1e-6 * Math.abs(exact[e]),
            `${k} ${label} [${e}]: ${error}, ${least}`,
          );
        });
      }
    }
    for (const tensor of [...params, ...grads]) tensor.dispose();
    state.dispose();
  }
});

Deno.test("SlotState with adamw8bitRule leaves tensors without a gradient alone, and reads what was written", async () => {
  const device = await defaultDevice();
  const params = SIZES.map((size, i) => Tensor.from(randomValues(i, size), { device }));
  const state = new SlotState(params, adamw8bitRule);
  SIZES.forEach((size, i) => state.write(i, moments(size, i)));
  const read = () => Promise.all(SIZES.map((_, i) => state.read(i)));
  const before = await read();
  const has = (i: number) => i % 2 === 1;
  const grads = SIZES.map((size, i) => has(i) ? Tensor.from(randomValues(100 + i, size), { device }) : null);
  state.prepare(() => {}, () => VALUES, grads.map((grad) => grad !== null));
  state.launch(grads);
  const after = await read();
  for (const [i, size] of SIZES.entries()) {
    if (has(i)) assert(after[i]![0].some((x, k) => x !== before[i]![0][k]), `size ${size} moved`);
    else assertEquals(after[i], before[i]);
  }
  SIZES.forEach((_, i) => state.write(i, after[i]!));
  assertEquals(await read(), after, "values that were read are written as the same codes");
  for (const tensor of [...params, ...grads]) tensor?.dispose();
  state.dispose();
});
