import { assert, assertAllClose, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import {
  BOFTConfig,
  FourierFTConfig,
  getPeftModel,
  LoHaConfig,
  LoKrConfig,
  OFTConfig,
  type PeftConfig,
  VeraConfig,
} from "../../peft/mod.ts";
import { factorization } from "../../peft/methods/lokr.ts";
import { bytesOf, logitsOf, randomise, tinyModel, trainedNames, warningsOf } from "./tiny_model.ts";

Deno.test("configurations refuse values outside their range, in peft's words where it has some", () => {
  const refused: [make: () => PeftConfig, message: string][] = [
    [() => new VeraConfig({ r: 0 }), "`r` should be a positive integer value but the value passed is 0"],
    [() => new VeraConfig({ projectionPrngKey: -1 }), "projection_prng_key must be an integer of at least 0"],
    [() => new VeraConfig({ veraDropout: 1.5 }), "vera_dropout must be a number from 0 to 1, received 1.5"],
    [() => new VeraConfig({ dInitial: NaN }), "d_initial must be a finite number, received NaN"],
    [
      () => new VeraConfig({ bias: "lora_only" as "all" }),
      'bias must be "none", "all" or "vera_only", received "lora_only"',
    ],
    [() => new LoHaConfig({ r: -2 }), "`r` should be a positive integer value but the value passed is -2"],
    [() => new LoHaConfig({ alpha: -1 }), "alpha must be a number of at least 0, received -1"],
    [() => new LoHaConfig({ rankPattern: { a: 0 } }), '`rank_pattern of "a"` should be a positive integer'],
    [
      () => new LoHaConfig({ alphaPattern: { a: -1 } }),
      'alpha_pattern of "a" must be a number of at least 0',
    ],
    [() => new LoHaConfig({ lora: 1 } as never), "Cannot configure loha: fields are taskType"],
    [() => LoHaConfig.fromJSON({ use_effective_conv2d: true }), "use_effective_conv2d is not supported"],
    [
      () => new LoKrConfig({ decomposeFactor: 0 }),
      "decompose_factor must be -1 or a positive integer, received 0",
    ],
    [
      () => new LoKrConfig({ initWeights: "zero" as "lycoris" }),
      'init_weights must be true, false or "lycoris", received "zero"',
    ],
    [
      () => new OFTConfig({ oftBlockSize: 0 }),
      "Either `r` or `oft_block_size` must be non-zero. Currently, r = 0",
    ],
    [
      () => new OFTConfig({ r: 2 }),
      "You can only specify either r (2) or oft_block_size (32), but not both simultaneously, because r x oft_block_size == in_features.",
    ],
    [() => new OFTConfig({ coft: 1 as never }), "coft must be true or false, received 1"],
    [() => OFTConfig.fromJSON({ r: 4 }), "OFT has been updated since PEFT 0.14.0"],
    [
      () => new BOFTConfig({ boftBlockSize: 0 }),
      "Either `boft_block_size` or `boft_block_num` must be non-zero. Currently, boft_block_size = 0",
    ],
    [
      () => new BOFTConfig({ boftBlockNum: 2 }),
      "You can only specify either boft_block_size (4) or boft_block_num (2), but not both simultaneously",
    ],
    [
      () => new BOFTConfig({ boftNButterflyFactor: 0 }),
      "You can only specify boft_n_butterfly_factor 0 to be a positive integer number.",
    ],
    [
      () => new FourierFTConfig({ nFrequency: 0 }),
      "`n_frequency` should be a positive integer value but the value",
    ],
    [
      () => new FourierFTConfig({ nFrequencyPattern: { a: -1 } }),
      '`n_frequency_pattern of "a"` should be a positive integer',
    ],
    [() => new FourierFTConfig({ scaling: Infinity }), "scaling must be a finite number, received Infinity"],
  ];
  for (const [make, message] of refused) assertThrows(make, RangeError, message);
});

Deno.test("getPeftModel() refuses configurations that do not fit a layer, and leaves the model as it was", async () => {
  const { device, model } = await tinyModel();
  const [before, live] = [await bytesOf(model), device.memory.liveBytes];
  const refused: [config: PeftConfig, message: string][] = [
    [
      new FourierFTConfig({ nFrequency: 9217 }),
      "`n_frequency` should be less than or equal to the product of the input and output dimensions but the value passed is 9217 and the product is 9216",
    ],
    [new BOFTConfig({ boftBlockSize: 5 }), "in_features (48) must be divisible by boft_block_size (5)!"],
    [
      new BOFTConfig({ boftBlockSize: 0, boftBlockNum: 7 }),
      "in_features (48) must be divisible by boft_block_num (7)!",
    ],
    [
      new BOFTConfig({ boftBlockSize: 16, boftNButterflyFactor: 2 }),
      "Invalid combination of in_features (48), boft_n_butterfly_factor (2) and boft_block_size (16)!",
    ],
    [
      new BOFTConfig({ boftBlockSize: 3, boftNButterflyFactor: 2 }),
      "boft_block_size (3) must be an even number!",
    ],
    [
      new OFTConfig({ oftBlockSize: 1 }),
      'blocks of at least 2 features are required, received oft_block_size 1 for "transformer.h.0.attn.c_attn" with 48 inputs',
    ],
  ];
  for (const [config, message] of refused) {
    assertThrows(() => getPeftModel(model, config), RangeError, message);
    const after = await bytesOf(model);
    assertEquals([...after.keys()], [...before.keys()]);
    assert([...after].every(([name, bytes]) => before.get(name) === bytes));
    assertEquals(device.memory.liveBytes, live);
  }
  model.dispose();
});

Deno.test("OFTConfig moves a block size that does not divide the layer to the nearest that does", async () => {
  for (
    const [config, shape, warning] of [
      [new OFTConfig(), [2, 276], "Invalid `oft_block_size` (32)! Adjusted `oft_block_size` to (24)."],
      [new OFTConfig({ oftBlockSize: 60 }), [1, 1128], "Adjusted `oft_block_size` to (48)."],
      [new OFTConfig({ r: 7, oftBlockSize: 0 }), [6, 28], "Invalid `r` (7)! Adjusted `r` to (6)."],
    ] as const
  ) {
    const { model } = await tinyModel();
    let peftModel;
    const warnings = await warningsOf(() => peftModel = getPeftModel(model, config));
    assertEquals(warnings.length, 3, "one for each layer");
    assertEquals(warnings[0].includes(warning), true, warnings[0]);
    const [, weight] = [...peftModel!.namedParameters()].find(([name]) =>
      name.endsWith("oft_R.default.weight")
    )!;
    assertEquals([...weight.shape], [...shape]);
    peftModel!.dispose();
  }
});

Deno.test("OFTConfig with coft pulls every forward's entries back to its radius", async () => {
  const { model } = await tinyModel();
  const config = new OFTConfig({ oftBlockSize: 16, coft: true, eps: 0.6 });
  const peftModel = getPeftModel(model, config).eval();
  const names = trainedNames(peftModel);
  const parameters = new Map(peftModel.namedParameters());
  const given = new Map<string, Float32Array<ArrayBuffer>>();
  for (const [i, name] of names.entries()) {
    const data = Float32Array.from(
      { length: 3 * 120 },
      (_, j) => Math.sin(i + 1.7 * j) * (j < 120 ? 0.001 : 0.4),
    );
    parameters.get(name)!.write(data);
    given.set(name, data);
  }
  await logitsOf(peftModel);
  const radius = 0.6 / Math.sqrt(3);
  for (const name of names) {
    const before = given.get(name)!;
    const after = await parameters.get(name)!.data();
    for (let block = 0; block < 3; block++) {
      const own = before.subarray(block * 120, block * 120 + 120);
      const norm = Math.sqrt(2 * own.reduce((sum, v) => sum + v * v, 0));
      const factor = norm <= radius ? 1 : radius / norm;
      assertEquals(factor === 1, block === 0, "the first block is inside");
      assertAllClose(after.slice(block * 120, block * 120 + 120), own.map((v) => v * factor), {
        rtol: 1e-6,
        atol: 1e-9,
      });
    }
  }
  peftModel.dispose();
});

Deno.test("BOFTConfig with dropout lets a share of one factor's blocks rest while training", async () => {
  const { model } = await tinyModel();
  const base = await logitsOf(model);
  const peftModel = getPeftModel(model, new BOFTConfig({ boftDropout: 1 }));
  for (const [name, parameter] of peftModel.namedParameters()) { // rotations alone: scales stay 1
    if (!name.includes("boft_R")) continue;
    parameter.write(Float32Array.from({ length: parameter.size }, (_, i) => Math.sin(3 * i)));
  }
  assertAllClose(await logitsOf(peftModel), base, { rtol: 0, atol: 1e-5, label: "all blocks rest" });
  const evaluated = await logitsOf(peftModel.eval());
  assertNotEquals(evaluated, base);
  peftModel.unload();
  const half = getPeftModel(model, new BOFTConfig({ boftDropout: 0.5, boftNButterflyFactor: 2 }));
  await randomise(half);
  const [first, second] = [await logitsOf(half), await logitsOf(half)];
  assertNotEquals(first, second, "others rest the next time");
  assertEquals(await logitsOf(half.eval()), await logitsOf(half));
  half.dispose();
});

Deno.test("factorization() splits as peft does", () => {
  // peft.tuners.lokr.layer.factorization
  const known: [size: number, factor: number, result: [number, number]][] = [
    [256, -1, [16, 16]],
    [128, -1, [8, 16]],
    [127, -1, [1, 127]],
    [128, 4, [4, 32]],
    [768, -1, [24, 32]],
    [2304, 8, [8, 288]],
    [48, 7, [6, 8]],
    [48, 5, [4, 12]],
    [12, 6, [6, 2]],
  ];
  for (const [size, factor, result] of known) assertEquals(factorization(size, factor), result);
});
