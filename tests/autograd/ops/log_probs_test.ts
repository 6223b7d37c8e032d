import { assert, assertAllClose, assertEquals, assertThrows } from "@std/assert";
import {
  defaultDevice,
  type Device,
  linearLogProbs,
  logProbsOf,
  quantize,
  readNumbers,
  Tensor,
  tidy,
} from "../../../autograd/mod.ts";
import { checkOp, hardwareVariants } from "../../reference/check_op.ts";
import { ownDevice } from "../../reference/fixtures.ts";
import { logProbsReference } from "../../reference/cross_entropy.ts";
import { fromHalfBits, matmulReference, randomValues, toHalfBits } from "../../reference/matmul.ts";
import { GGUF_TYPES, randomWeight } from "../../reference/quantized.ts";
import { anotherDevice } from "../../reference/another_device.ts";

/** Labels spread over the vocabulary, first and last id included, the third for none. */
function labelsOf(rows: number, V: number): number[] {
  return Array.from({ length: rows }, (_, i) => [0, V - 1, -100][i] ?? (i * 7919) % V);
}

Deno.test("logProbsOf() and its gradient agree with the float64 reference at every vocabulary size", async () => {
  const device = await ownDevice();
  for (const [V, length] of [[2, 0], [17, 0], [17, 3], [257, 0], [513, 6], [4097, 0]]) {
    const labels = labelsOf(6, V);
    const shape = length ? [6 / length, length] : [6];
    await checkOp({
      device,
      label: `logProbsOf V=${V} shifted by ${length}`,
      inputs: { logits: { data: randomValues(V, 6 * V).map((v) => v * 5), shape: [...shape, V] } },
      op: ({ logits }) =>
        logProbsOf(logits, Tensor.from(Int32Array.from(labels), { device, shape }), {
          shiftLabels: length > 0,
        }),
      shape,
      reference: ({ logits }) => {
        const { y, dlogits } = logProbsReference(logits, { labels, shiftLength: length || undefined });
        return { y, gradients: (dy) => ({ logits: dlogits.map((d, i) => d * dy[Math.floor(i / V)]) }) };
      },
      gate: { rtol: 2e-6, atol: 1e-6 },
      gradientGate: { rtol: 1e-4, atol: 1e-7 },
    });
  }
});

interface HeadCase {
  V: number;
  C: number;
  rows: number;
  length?: number;
  device?: Device;
  half?: boolean;
  frozen?: string[];
  softcap?: number;
}

async function checkHead(test: HeadCase): Promise<void> {
  const { V, C, rows, length, half = false, softcap: cap } = test;
  const device = test.device ?? await ownDevice();
  const labels = labelsOf(rows, V);
  const shape = length ? [rows / length, length] : [rows];
  const bits = toHalfBits(randomValues(V, V * C));
  await checkOp({
    label: `linearLogProbs V=${V} C=${C} ${half ? "float16 " : ""}rows=${rows} cap=${cap} -${test.frozen}`,
    device,
    frozen: test.frozen ?? (half ? ["weight"] : []),
    inputs: {
      hidden: { data: randomValues(2, rows * C), shape: [...shape, C] },
      weight: {
        data: half ? Float32Array.from(bits, fromHalfBits) : randomValues(V, V * C),
        shape: [V, C],
      },
    },
    op: ({ hidden, weight }) =>
      linearLogProbs(
        hidden,
        half ? Tensor.from(bits, { device, shape: [V, C] }) : weight,
        Tensor.from(Int32Array.from(labels), { device, shape }),
        { shiftLabels: length !== undefined, softcap: cap },
      ),
    shape,
    reference: ({ hidden, weight }) => {
      const plain = matmulReference(hidden, weight, { M: rows, N: V, K: C, transposeB: true }).y;
      const logits = cap === undefined ? plain : plain.map((x) => cap * Math.tanh(x / cap));
      const { y, dlogits } = logProbsReference(logits, { labels, shiftLength: length });
      if (cap !== undefined) logits.forEach((y, i) => dlogits[i] *= 1 - (y / cap) ** 2);
      return {
        y,
        gradients: (dy) => {
          const scaled = dlogits.map((d, i) => d * dy[Math.floor(i / V)]);
          return {
            hidden: matmulReference(scaled, weight, { M: rows, N: C, K: V }).y,
            weight: matmulReference(scaled, hidden, { M: V, N: C, K: rows, transposeA: true }).y,
          };
        },
      };
    },
    gate: { rtol: 2e-6, atol: 3e-6 },
    gradientGate: { rtol: 1e-4, atol: 2e-6 },
  });
}

Deno.test("linearLogProbs() and both its gradients agree with the float64 reference", async () => {
  await checkHead({ V: 3, C: 2, rows: 2 });
  await checkHead({ V: 17, C: 31, rows: 13 });
  await checkHead({ V: 257, C: 48, rows: 66, length: 33 });
  await checkHead({ V: 129, C: 48, rows: 17, half: true });
  await checkHead({ V: 65, C: 12, rows: 9, softcap: 2 });
  for (const frozen of [["hidden"], ["weight"], ["hidden", "weight"]]) {
    await checkHead({ V: 65, C: 12, rows: 9, frozen });
  }
});

Deno.test("linearLogProbs() with hardware's kernels agrees with the float64 reference", async () => {
  await checkHead({ V: 257, C: 48, rows: 33, device: await hardwareVariants() });
});

Deno.test("linearLogProbs() of several row chunks, and a weight and gradients beyond the binding limit agrees", async () => {
  const device = await anotherDevice({ limits: { maxStorageBufferBindingSize: 256 * 2 ** 10 } });
  await checkHead({ V: 1021, C: 80, rows: 197, softcap: 1, device });
  const small = await anotherDevice({ limits: { maxStorageBufferBindingSize: 32 * 2 ** 10 } });
  await checkHead({ V: 101, C: 40, rows: 261, frozen: ["weight"], device: small });
  device.trim();
  small.trim();
});

Deno.test("linearLogProbs() of a vocabulary of 49,152 agrees, and never holds whole logits", async () => {
  await checkHead({ V: 49_152, C: 33, rows: 5, frozen: ["weight"] });
  const device = await anotherDevice({ limits: { maxStorageBufferBindingSize: 16 * 2 ** 20 } });
  const [rows, V, C] = [256, 49_152, 4];
  using hidden = Tensor.from(randomValues(1, rows * C), { device, shape: [rows, C], requiresGrad: true });
  using weight = Tensor.from(randomValues(2, V * C), { device, shape: [V, C] });
  using labels = Tensor.from(Int32Array.from(labelsOf(rows, V)), { device });
  device.resetPeakMemory();
  using y = linearLogProbs(hidden, weight, labels);
  using dy = Tensor.from(new Float32Array(rows).fill(1), { device });
  y.backward(dy);
  assert((await y.data()).every((v, i) => i === 2 ? v === 0 : v < 0));
  const whole = rows * V * 4;
  assert(device.memory.peakBytes < whole / 2, `${device.memory.peakBytes} of ${whole} bytes of logits`);
  for (const tensor of [hidden, weight, labels, y, dy]) tensor.dispose();
  device.trim();
});

Deno.test("linearLogProbs() reads a head of blocks of few bits", async () => {
  const device = await defaultDevice();
  const [V, C, rows] = [70, 256, 5];
  const labels = Int32Array.from(labelsOf(rows, V));
  const source = Tensor.from(randomValues(9, V * C), { device, shape: [V, C] });
  const quantized = await Promise.all((["nf4", "int8"] as const).map((type) => quantize(source, type)));
  for (const weight of [...GGUF_TYPES.map((type) => randomWeight(device, type, [V, C], 7)), ...quantized]) {
    const plain = Tensor.from(Float32Array.from(await readNumbers(weight)), { device, shape: [V, C] });
    const results = [weight, plain].map((weight) => {
      const hidden = Tensor.from(randomValues(3, rows * C), { device, shape: [rows, C], requiresGrad: true });
      const y = tidy(() => linearLogProbs(hidden, weight, Tensor.from(labels, { device })));
      y.backward(Tensor.from(randomValues(4, rows), { device }));
      return [y, hidden.grad!];
    });
    for (const k of [0, 1]) {
      const [own, expected] = await Promise.all(results.map((tensors) => tensors[k].data()));
      const most = Math.max(...Array.from(expected, Math.abs));
      assert(most > 1e-3);
      assertAllClose(own, expected, { rtol: 0, atol: 1e-5 * most, label: `${weight.dtype} ${k}` });
    }
  }
});

Deno.test("linearLogProbs() and logProbsOf() refuse labels and weights that do not fit", async () => {
  const device = await defaultDevice();
  tidy(() => {
    const x = Tensor.from(new Float32Array(12), { device, shape: [3, 4] });
    const labels = Tensor.from(Int32Array.of(0, 1), { device });
    const message =
      "Cannot compute log-probabilities: int32 labels for 3 rows are required, received int32 [2]";
    assertThrows(() => logProbsOf(x, labels), TypeError, message);
    assertThrows(
      () => linearLogProbs(x, Tensor.from(new Float32Array(8), { device, shape: [2, 4] }), labels),
      TypeError,
      message,
    );
    assertThrows(
      () => linearLogProbs(x, Tensor.from(new Float32Array(10), { device, shape: [2, 5] }), labels),
      TypeError,
      "Cannot compute log-probabilities of hidden [3, 4]: a weight of shape [V, 4] is required, received [2, 5]",
    );
  });
});

Deno.test("logProbsOf() passes NaN of a row on, and of no other", async () => {
  const device = await defaultDevice();
  using logits = Tensor.from([[1, NaN, 2], [1, 2, 3], [NaN, 1, 1]], { device });
  using y = tidy(() => logProbsOf(logits, Tensor.from(Int32Array.of(0, 1, -100), { device })));
  assertEquals([...await y.data()].map((v) => Number.isNaN(v)), [true, false, false]);
});
