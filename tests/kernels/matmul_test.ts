import { assert, assertEquals } from "@std/assert";
import { defaultDevice, type Device, Tensor, tidy } from "../../autograd/mod.ts";
import { launchMatmul, type MatmulCall } from "../../autograd/ops/_matmul.ts";
import { type MatmulLayout, type MatmulTile, selectMatmul } from "../../kernels/matmul.ts";
import {
  fromHalfBits,
  geluNewReference,
  matmulReference,
  randomValues,
  toHalfBits,
} from "../reference/matmul.ts";

const TILES: Record<string, MatmulTile> = {
  register: { variant: "register", tileM: 8, tileN: 8, lanesM: 1, lanesN: 8, lanesK: 1, tileK: 4 },
  registerWide: { variant: "register", tileM: 4, tileN: 16, lanesM: 8, lanesN: 1, lanesK: 1, tileK: 4 },
  registerLarge: { variant: "register", tileM: 16, tileN: 16, lanesM: 1, lanesN: 8, lanesK: 1, tileK: 4 },
  registerSmall: { variant: "register", tileM: 2, tileN: 4, lanesM: 1, lanesN: 8, lanesK: 1, tileK: 4 },
  sharedSmall: { variant: "shared", tileM: 4, tileN: 4, lanesM: 2, lanesN: 4, lanesK: 1, tileK: 8 },
  registerSplit: { variant: "register", tileM: 4, tileN: 4, lanesM: 2, lanesN: 4, lanesK: 8, tileK: 4 },
  shared: { variant: "shared", tileM: 4, tileN: 8, lanesM: 4, lanesN: 4, lanesK: 1, tileK: 16 },
};
const { subgroupSize } = (await defaultDevice()).profile;
/** Without subgroups the same tiles, each thread for itself. */
const ofSubgroup = (tileM: number, tileN: number, along: "rows" | "columns"): MatmulTile => {
  const threads = subgroupSize || 8;
  const [lanesM, lanesN] = along === "rows" ? [threads, 1] : [1, threads];
  const tile = { variant: "register", tileM, tileN, lanesM, lanesN, lanesK: 1, tileK: 4 } as const;
  return { ...tile, broadcast: subgroupSize > 0 };
};
TILES.sharedAhead = { ...TILES.shared, ahead: true };
TILES.sharedSmallAhead = { ...TILES.sharedSmall, ahead: true }; // its last round of loads is not full
const LAYOUTS: readonly MatmulLayout[] = ["nn", "nt", "tn"];

interface Case {
  layout: MatmulLayout;
  M: number;
  N: number;
  K: number;
  tile?: MatmulTile;
  half?: boolean;
  alpha?: number;
  bias?: boolean;
  gelu?: boolean;
  preActivation?: boolean;
  residual?: boolean;
  accumulate?: boolean;
  /** Layout of the LoRA term and its rank. */
  extension?: "nn" | "nt";
  R?: number;
  /** Row length of y beyond N. */
  padding?: number;
}

/** Runs a case and returns the largest error in units of what N6 allows; 1 or less passes. */
async function excess(device: Device, test: Case, wrong = 1): Promise<number> {
  const { layout, M, N, K, R = 0, alpha = 1, padding = 0 } = test;
  const ld = N + padding;
  const a = randomValues(1, M * K);
  const raw = randomValues(2, K * N);
  const b = test.half ? Float32Array.from(toHalfBits(raw), fromHalfBits) : raw;
  const u = randomValues(3, M * R);
  const v = randomValues(4, N * R);
  const bias = randomValues(5, N);
  const residual = randomValues(6, M * ld);
  const before = randomValues(7, M * ld);
  const result = tidy(() => {
    const of = (data: Float32Array<ArrayBuffer>, ...shape: number[]) => Tensor.from(data, { device, shape });
    const shapeB = layout === "nt" ? [N, K] : [K, N];
    const y = of(before.slice(), M, ld);
    const pre = test.preActivation ? of(before.slice(), M, ld) : null;
    const call: MatmulCall = {
      layout,
      M,
      N,
      K,
      a: { tensor: layout === "tn" ? of(a, K, M) : of(a, M, K), ld: layout === "tn" ? M : K },
      b: {
        tensor: test.half
          ? Tensor.from(toHalfBits(raw), { device, shape: shapeB, dtype: "float16" })
          : of(b, ...shapeB),
        ld: shapeB[1],
      },
      y: { tensor: y, ld },
      alpha,
      bias: test.bias ? of(bias, N) : null,
      activation: test.gelu ? "gelu_new" : undefined,
      preActivation: pre,
      residual: test.residual ? of(residual, M, ld) : null,
      accumulate: test.accumulate,
      extension: test.extension && {
        layout: test.extension,
        u: of(u, M, R),
        v: test.extension === "nt" ? of(v, N, R) : of(v, R, N),
        R,
      },
      tile: test.tile,
    };
    launchMatmul(device, call);
    return { y, pre };
  });
  const main = matmulReference(a, b, { M, N, K, transposeA: layout === "tn", transposeB: layout === "nt" });
  const more = matmulReference(u, v, { M, N, K: R, transposeB: test.extension === "nt" });
  const y = await result.y.data();
  const pre = await result.pre?.data();
  let worst = 0;
  for (let m = 0; m < M; m++) {
    for (let n = 0; n < ld; n++) {
      const at = m * ld + n;
      if (n >= N) { // beyond the row nothing is written
        if (y[at] !== before[at] || (pre && pre[at] !== before[at])) return Infinity;
        continue;
      }
      const i = m * N + n;
      const terms = [
        alpha * (main.y[i] + more.y[i]) * wrong,
        test.accumulate ? before[at] : 0,
        test.bias ? bias[n] : 0,
      ];
      const z = terms.reduce((sum, term) => sum + term, 0);
      const magnitude = Math.abs(alpha) * (main.magnitude[i] + more.magnitude[i]) + Math.abs(terms[1]) +
        Math.abs(terms[2]);
      // Higham and Mary 2019's probabilistic bound, times 4: 4 sqrt(K) 2^-24 (|A| |B|), componentwise.
      const gate = 4 * Math.sqrt(K + R + 2) * 2 ** -24 * magnitude + 1e-30;
      if (pre) worst = Math.max(worst, Math.abs(pre[at] - z) / gate);
      const expected = (test.gelu ? geluNewReference(z) : z) + (test.residual ? residual[at] : 0);
      // N5 allows gelu_new 5e-7 max(1, |x|) of its own; its slope is at most 1.13.
      const own = test.gelu ? 5e-7 * Math.max(1, Math.abs(z)) : 0;
      const add = test.residual ? 2 ** -23 * Math.abs(residual[at]) : 0;
      worst = Math.max(worst, Math.abs(y[at] - expected) / (1.13 * gate + own + add));
      if (Number.isNaN(y[at])) return Infinity;
    }
  }
  result.y.dispose();
  result.pre?.dispose();
  return worst;
}

async function check(test: Case): Promise<void> {
  const worst = await excess(await defaultDevice(), test);
  assert(worst <= 1, `${JSON.stringify(test)}: error is ${worst} times what is allowed`);
}

Deno.test("matmulKernel() agrees with the float64 reference for every variant, layout and operand format", async () => {
  const { register, registerWide, registerSplit, shared, sharedAhead, sharedSmallAhead } = TILES;
  const ofSubgroups = [ofSubgroup(8, 8, "columns"), ofSubgroup(4, 4, "columns"), ofSubgroup(4, 16, "rows")];
  const tiles = [
    register,
    registerWide,
    registerSplit,
    shared,
    sharedAhead,
    sharedSmallAhead,
    ...ofSubgroups,
  ];
  for (const tile of tiles) {
    for (const layout of LAYOUTS) {
      for (const half of tile.lanesM > 1 && tile.lanesN === 1 ? [false] : [false, true]) {
        await check({ layout, M: 36, N: 44, K: 20, tile, half }); // four-wide access, partial tiles
        await check({ layout, M: 13, N: 18, K: 22, tile, half }); // scalar access, even rows for packed halves
      }
      await check({ layout, M: 17, N: 31, K: 13, tile });
    }
  }
});

Deno.test("matmulKernel() agrees with the float64 reference in the largest tiles", async () => {
  for (const tile of [TILES.registerLarge, ofSubgroup(32, 8, "columns")]) {
    for (const layout of LAYOUTS) await check({ layout, M: 36, N: 148, K: 20, tile });
    await check({ layout: "nt", M: 17, N: 31, K: 13, tile, bias: true, residual: true });
  }
});

Deno.test("matmulKernel() gives the same bits whether a thread loads for itself or for its subgroup", async () => {
  const device = await defaultDevice();
  const [M, N, K] = [52, 76, 40];
  for (const layout of LAYOUTS) {
    const results: Float32Array[] = [];
    for (const own of [true, false]) {
      const a = Tensor.from(randomValues(1, M * K), { device, shape: [M, K] });
      const b = Tensor.from(randomValues(2, N * K), { device, shape: layout === "nt" ? [N, K] : [K, N] });
      const y = Tensor.from(new Float32Array(M * N), { device, shape: [M, N] });
      const tile = { ...ofSubgroup(8, 8, "columns"), ...own ? { broadcast: false } : {} };
      const [ofA, ofB] = [{ tensor: a, ld: layout === "tn" ? M : K }, {
        tensor: b,
        ld: layout === "nt" ? K : N,
      }];
      launchMatmul(device, { layout, M, N, K, a: ofA, b: ofB, y: { tensor: y, ld: N }, tile });
      results.push(await y.data() as Float32Array);
      for (const tensor of [a, b, y]) tensor.dispose();
    }
    assertEquals(results[0], results[1]);
  }
});

Deno.test("matmulKernel() adds what its epilogue is asked to, in every variant", async () => {
  const epilogues: Partial<Case>[] = [
    { bias: true, alpha: -0.5 },
    { accumulate: true },
    { bias: true, gelu: true },
    { bias: true, gelu: true, preActivation: true, residual: true },
    { bias: true, residual: true, accumulate: true, padding: 4 },
    { extension: "nt", R: 8, bias: true },
    { extension: "nt", R: 3 },
    { extension: "nn", R: 4 },
    { extension: "nn", R: 5, accumulate: true, padding: 1 },
    { extension: "nt", R: 4, bias: true, gelu: true, preActivation: true },
  ];
  for (
    const tile of [
      TILES.registerSmall,
      TILES.sharedSmall,
      TILES.sharedSmallAhead,
      ofSubgroup(4, 4, "columns"),
    ]
  ) {
    for (const epilogue of epilogues) {
      await check({ layout: "nn", M: 21, N: 40, K: 32, tile, ...epilogue });
      await check({ layout: "nt", M: 9, N: 19, K: 12, tile, ...epilogue });
    }
  }
});

Deno.test("selectMatmul() gives kernels that are right from matrix-vector products to long shared dimensions", async () => {
  const shapes = [[1, 1, 1], [1, 768, 64], [2, 65, 127], [3, 4, 257], [4, 129, 16], [7, 2, 33], [64, 1, 31]];
  shapes.push([63, 8, 768], [8, 255, 64], [255, 16, 15], [1, 509, 3072], [16, 64, 4097], [5, 3, 4095]);
  for (const layout of LAYOUTS) {
    for (const [M, N, K] of shapes) await check({ layout, M, N, K });
    for (const [M, N, K] of shapes) {
      const tile = selectMatmul({ kind: "hardware", subgroupSize: 0 }, { layout, M, N, K, batch: 1 });
      await check({ layout, M, N, K, tile });
    }
  }
});

Deno.test("selectMatmul() lays wide tiles in two rows on software where N leaves half a workgroup over", async () => {
  const lanesOf = (M: number, N: number, K = 576) => {
    const { tileM, lanesM, lanesN } = selectMatmul({ kind: "software", subgroupSize: 0 }, {
      layout: "nt",
      M,
      N,
      K,
      batch: 1,
    });
    return [tileM, lanesM, lanesN];
  };
  assertEquals([lanesOf(256, 576), lanesOf(64, 192)], [[16, 2, 4], [16, 2, 4]]);
  assertEquals([lanesOf(256, 1536), lanesOf(256, 50257), lanesOf(256, 768)], new Array(3).fill([16, 1, 8]));
  const tile = { ...TILES.registerLarge, lanesM: 2, lanesN: 4 };
  for (const layout of LAYOUTS) {
    await check({ layout, M: 64, N: 192, K: 576, tile });
    await check({ layout, M: 49, N: 576, K: 153, bias: true, tile });
  }
});

Deno.test("selectMatmul() lets the threads of a subgroup share loads on software, not what a tile reads alone", async () => {
  const facts = { kind: "software", subgroupSize: 8 } as const;
  const of = (layout: MatmulLayout, M: number, N: number, K: number) => {
    const { tileM, tileN, lanesM, lanesN, broadcast } = selectMatmul(facts, { layout, M, N, K, batch: 1 });
    return [tileM, tileN, lanesM, lanesN, broadcast ?? false];
  };
  assertEquals(of("nt", 256, 576, 576), [32, 8, 1, 8, true]);
  assertEquals(of("nn", 12, 4096, 576), [16, 8, 1, 8, true]);
  assertEquals(of("nt", 40, 40, 40), [8, 8, 1, 8, true]);
  assertEquals(of("nt", 256, 8, 576), [8, 8, 8, 1, true]);
  assertEquals(of("tn", 255, 576, 64)[4], false); // rows of a that do not begin on a vec4f
  assertEquals(of("nt", 1, 576, 576)[4], false);
  assertEquals(
    selectMatmul({ ...facts, subgroupSize: 4 }, { layout: "nt", M: 64, N: 64, K: 64, batch: 1 }).lanesN,
    4,
  );
  const fewBits = (layout: MatmulLayout, M: number, K: number) => {
    const tile = selectMatmul(facts, { layout, M, N: 768, K, batch: 1, weight: "nf4" });
    return [tile.tileM, tile.tileN, tile.lanesM, tile.lanesN, tile.lanesK, tile.broadcast];
  };
  assertEquals(fewBits("nt", 1, 768), [1, 4, 1, 8, 1, true]);
  assertEquals(fewBits("nn", 1, 768), [1, 64, 1, 1, 8, true]); // steps of the sum between the threads
  assertEquals(fewBits("nt", 512, 768), [32, 8, 1, 8, 1, true]);
  assertEquals(fewBits("nn", 512, 768), [4, 64, 8, 1, 1, true]); // decoded between the threads
  assertEquals(fewBits("nn", 512, 770), [32, 8, 1, 8, 1, true]); // not for a rest of steps
  for (const layout of LAYOUTS) {
    await check({ layout, M: 64, N: 192, K: 576 });
    await check({ layout, M: 49, N: 576, K: 153, bias: true });
  }
});

Deno.test("selectMatmul() gives hardware shared tiles that are right for long shared dimensions", async () => {
  const few = selectMatmul({ kind: "hardware", subgroupSize: 0 }, {
    layout: "nn",
    M: 40,
    N: 36,
    K: 1100,
    batch: 1,
  });
  const many = selectMatmul({ kind: "hardware", subgroupSize: 0 }, {
    layout: "nn",
    M: 1024,
    N: 1024,
    K: 1100,
    batch: 1,
  });
  assertEquals([few.variant, many.variant, few.tileM, many.tileM], ["shared", "shared", 4, 8]);
  for (const tile of [few, many]) {
    for (const layout of LAYOUTS) {
      await check({ layout, M: 40, N: 36, K: 1100, tile, bias: true });
      await check({ layout, M: 35, N: 33, K: 1037, tile });
    }
  }
});

Deno.test("launchMatmul() splits a shared dimension past the loop limit and operands past the binding limit", async () => {
  const device = await defaultDevice();
  await check({ layout: "nn", M: 2, N: 4, K: 65536 + 100, bias: true, gelu: true });
  await check({ layout: "tn", M: 4, N: 3, K: 65536 + 7, accumulate: true });
  for (const layout of LAYOUTS) {
    await check({ layout, M: 4, N: 4, K: 65536 + 68, tile: TILES.shared, bias: true });
    await check({ layout, M: 3, N: 4, K: 65536, tile: TILES.sharedSmallAhead });
  }
  // A device that lets 128 KiB be bound: windows over rows of a, b and y, and over K.
  const limits = { maxStorageBufferBindingSize: 1 << 17 };
  const seen: number[] = [];
  const small = new Proxy(device, {
    get(target, name) {
      if (name === "limits") return limits;
      const value = Reflect.get(target, name, target);
      if (name !== "dispatch") return typeof value === "function" ? value.bind(target) : value;
      return (kernel: never, buffers: Record<string, { size: number }>, ...rest: never[]) => {
        seen.push(...Object.values(buffers).map(({ size }) => size));
        return target.dispatch(kernel, buffers as never, ...rest as unknown as [never]);
      };
    },
  });
  for (const layout of LAYOUTS) {
    for (const half of [false, true]) {
      assert(
        await excess(small, { layout, M: 300, N: 200, K: 260, half, bias: true, residual: true }) <= 1,
        layout,
      );
    }
  }
  assert(
    await excess(small, { layout: "nt", M: 100, N: 400, K: 130, extension: "nn", R: 4 }) <= 1,
    "extension",
  );
  assert(seen.length > 100 && Math.max(...seen) <= 1 << 17, `bindings of up to ${Math.max(...seen)} bytes`);
});

Deno.test("matmulKernel() with a product 1% off fails the gate", async () => {
  const worst = await excess(await defaultDevice(), { layout: "nn", M: 17, N: 31, K: 13 }, 1.01);
  assert(worst > 10, `received ${worst}`);
});

Deno.test("toHalfBits() rounds to nearest even as the format asks", () => {
  const values = Float32Array.of(
    0,
    -0,
    1,
    -2,
    65504,
    2 ** -24,
    2 ** -25,
    1 + 2 ** -11,
    1 + 3 * 2 ** -11,
    0.1,
  );
  assertEquals([...toHalfBits(values)], [0, 0x8000, 0x3c00, 0xc000, 0x7bff, 1, 0, 0x3c00, 0x3c02, 0x2e66]);
});
