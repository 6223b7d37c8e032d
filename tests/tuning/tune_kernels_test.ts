import { assert, assertEquals } from "@std/assert";
import {
  AdamW,
  type Device,
  getPeftModel,
  GPT2Config,
  GPT2LMHeadModel,
  initDevice,
  LoraConfig,
  Tensor,
  tidy,
  VERSION,
} from "@peft/webgpu";
import { linear } from "@peft/webgpu/tensor";
import {
  loadTuning,
  readTuning,
  saveTuning,
  tuneKernels,
  tuningPath,
  type TuningShape,
  writeTuning,
} from "@peft/webgpu/tuning";
import { causalSelfAttention } from "../../autograd/mod.ts";
import { race, type Racer } from "../../tuning/race.ts";
import { attentionClass, KernelPicks, matmulClass, picksOf } from "../../autograd/picks.ts";
import { encodeInPasses } from "../../gpu/command_stream.ts";
import { trialCompile } from "../../gpu/trial_compile.ts";
import type { KernelSpec } from "../../kernels/kernel_spec.ts";
import { matmulKernel } from "../../kernels/matmul.ts";
import { randomValues } from "../reference/matmul.ts";
import { inFolder } from "../train/tiny_run.ts";

const PICK = { variant: "register", tileM: 2, tileN: 4, lanesM: 1, lanesN: 8, lanesK: 1, tileK: 4 } as const;

/** Names of the kernels that `body` launches. */
async function launched(device: Device, body: () => unknown): Promise<string[]> {
  const names: string[] = [];
  await device.sync();
  device.stream.encode = (encoder, commands) => {
    for (const command of commands) if (command.kind === "dispatch") names.push(command.compiled.kernel.name);
    encodeInPasses(encoder, commands);
  };
  try {
    await body();
    await device.sync();
  } finally {
    device.stream.encode = encodeInPasses;
  }
  return names;
}

/** The text `saveTuning` gives, with other picks. */
function textWith(
  device: Device,
  picks: Record<string, unknown>,
  changes: Record<string, unknown> = {},
): string {
  return JSON.stringify({ ...JSON.parse(saveTuning(device)), picks, ...changes });
}

/** What `console.warn` said meanwhile. */
function warnings<T>(body: () => T): { result: T; said: string[] } {
  const { warn } = console;
  const said: string[] = [];
  console.warn = (text: string) => void said.push(text);
  try {
    return { result: body(), said };
  } finally {
    console.warn = warn;
  }
}

Deno.test("loadTuning() makes products and attention launch the picks, and only in their classes", async () => {
  const device = await initDevice();
  const x = Tensor.from(randomValues(1, 20 * 16), { device, shape: [20, 16] });
  const weight = Tensor.from(randomValues(2, 24 * 16), { device, shape: [24, 16] });
  const qkv = Tensor.from(randomValues(3, 5 * 24), { device, shape: [1, 5, 24] });
  const run = () =>
    tidy(() => {
      linear(x, weight, null);
      causalSelfAttention(qkv, { heads: 2 });
    });
  const before = await launched(device, run);
  const choice = {
    variant: "registers",
    rows: { forward: 2, backwardQuery: 1, backwardKeyValue: 1 },
    WORKGROUP_SIZE: 32,
  };
  const picks = {
    [matmulClass({ layout: "nt", M: 20, N: 24, K: 16, batch: 1 })]: PICK,
    [attentionClass({ Tq: 5, Tk: 5, heads: 2, keyValueHeads: 2, headSize: 4, window: null })]: choice,
  };
  assertEquals(loadTuning(device, textWith(device, picks)), { picks: 2, ignored: null });
  const after = await launched(device, run);
  assertEquals(after, [
    "matmul.register.nt.f32.2x4.wg1x8.vec4aby",
    "attention.forward.d4.rows2.vec4",
  ]);
  assert(before[0] !== after[0] && before[1] !== after[1], `the fixed tables gave ${before}`);

  const other = Tensor.from(randomValues(2, 64 * 16), { device, shape: [64, 16] }); // another class
  const [name] = await launched(device, () => tidy(() => void linear(x, other, null)));
  assert(!name.includes("2x4.wg1x8"), name);
  device.destroy();
});

Deno.test("tuneKernels() measures every variant of a class, installs the best and keeps its bits", async () => {
  const device = await initDevice();
  const shapes: TuningShape[] = [
    { kind: "matmul", name: "test", layout: "nn", weight: "f32", M: 32, N: 64, K: 32 },
    { kind: "matmul", name: "test", layout: "nt", weight: "f16", M: 1, N: 64, K: 32 },
    { kind: "matmul", name: "test", layout: "nt", weight: "q4_1", M: 8, N: 64, K: 64 },
    { kind: "matmul", name: "test", layout: "nt", weight: "nf4", M: 1, N: 64, K: 64 },
    { kind: "attention", name: "test", Tq: 9, Tk: 9, heads: 2, headSize: 8 },
    { kind: "attention", name: "test", Tq: 1, Tk: 9, heads: 2, headSize: 8 },
  ];
  const seen: string[] = [];
  const results = await tuneKernels(device, { shapes, rounds: 2, onResult: (r) => seen.push(r.shapeClass) });
  assertEquals(seen, [
    "matmul nn f32 M5 N6 K5",
    "matmul nt f16 M0 N6 K5",
    "matmul nt q4_1 M3 N6 K6",
    "matmul nt nf4 M0 N6 K6",
    "attention D8 Tq3",
    "attention D8 Tq0",
  ]);
  for (const { shapeClass, variants, pick, fixedShare } of results) {
    assert(variants.length >= 4, `${shapeClass}: ${variants.length} variants`);
    assertEquals(variants.filter(({ dropped }) => dropped !== null), [], shapeClass);
    assert(variants.every(({ ms }) => ms > 0) && fixedShare > 0 && fixedShare <= 1, shapeClass);
    assert(variants.some(({ name }) => name === pick), `${shapeClass}: ${pick}`);
  }
  assertEquals(Object.keys(picksOf(device)!.picks), seen);

  const a = Tensor.from(randomValues(4, 32 * 32), { device, shape: [32, 32] });
  const b = Tensor.from(randomValues(5, 32 * 64), { device, shape: [32, 64] });
  const product = async (on: Device, a: Tensor, b: Tensor) => {
    using y = linear(a, b, null, { layout: "conv1d" });
    return { y: await y.data(), on };
  };
  const text = saveTuning(device);
  const first = await product(device, a, b);
  const second = await initDevice();
  assertEquals(loadTuning(second, text).ignored, null);
  assertEquals(saveTuning(second), text);
  const a2 = Tensor.from(randomValues(4, 32 * 32), { device: second, shape: [32, 32] });
  const b2 = Tensor.from(randomValues(5, 32 * 64), { device: second, shape: [32, 64] });
  assertEquals((await product(second, a2, b2)).y, first.y);
  device.destroy();
  second.destroy();
});

Deno.test("race() drops variants that are wrong, fail or do not compile, and says why", async () => {
  const device = await initDevice();
  const y = Tensor.from(new Float32Array(4), { device });
  const kernel: KernelSpec = {
    name: "test.fill",
    wgsl: `struct Params { value: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<uniform> params: Params;
@compute @workgroup_size(4) fn main(@builtin(local_invocation_index) i: u32) { y[i] = params.value; }`,
    buffers: { y: "read_write" },
    params: { value: "f32" },
    tuning: {},
    grid: () => [1],
  };
  const racer = (name: string, value: number, spec = kernel): Racer => {
    const launch = () => device.dispatch(spec, { y: y.view }, { value });
    return {
      name,
      kernels: [{ kernel: spec }],
      launch,
      results: async () => {
        launch();
        return [await y.data()];
      },
    };
  };
  const standings = await race(device, [
    racer("fixed", 2),
    racer("equal", 2.0000001),
    racer("wrong", 2.5),
    racer("nan", NaN),
    racer("refused", 2, {
      ...kernel,
      name: "test.refused",
      wgsl: kernel.wgsl.replace("params.value", "value"),
    }),
    racer("featured", 2, { ...kernel, name: "test.featured", features: ["no-such-feature"] }),
    { ...racer("throws", 2), results: () => Promise.reject(new Error("out of luck")) },
  ], { flops: 1e6, tolerance: 1e-6, rounds: 2 });
  const dropped = Object.fromEntries(standings.map(({ name, dropped }) => [name, dropped]));
  assertEquals(dropped.fixed, null);
  assertEquals(dropped.equal, null);
  assertEquals(dropped.wrong, "wrong: its result 0 has 2.5 at 0, the fixed table's kernel 2");
  assert(dropped.nan!.startsWith("wrong:"), dropped.nan!);
  assert(dropped.refused!.startsWith("does not compile:"), dropped.refused!);
  assertEquals(dropped.featured, 'does not compile: the device has no feature "no-such-feature"');
  assertEquals(dropped.throws, "fails: out of luck");
  assertEquals(standings.map(({ ms }) => ms > 0), [true, true, false, false, false, false, false]);
  assertEquals(await y.data(), new Float32Array(4).fill(2.0000001)); // a refused program does not poison the device
  device.destroy();
});

Deno.test("trialCompile() names the feature that a kernel with f16 numbers needs where the device has none", async () => {
  const device = await initDevice();
  const options = { ...PICK, layout: "nn", weight: "f16", nativeHalf: true, anyK: false } as const;
  const kernel = matmulKernel({
    ...options,
    vector: { a: true, b: true, y: true, extension: false },
    extension: "none",
    bias: false,
    activation: "none",
    preActivation: false,
    residual: false,
    accumulate: false,
  });
  const expected = device.features.has("shader-f16") ? null : 'the device has no feature "shader-f16"';
  assertEquals(await trialCompile(device, kernel as unknown as KernelSpec), expected);
  device.destroy();
});

Deno.test("loadTuning() ignores what is for another adapter, driver or version, and warns of a broken text", async () => {
  const device = await initDevice();
  const key = "matmul nn f32 M5 N5 K5";
  for (const name of ["adapter", "driver", "library"]) {
    const { result, said } = warnings(() =>
      loadTuning(device, textWith(device, { [key]: PICK }, { [name]: "other" }))
    );
    assert(
      result.picks === 0 && result.ignored!.startsWith(`results are for ${name} "other"`),
      result.ignored!,
    );
    assertEquals(said, []);
  }
  assertEquals(loadTuning(device, null), { picks: 0, ignored: "there are no results yet" });
  const broken: [string, RegExp][] = [
    ["{", /^Cannot use the tuning results: .+; delete them, or make others with \.\/run tune$/],
    ["[]", /a text with "format": "peft-webgpu tuning" is required/],
    [textWith(device, {}, { picks: 3 }), /"picks" must be an object, received 3/],
    [textWith(device, {}, { driver: null }), /"driver" must be a string, received null/],
    [
      textWith(device, { [key]: { ...PICK, tileN: 5 } }),
      /"tileN" of "matmul nn f32 M5 N5 K5" must be one of 4, 8, 16/,
    ],
    [textWith(device, { [key]: { ...PICK, lanesM: 64, lanesN: 64 } }), /at most 256 threads per workgroup/],
    [
      textWith(device, { [key]: { ...PICK, tileM: 16, tileN: 64 } }),
      /at most 512 results per thread, received 1024/,
    ],
    [
      textWith(device, { [key]: { ...PICK, lanesN: 16, broadcast: true } }),
      /threads of a subgroup, received 16/,
    ],
    [ // as many threads as a subgroup has, for two tiles
      textWith(device, { [key]: { ...PICK, lanesM: 1, lanesN: 2, lanesK: 4, broadcast: true } }),
      /threads of a subgroup, received 8/,
    ],
    [
      textWith(device, { [key]: [] }),
      /the pick of "matmul nn f32 M5 N5 K5" must be an object, received \[\]/,
    ],
    [textWith(device, { "attention D64 Tq9": { variant: "tile" } }), /must be an object, received undefined/],
    [textWith(device, { other: PICK }), /"other" is no class of shapes/],
  ];
  for (const [text, message] of broken) {
    const { result, said } = warnings(() => loadTuning(device, text));
    assertEquals(result.picks, 0);
    assertEquals(said, [result.ignored!]);
    assert(message.test(said[0]), said[0]);
  }
  assertEquals(picksOf(device), undefined);
  device.destroy();
});

Deno.test("writeTuning() keeps a text that readTuning() finds, one file an adapter", async () => {
  await inFolder(async (folder) => {
    const before = Deno.env.get("XDG_CACHE_HOME");
    Deno.env.set("XDG_CACHE_HOME", folder);
    try {
      assertEquals(
        await tuningPath("llvmpipe (LLVM 15)"),
        `${folder}/peft-webgpu/tuning/llvmpipe-llvm-15.json`,
      );
      assertEquals(await readTuning("a"), null);
      assertEquals(await writeTuning("a", "first"), `${folder}/peft-webgpu/tuning/a.json`);
      await writeTuning("b", "second");
      await writeTuning("a", "third");
      assertEquals([await readTuning("a"), await readTuning("b")], ["third", "second"]);
      const own = `${folder}/own/tuning.json`;
      assertEquals(await writeTuning("a", "fourth", own), own);
      assertEquals(await readTuning("a", own), "fourth");
      assertEquals(await readTuning("a"), "third");
    } finally {
      if (before === undefined) Deno.env.delete("XDG_CACHE_HOME");
      else Deno.env.set("XDG_CACHE_HOME", before);
    }
  });
});

/** Losses of three LoRA steps of a small GPT-2. */
async function losses(device: Device): Promise<{ losses: number[]; kernels: string[] }> {
  const config = {
    nLayer: 2,
    nEmbd: 32,
    nHead: 2,
    vocabSize: 61,
    nPositions: 24,
    bosTokenId: 0,
    eosTokenId: 0,
  };
  const model = new GPT2LMHeadModel(new GPT2Config(config), { device, seed: 1 });
  const peftModel = getPeftModel(
    model,
    new LoraConfig({ r: 4, loraDropout: 0.1, targetModules: ["c_attn"] }),
  );
  const optimizer = new AdamW(peftModel.parameters(), { lr: 1e-2 });
  const inputIds = [Array.from({ length: 16 }, (_, t) => 7 * t % 61)];
  const losses: number[] = [];
  const kernels = await launched(device, async () => {
    for (let step = 0; step < 3; step++) {
      const loss = tidy(() => {
        const { loss } = peftModel.forward({ inputIds, labels: inputIds });
        loss!.backward();
        return loss!;
      });
      optimizer.step();
      optimizer.zeroGrad();
      losses.push(await loss.item());
    }
  });
  return { losses, kernels };
}

Deno.test("a step with picks agrees with one without to 1e-5", async () => {
  const device = await initDevice();
  const plain = await losses(device);
  const other = await initDevice();
  const classes: Record<string, unknown> = {};
  for (const layout of ["nn", "nt", "tn"]) {
    for (const m of [2, 3, 4, 5, 6]) {
      for (const n of [2, 3, 4, 5, 6]) {
        for (const k of [2, 3, 4, 5, 6, 7]) {
          for (const odd of ["", " odd"]) classes[`matmul ${layout} f32 M${m} N${n} K${k}${odd}`] = PICK;
        }
      }
    }
  }
  classes["attention D16 Tq4"] = {
    variant: "registers",
    rows: { forward: 1, backwardQuery: 1, backwardKeyValue: 1 },
    WORKGROUP_SIZE: 32,
  };
  assertEquals(loadTuning(other, textWith(other, classes)).ignored, null);
  const tuned = await losses(other);
  const changed = tuned.kernels.filter((name) => !plain.kernels.includes(name));
  assert(changed.length > 20, `${changed.length} launches differ`);
  assertEquals(tuned.kernels.length, plain.kernels.length);
  for (const [step, loss] of tuned.losses.entries()) {
    const difference = Math.abs(loss - plain.losses[step]) / plain.losses[step];
    assert(difference <= 1e-5, `step ${step}: ${loss} and ${plain.losses[step]}`);
  }
  assert(plain.losses[2] !== plain.losses[0], "the steps must change the loss");
  device.destroy();
  other.destroy();
});

Deno.test("VERSION is the version in deno.json", async () => {
  assertEquals(JSON.parse(await Deno.readTextFile("deno.json")).version, VERSION);
});

Deno.test("KernelPicks gives no tile for batched products", () => {
  const tuning = new KernelPicks();
  const shape = { layout: "nn", M: 8, N: 8, K: 8 } as const;
  tuning.pickMatmul(matmulClass({ ...shape, batch: 1 }), PICK);
  assertEquals(tuning.matmul({ ...shape, batch: 1 }), PICK);
  assertEquals(tuning.matmul({ ...shape, batch: 2 }), undefined);
  assertEquals(tuning.matmul({ ...shape, batch: 1, weight: "f16" }), undefined);
});
