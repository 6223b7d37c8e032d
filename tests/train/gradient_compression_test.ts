/**
 * Gradients rounded to float16 with error feedback: what comes through, and what is carried on.
 * @module
 */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { Trainer } from "@peft/webgpu";
import { HostRandom } from "@peft/webgpu/tensor";
import type { ComputedShare, GradientCompression, GradientExchange } from "@peft/webgpu/train";
import { SHARE_CODECS } from "../../train/gradient_compression.ts";
import { ownDevice } from "../reference/fixtures.ts";
import { countingData, tinyModel } from "./tiny_run.ts";

const { float16 } = SHARE_CODECS;
const shareOf = (...gradients: (number[] | Float32Array | null)[]) => ({
  loss: Math.fround(0.1),
  sums: Float32Array.of(3, 1e-20),
  gradients: gradients.map((gradient) => gradient && Float32Array.from(gradient)),
});
type Share = ReturnType<typeof shareOf>;
const formOf = ({ gradients }: Share) => ({
  sizes: gradients.map((gradient) => gradient?.length ?? 5),
  sumCount: 2,
});
const pack = (share: Share, previous: ComputedShare | null = null) =>
  float16.pack(share, previous, formOf(share));
const unpack = ({ bytes }: ComputedShare, share: Share) => float16.unpack(bytes, formOf(share));

Deno.test("a share with float16 has the bytes that the format says", () => {
  const share = shareOf([1, -0.5, 2 ** -11, 0], null, [2 ** -149]);
  const { bytes, residual } = pack(share);
  const [loss, one, tiny] = [0.1, 3, 1e-20].map((value) => [
    ...new Uint8Array(Float32Array.of(value).buffer),
  ]);
  assertEquals([...bytes], [
    ...[1, 0, 1, 0], // which gradients are there, filled up
    ...[...loss, ...one, ...tiny],
    ...[0xf2, 0xff, 0x5d, 0xff], // scales: -14, and -149 - 14
    ...[0x00, 0x74, 0x00, 0xf0, 0x00, 0x48, 0x00, 0x00], // 2^14, -2^13, 2^3, 0
    ...[0x00, 0x74],
  ]);
  assertEquals([...residual!], [0, 0, 0, 0, 0]);
  assertEquals(unpack({ bytes, residual }, share), share, "and all of these come through as they were");
});

Deno.test("float16 with a scale for each tensor: relative errors are at most 2^-11, whatever the sizes of tensors", () => {
  const random = new HostRandom(3);
  for (const exponent of [-120, -30, 0, 30, 120]) {
    const values = Float32Array.from({ length: 500 }, () => {
      const below = 28 * random.uniform(); // of the largest: smaller ones have fewer digits
      return (random.uniform() < 0.5 ? -1 : 1) * (1 + random.uniform()) * 2 ** (exponent - below);
    });
    values[7] = 1.999 * 2 ** exponent;
    const share = shareOf(values, [1e-30, 1e-31], [1e30]);
    const read = unpack(pack(share), share);
    read.gradients.forEach((gradient, i) =>
      gradient!.forEach((value, j) => {
        const expected = share.gradients[i]![j];
        assert(Math.abs(value - expected) <= 2 ** -11 * Math.abs(expected), `${value} for ${expected}`);
      })
    );
    const scale = 2 ** (exponent - 14); // the language's own float16 as the oracle
    assertEquals(
      read.gradients[0],
      Float32Array.from(new Float16Array(values.map((value) => value / scale)), (value) => value * scale),
    );
  }
});

Deno.test("what rounding loses is added to the next step's share: sums of many steps are right, of the smallest values too", () => {
  // 2^-41 of the largest is less than half of the smallest float16 at that scale
  const share = shareOf([1, 1 / 3, -Math.PI / 10, 2 ** -41, 1 + 2 ** -20], [1e-12]);
  const sumOf = (feedback: boolean, steps: number) => {
    const sums = share.gradients.map((gradient) => new Float64Array(gradient!.length));
    let previous: ComputedShare | null = null;
    for (let step = 0; step < steps; step++) {
      const packed: ComputedShare = pack(share, previous);
      unpack(packed, share).gradients.forEach((gradient, i) =>
        gradient!.forEach((value, j) => sums[i][j] += value)
      );
      if (feedback) previous = packed;
    }
    return sums;
  };
  const steps = 1000;
  const errors = (sums: Float64Array[]) =>
    sums.flatMap((sum, i) =>
      [...sum].map((value, j) => Math.abs(value / steps / share.gradients[i]![j] - 1))
    );
  const [plain, fedBack] = [errors(sumOf(false, steps)), errors(sumOf(true, steps))];
  assertEquals(plain[3], 1, "without feedback the smallest never arrives");
  assert(Math.max(...plain) > 1e-4);
  // at most one step's rounding is missing, and 1/512 of each step's
  assert(fedBack.every((error, i) => error < (i === 3 ? 2e-2 : 2e-6)), String(fedBack));
  const first = pack(share);
  assertEquals(pack(share, first), pack(share, first), "the same bytes again");
});

Deno.test("NaN and infinities come through, and leave nothing to carry on; their neighbours are as without them", () => {
  const broken = shareOf([NaN, Infinity, -Infinity, 1 / 3], [NaN], [0, -0]);
  const packed = pack(broken);
  const { gradients } = unpack(packed, broken);
  assertEquals([...gradients[0]!.slice(0, 3), ...gradients[1]!], [NaN, Infinity, -Infinity, NaN]);
  const whole = shareOf([1 / 3]);
  assertEquals(gradients[0]![3], unpack(pack(whole), whole).gradients[0]![0]);
  assertEquals(gradients[2], Float32Array.of(0, -0));
  assertEquals([...packed.residual!].map(Number), [0, 0, 0, pack(whole).residual![0], 0, 0, 0]);
});

Deno.test("a gradient that was not there, or is not any more, has nothing to add; bytes of another run are refused", () => {
  const [without, both] = [shareOf(null, [1 / 3, 0.1]), shareOf([0.7], [1 / 3, 0.1])];
  const form = { sizes: [1, 2], sumCount: 2 };
  const packed = float16.pack(without, null, form);
  const next = float16.pack(both, packed, form);
  const expected = pack(shareOf([1 / 3, 0.1]), pack(shareOf([1 / 3, 0.1])));
  assertEquals([...next.residual!.subarray(1)], [...expected.residual!]);
  assert(expected.residual!.some((part, i) => part !== packed.residual![i]), "the residual has been added");
  assertEquals(float16.pack(without, next, form).residual!.length, 2);
  assertEquals(float16.unpack(packed.bytes, form).gradients[0], null);
  assertThrows(
    () => float16.pack(both, { ...packed, residual: null }, form),
    TypeError,
    "2 bytes of what rounding left of the step before are required, received 0",
  );
  for (const bytes of [packed.bytes.subarray(1), SHARE_CODECS.none.pack(both, null, form).bytes]) {
    assertThrows(() => float16.unpack(bytes, form), TypeError, "Cannot read a share of gradients");
  }
});

Deno.test("gradients that are not finite end a training with float16 as they do without, naming the step", async () => {
  const messages: string[] = [];
  for (const compression of ["none", "float16"] satisfies GradientCompression[]) {
    const model = await tinyModel(0, await ownDevice());
    const gradientExchange: GradientExchange = {
      ...{ shares: 2, compression },
      async exchange(_step, shares, compute) {
        const found: Uint8Array[] = [];
        for (const share of shares) found.push((await compute(share, null)).bytes);
        return found;
      },
    };
    const args = {
      ...{ maxSteps: 6, perDeviceTrainBatchSize: 2, gradientAccumulationSteps: 2, loggingSteps: 1 },
      ...{ learningRate: 1e30, reportTo: "none" as const, optim: "sgd" as const },
    };
    const trainer = new Trainer({ model, args, trainDataset: countingData(16), gradientExchange });
    const { message } = await assertRejects(() => trainer.train(), Error, "finite gradients are required");
    messages.push(message.split(";")[0]);
    model.dispose();
  }
  assertEquals(messages[1], messages[0]);
});
