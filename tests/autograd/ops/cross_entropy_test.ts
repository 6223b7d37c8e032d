import { assert, assertAllClose, assertEquals, assertThrows } from "@std/assert";
import {
  crossEntropy,
  type CrossEntropyOptions,
  defaultDevice,
  type Device,
  linearCrossEntropy,
  Tensor,
  tidy,
} from "../../../autograd/mod.ts";
import { checkOp, hardwareVariants } from "../../reference/check_op.ts";
import { ownDevice } from "../../reference/fixtures.ts";
import { crossEntropyReference, type LossCase } from "../../reference/cross_entropy.ts";
import { fromHalfBits, matmulReference, randomValues, toHalfBits } from "../../reference/matmul.ts";
import { anotherDevice } from "../../reference/another_device.ts";

function optionsOf({ shiftLength, ignoreIndex, sum, numItems }: LossCase): CrossEntropyOptions {
  return {
    shiftLabels: shiftLength !== undefined,
    ignoreIndex,
    reduction: sum ? "sum" : undefined,
    numItemsInBatch: numItems,
  };
}

/** Labels spread over the vocabulary, first and last id included. */
function labelsOf(rows: number, V: number): number[] {
  return Array.from({ length: rows }, (_, i) => i === 0 ? 0 : i === 1 ? V - 1 : (i * 7919) % V);
}

async function check(V: number, test: LossCase, blind = false): Promise<void> {
  const device = await ownDevice();
  const rows = test.labels.length;
  const shape = test.shiftLength ? [rows / test.shiftLength, test.shiftLength] : [rows];
  await checkOp({
    device,
    label: `crossEntropy V=${V} ${JSON.stringify({ ...test, labels: rows })}`,
    inputs: { logits: { data: randomValues(V, rows * V).map((v) => v * 5), shape: [...shape, V] } },
    op: ({ logits }) =>
      crossEntropy(logits, Tensor.from(Int32Array.from(test.labels), { device, shape }), optionsOf(test)),
    shape: [],
    reference: ({ logits }) => {
      const { loss, dlogits } = crossEntropyReference(logits, test);
      return { y: Float64Array.of(loss), gradients: (dy) => ({ logits: dlogits.map((d) => d * dy[0]) }) };
    },
    gate: { rtol: 2e-6, atol: 1e-6 },
    gradientGate: { rtol: 1e-4, atol: 1e-8 },
    blind,
  });
}

Deno.test("crossEntropy() and its gradient agree with the float64 reference for every vocabulary size", async () => {
  for (const V of [2, 3, 17, 257, 511, 512, 513, 1024, 4097]) await check(V, { labels: labelsOf(7, V) });
  await check(50_257, { labels: labelsOf(3, 50_257) });
  await check(65_537, { labels: labelsOf(2, 65_537) });
  await check(1, { labels: [0, 0] }, true);
});

Deno.test("crossEntropy() takes every way to sum, shift and ignore", async () => {
  const labels = [4, -100, 0, 16, -100, 3, 3, 8, 1, -100, 2, 5];
  await check(17, { labels });
  await check(17, { labels, sum: true });
  await check(17, { labels, numItems: 40 });
  await check(17, { labels, shiftLength: 6 });
  await check(17, { labels, shiftLength: 4, sum: true });
  await check(17, { labels, shiftLength: 12, numItems: 3 });
  await check(17, { labels: labels.map((l) => l === -100 ? 3 : l), ignoreIndex: 3 });
});

Deno.test("crossEntropy() and linearCrossEntropy() of ignored labels alone: the mean is NaN, sums are 0, gradients are 0", async () => {
  const device = await defaultDevice();
  // torch.nn.functional.cross_entropy divides by the number of targets: 0 / 0, while ignored rows get no gradient.
  const cases: [CrossEntropyOptions, number][] = [
    [{}, NaN],
    [{ shiftLabels: true }, NaN],
    [{ reduction: "sum" }, 0],
    [{ numItemsInBatch: 7 }, 0],
  ];
  for (const [options, expected] of cases) {
    using labels = Tensor.from(new Int32Array(6).fill(-100), { device, shape: [2, 3] });
    using logits = Tensor.from(randomValues(1, 6 * 17), { device, shape: [2, 3, 17], requiresGrad: true });
    using loss = crossEntropy(logits, labels, options);
    assertEquals(await loss.item(), expected, JSON.stringify(options));
    loss.backward();
    assertEquals([...await logits.grad!.data()].map(Math.abs), new Array(6 * 17).fill(0));
    using hidden = Tensor.from(randomValues(2, 6 * 8), { device, shape: [2, 3, 8], requiresGrad: true });
    using weight = Tensor.from(randomValues(3, 17 * 8), { device, shape: [17, 8], requiresGrad: true });
    using head = linearCrossEntropy(hidden, weight, labels, options);
    assertEquals(await head.item(), expected, JSON.stringify(options));
    head.backward();
    for (const { grad } of [hidden, weight]) assert((await grad!.data()).every((v) => v === 0));
  }
  using one = Tensor.from(Int32Array.of(-100, 3, -100), { device });
  using logits = Tensor.from(randomValues(1, 3 * 17), { device, shape: [3, 17] });
  using loss = crossEntropy(logits, one);
  assertAllClose([await loss.item()], [
    crossEntropyReference(randomValues(1, 3 * 17), { labels: [-100, 3, -100] }).loss,
  ], { rtol: 2e-6, label: "one row of three counts" });
});

Deno.test("crossEntropy() of steep, equal and huge logits is finite and right", async () => {
  const device = await defaultDevice();
  const rows = [[80, 0, 0], [0, 0, 0], [1e4, -1e4, 0], [-3e38, 3e38, 0], [1, 1, 1 + 1e-6]];
  for (const target of [0, 1]) {
    const labels = new Array(rows.length).fill(target).with(3, 1);
    const logits = Float32Array.from(rows.flat());
    using x = Tensor.from(logits, { device, shape: [rows.length, 3], requiresGrad: true });
    using loss = tidy(() => crossEntropy(x, Tensor.from(Int32Array.from(labels), { device })));
    const expected = crossEntropyReference(logits, { labels });
    assertAllClose([await loss.item()], [expected.loss], { rtol: 1e-6, atol: 1e-7 });
    loss.backward();
    assertAllClose(await x.grad!.data(), expected.dlogits, { rtol: 1e-5, atol: 1e-8 });
  }
});

Deno.test("crossEntropy() passes NaN of a counted row on", async () => {
  const device = await defaultDevice();
  for (const place of [0, 1, 2, 600]) {
    using row = Tensor.from(new Float32Array(1024).fill(1).with(place, NaN), { device, shape: [1, 1024] });
    using bad = tidy(() => crossEntropy(row, Tensor.from(Int32Array.of(5), { device })));
    assert(Number.isNaN(await bad.item()), `NaN at ${place}`);
  }
  using masked = Tensor.from(new Float32Array(1024).fill(-Infinity).fill(2, 700, 704), {
    device,
    shape: [1, 1024],
  });
  using sound = tidy(() => crossEntropy(masked, Tensor.from(Int32Array.of(701), { device })));
  assertAllClose([await sound.item()], [Math.log(4)], { label: "a whole segment of -infinity" });
  using x = Tensor.from([[1, NaN, 2], [1, 2, 3]], { device });
  using good = tidy(() => crossEntropy(x, Tensor.from(Int32Array.of(-100, 1), { device })));
  assert(Number.isFinite(await good.item()), "a row without a target counts for nothing");
});

interface HeadCase extends LossCase {
  V: number;
  C: number;
  device?: Device;
  half?: boolean;
  frozen?: string[];
  softcap?: number;
}

async function checkHead(test: HeadCase): Promise<void> {
  const { V, C, labels, half = false } = test;
  const device = test.device ?? await ownDevice();
  const rows = labels.length;
  const shape = test.shiftLength ? [rows / test.shiftLength, test.shiftLength] : [rows];
  const bits = toHalfBits(randomValues(V, V * C));
  const weight = half ? Float32Array.from(bits, fromHalfBits) : randomValues(V, V * C);
  await checkOp({
    label: `linearCrossEntropy V=${V} C=${C} ${half ? "float16 " : ""}rows=${rows} -${test.frozen}`,
    device,
    frozen: test.frozen ?? (half ? ["weight"] : []),
    inputs: {
      hidden: { data: randomValues(2, rows * C), shape: [...shape, C] },
      weight: { data: weight, shape: [V, C] },
    },
    op: ({ hidden, weight }) =>
      linearCrossEntropy(
        hidden,
        half ? Tensor.from(bits, { device, shape: [V, C] }) : weight,
        Tensor.from(Int32Array.from(labels), { device, shape }),
        { ...optionsOf(test), softcap: test.softcap },
      ),
    shape: [],
    reference: ({ hidden, weight }) => {
      const plain = matmulReference(hidden, weight, { M: rows, N: V, K: C, transposeB: true }).y;
      const { softcap: cap } = test;
      const logits = cap === undefined ? plain : plain.map((x) => cap * Math.tanh(x / cap));
      const { loss, dlogits } = crossEntropyReference(logits, test);
      if (cap !== undefined) logits.forEach((y, i) => dlogits[i] *= 1 - (y / cap) ** 2);
      return {
        y: Float64Array.of(loss),
        gradients: (dy) => ({
          hidden: matmulReference(dlogits, weight, { M: rows, N: C, K: V }).y.map((d) => d * dy[0]),
          weight: matmulReference(dlogits, hidden, { M: V, N: C, K: rows, transposeA: true }).y
            .map((d) => d * dy[0]),
        }),
      };
    },
    gate: { rtol: 2e-6, atol: 2e-6 },
    gradientGate: { rtol: 1e-4, atol: 1e-6 / Math.sqrt(rows) },
  });
}

Deno.test("linearCrossEntropy() and both its gradients agree with the float64 reference", async () => {
  await checkHead({ V: 3, C: 2, labels: [0, 2] });
  await checkHead({ V: 17, C: 31, labels: labelsOf(13, 17) });
  await checkHead({ V: 257, C: 48, labels: labelsOf(66, 257).with(5, -100), shiftLength: 33 });
  await checkHead({ V: 257, C: 48, labels: labelsOf(12, 257), sum: true });
  await checkHead({ V: 513, C: 769, labels: labelsOf(9, 513), numItems: 100, shiftLength: 3 });
});

Deno.test("linearCrossEntropy() with a soft cap and both its gradients agree with the float64 reference", async () => {
  await checkHead({ V: 17, C: 31, labels: labelsOf(13, 17), softcap: 0.5 });
  await checkHead({ V: 257, C: 48, labels: labelsOf(66, 257).with(5, -100), shiftLength: 33, softcap: 2 });
  await checkHead({ V: 129, C: 48, labels: labelsOf(17, 129), half: true, softcap: 30 });
  const device = await anotherDevice({ limits: { maxStorageBufferBindingSize: 256 * 2 ** 10 } });
  await checkHead({ V: 1021, C: 80, labels: labelsOf(130, 1021), softcap: 1, device }); // several chunks of rows
  device.trim();
});

Deno.test("linearCrossEntropy() computes only the gradients that are wanted", async () => {
  for (const frozen of [["hidden"], ["weight"], ["hidden", "weight"]]) {
    await checkHead({ V: 65, C: 12, labels: labelsOf(9, 65), frozen });
  }
});

Deno.test("linearCrossEntropy() reads a packed float16 weight", async () => {
  await checkHead({ V: 129, C: 48, labels: labelsOf(17, 129), half: true });
});

Deno.test("linearCrossEntropy() with hardware's kernels agrees with the float64 reference", async () => {
  const device = await hardwareVariants();
  await checkHead({ V: 257, C: 48, labels: labelsOf(33, 257), device });
  await checkHead({ V: 129, C: 48, labels: labelsOf(17, 129), half: true, device });
});

Deno.test("linearCrossEntropy() of several row chunks and a weight beyond the binding limit agrees", async () => {
  // 256 KiB a binding: 64 rows of 1,021 logits (261,376 bytes), and 196 of the weight's 1,021 rows of 48.
  const device = await anotherDevice({ limits: { maxStorageBufferBindingSize: 256 * 2 ** 10 } });
  await checkHead({ V: 1021, C: 80, labels: labelsOf(64 * 3 + 5, 1021).with(100, -100), device });
  await checkHead({ V: 1021, C: 80, labels: labelsOf(130, 1021), half: true, device });
  device.trim();
});

Deno.test("linearCrossEntropy() of GPT-2's vocabulary agrees in loss and the hidden state's gradient", async () => {
  await checkHead({ V: 50_257, C: 5, labels: labelsOf(3, 50_257), frozen: ["weight"] });
});

Deno.test("linearCrossEntropy() never holds whole logits", async () => {
  const device = await anotherDevice({ limits: { maxStorageBufferBindingSize: 256 * 2 ** 10 } });
  const [rows, V, C] = [640, 1021, 16];
  using hidden = Tensor.from(randomValues(1, rows * C), { device, shape: [rows, C], requiresGrad: true });
  using weight = Tensor.from(randomValues(2, V * C), { device, shape: [V, C] });
  using labels = Tensor.from(Int32Array.from(labelsOf(rows, V)), { device });
  device.resetPeakMemory();
  using loss = linearCrossEntropy(hidden, weight, labels);
  loss.backward();
  assert(Number.isFinite(await loss.item()));
  const whole = rows * V * 4;
  assert(device.memory.peakBytes < whole / 3, `${device.memory.peakBytes} of ${whole} bytes of logits`);
  for (const tensor of [hidden, weight, labels, loss]) tensor.dispose();
  device.trim();
});

Deno.test("crossEntropy() and linearCrossEntropy() refuse labels and weights that do not fit", async () => {
  const device = await defaultDevice();
  tidy(() => {
    const logits = Tensor.from(new Float32Array(12), { device, shape: [3, 4] });
    const labels = Tensor.from(Int32Array.of(0, 1), { device });
    const message = "Cannot compute cross-entropy: int32 labels for 3 rows are required, received int32 [2]";
    assertThrows(() => crossEntropy(logits, labels), TypeError, message);
    const floats = Tensor.from([0, 1, 2], { device });
    assertThrows(() => crossEntropy(logits, floats), TypeError, "received float32 [3]");
    const weight = Tensor.from(new Float32Array(10), { device, shape: [2, 5] });
    assertThrows(
      () => linearCrossEntropy(logits, weight, labels),
      TypeError,
      "Cannot compute the head's loss of hidden [3, 4]: a weight of shape [V, 4] is required, received [2, 5]",
    );
    const fitting = Tensor.from(new Float32Array(8), { device, shape: [2, 4] });
    assertThrows(
      () => linearCrossEntropy(logits, fitting, labels),
      TypeError,
      "Cannot compute the head's loss: int32 labels for 3 rows are required, received int32 [2]",
    );
  });
});
