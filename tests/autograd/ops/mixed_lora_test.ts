import { assertAllClose, assertEquals, assertThrows } from "@std/assert";
import {
  defaultDevice,
  type Device,
  type LoraFactorPair,
  loraLinear,
  mixedLoraLinear,
  slice,
  type StackedLora,
  stackLora,
  Tensor,
  tidy,
} from "../../../autograd/mod.ts";
import { randomValues } from "../../reference/matmul.ts";

interface Case {
  readonly samples: number;
  readonly T: number;
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** Rank of each adapter. */
  readonly ranks: readonly number[];
  /** Adapter of each sample, -1 for none. */
  readonly rows: readonly number[];
  readonly gelu?: boolean;
  readonly residual?: boolean;
  readonly bias?: boolean;
  readonly layout?: "conv1d" | "linear";
  /** Whether B has a bias. */
  readonly own?: boolean;
}

const CASES: Record<string, Case> = {
  "ranks differ, one sample has none": {
    ...{
      samples: 4,
      T: 5,
      inFeatures: 12,
      outFeatures: 20,
      ranks: [3, 8, 1],
      rows: [2, -1, 0, 1],
      bias: true,
    },
  },
  "every option, tiles of 8 rows left over": {
    ...{ samples: 3, T: 11, inFeatures: 16, outFeatures: 8, ranks: [4, 4], rows: [1, 0, 1] },
    ...{ gelu: true, residual: true, bias: true, own: true },
  },
  "sizes not divisible by 4": {
    ...{ samples: 2, T: 3, inFeatures: 7, outFeatures: 9, ranks: [2, 5], rows: [1, 0] },
    ...{ gelu: true, residual: true, bias: true },
  },
  "one row a sample": {
    samples: 4,
    T: 1,
    inFeatures: 24,
    outFeatures: 36,
    ranks: [8, 8],
    rows: [0, 1, 1, 0],
  },
  "ranks above one pass of workgroup memory": {
    ...{ samples: 2, T: 2, inFeatures: 8, outFeatures: 12, ranks: [130, 65], rows: [0, 1], bias: true },
  },
  "more iterations than one software driver runs": { // 626 columns a thread times 112
    ...{
      samples: 2,
      T: 1,
      inFeatures: 8,
      outFeatures: 40_001,
      ranks: [112, 2],
      rows: [0, 1],
      layout: "linear",
    },
  },
  "more columns than a workgroup takes": {
    ...{ samples: 2, T: 2, inFeatures: 8, outFeatures: 1100, ranks: [2, 3], rows: [1, 0], layout: "linear" },
  },
};

/** Tensors of a case; disposed by the caller. */
function make(device: Device, test: Case) {
  const { samples, T, inFeatures, outFeatures, ranks, layout = "conv1d" } = test;
  let seed = 1;
  const tensor = (...shape: number[]) =>
    Tensor.from(randomValues(seed++, shape.reduce((a, b) => a * b, 1)), { shape, device });
  const x = tensor(samples, T, inFeatures);
  const weight = layout === "conv1d" ? tensor(inFeatures, outFeatures) : tensor(outFeatures, inFeatures);
  const bias = test.bias ? tensor(outFeatures) : null;
  const residual = test.residual ? tensor(samples, T, outFeatures) : null;
  const pairs: LoraFactorPair[] = ranks.map((R, i) => ({
    A: tensor(R, inFeatures),
    B: tensor(outFeatures, R),
    bias: test.own ? tensor(outFeatures) : null,
    scaling: 0.5 + i,
  }));
  const options = { layout, activation: test.gelu ? "gelu_new" as const : undefined, residual };
  return { x, weight, bias, residual, pairs, options };
}

const disposeStack = ({ places, A, B }: StackedLora) => [places, A, B].forEach((tensor) => tensor.dispose());

Deno.test("mixedLoraLinear() agrees with the float64 reference for every sample's own adapter", async () => {
  const device = await defaultDevice();
  for (const [label, test] of Object.entries(CASES)) {
    const { T, inFeatures, outFeatures, rows, layout = "conv1d" } = test;
    const { x, weight, bias, residual, pairs, options } = make(device, test);
    const stacked = stackLora(pairs, rows);
    using y = mixedLoraLinear(x, weight, bias, stacked, options);
    assertEquals(y.shape, [test.samples, T, outFeatures], label);
    const read = async (tensor: Tensor | null) => tensor ? await tensor.data() as Float32Array : null;
    const [X, W, bb, res] = [await read(x), await read(weight), await read(bias), await read(residual)];
    const factors = await Promise.all(
      pairs.map(async ({ A, B, bias }) => ({ A: await read(A), B: await read(B), bias: await read(bias) })),
    );
    const wanted = new Float64Array(y.size);
    for (let row = 0; row < test.samples * T; row++) {
      const which = rows[Math.floor(row / T)];
      for (let o = 0; o < outFeatures; o++) {
        let z = bb?.[o] ?? 0;
        for (let k = 0; k < inFeatures; k++) {
          z += X![row * inFeatures + k] * W![layout === "conv1d" ? k * outFeatures + o : o * inFeatures + k];
        }
        if (which >= 0) {
          const { A, B, bias: own } = factors[which];
          const { scaling, A: { shape: [R] } } = pairs[which];
          let change = own?.[o] ?? 0;
          for (let r = 0; r < R; r++) {
            for (let k = 0; k < inFeatures; k++) {
              change += B![o * R + r] * A![r * inFeatures + k] * X![row * inFeatures + k];
            }
          }
          z += scaling * change;
        }
        if (test.gelu) z = 0.5 * z * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3)));
        wanted[row * outFeatures + o] = z + (res?.[row * outFeatures + o] ?? 0);
      }
    }
    assertAllClose(await y.data(), wanted, { rtol: 1e-5, atol: 2e-5, label });
    disposeStack(stacked);
    for (const { A, B, bias } of pairs) [A, B, bias].forEach((tensor) => tensor?.dispose());
    [x, weight, bias, residual].forEach((tensor) => tensor?.dispose());
  }
});

Deno.test("mixedLoraLinear() gives each sample the bits of loraLinear() with its adapter", async () => {
  const device = await defaultDevice();
  for (const [label, test] of Object.entries(CASES)) {
    if (test.own) continue; // loraLinear takes no bias of B
    const { x, weight, bias, pairs, options } = make(device, test);
    const stacked = stackLora(pairs, test.rows);
    using y = mixedLoraLinear(x, weight, bias, stacked, options);
    for (const [i, which] of test.rows.entries()) {
      if (which < 0) continue;
      const { A, B, scaling } = pairs[which];
      using alone = tidy(() => slice(loraLinear(x, weight, bias, A, B, scaling, options), 0, i, i + 1));
      using own = slice(y, 0, i, i + 1);
      assertEquals(await own.data(), await alone.data(), `${label}, sample ${i}`);
    }
    disposeStack(stacked);
  }
});

Deno.test("mixedLoraLinear() and stackLora() refuse what does not fit", async () => {
  const device = await defaultDevice();
  const { x, weight, pairs } = make(device, CASES["one row a sample"]);
  const stacked = stackLora(pairs, [0, 1, 1]);
  assertThrows(
    () => mixedLoraLinear(x, weight, null, stacked),
    TypeError,
    "Cannot mix adapters: x of 3 samples [..., 24] is required, received [4, 1, 24]",
  );
  assertThrows(
    () => stackLora([pairs[0], { ...pairs[1], B: pairs[1].A }], [0, 1]),
    TypeError,
    "Cannot mix adapters: A [R, 24] and B [36, R] are required, received [8, 24] and [8, 24]",
  );
});
