import { assert, assertEquals, assertThrows } from "@std/assert";
import { cast, defaultDevice, type Device, embedding, Tensor, tidy } from "../../../autograd/mod.ts";
import { checkOp, type Values } from "../../reference/check_op.ts";
import { ownDevice } from "../../reference/fixtures.ts";
import { fromHalfBits, randomValues, toHalfBits } from "../../reference/matmul.ts";
import { anotherDevice } from "../../reference/another_device.ts";

function embeddingReference(ids: readonly number[], cols: number, { table }: Values) {
  return {
    y: Float64Array.from(
      { length: ids.length * cols },
      (_, i) => table[ids[Math.floor(i / cols)] * cols + i % cols],
    ),
    gradients: (dy: ArrayLike<number>) => {
      const dtable = new Float64Array(table.length);
      ids.forEach((id, place) => {
        for (let c = 0; c < cols; c++) dtable[id * cols + c] += dy[place * cols + c];
      });
      return { table: dtable };
    },
  };
}

async function check(device: Device, ids: number[], rows: number, cols: number, batch = 1): Promise<void> {
  const shape = batch === 1 ? [ids.length] : [batch, ids.length / batch];
  await checkOp({
    label: `embedding of ${ids.length} in [${rows}, ${cols}]`,
    device,
    inputs: { table: { data: randomValues(rows, rows * cols), shape: [rows, cols] } },
    op: ({ table }) => embedding(Tensor.from(Int32Array.from(ids), { device, shape }), table),
    shape: [...shape, cols],
    reference: (values) => embeddingReference(ids, cols, values),
    gate: { rtol: 0, atol: 0 }, // a copy
    gradientGate: { rtol: 1e-6, atol: ids.length * 2 ** -24 },
  });
}

Deno.test("embedding() copies rows and sums the gradient of repeated ids", async () => {
  const device = await ownDevice();
  await check(device, [0], 1, 1);
  await check(device, [2, 0, 2, 1, 2, 4], 5, 3);
  await check(device, [6, 6, 6, 6, 0, 6], 7, 16, 2);
  await check(device, Array.from({ length: 257 }, (_, i) => i * 7 % 129), 129, 17);
  await check(device, Array.from({ length: 66 }, (_, i) => i % 4), 257, 769, 3);
});

Deno.test("embedding() looks up the columns of a transposed table and sums their gradient", async () => {
  const device = await ownDevice();
  const ids = [4, 0, 2, 4, 4, 1];
  for (const [rows, cols] of [[5, 1], [5, 3], [129, 17]]) {
    const swap = (values: ArrayLike<number>) =>
      Float64Array.from(values, (_, i) => values[i % cols * rows + Math.floor(i / cols)]);
    await checkOp({
      label: `embedding of 6 in columns of [${cols}, ${rows}]`,
      device,
      inputs: { table: { data: randomValues(rows, rows * cols), shape: [cols, rows] } },
      op: ({ table }) =>
        embedding(Tensor.from(Int32Array.from(ids), { device, shape: [2, 3] }), table, { transposed: true }),
      shape: [2, 3, cols],
      reference: ({ table }) => {
        const { y, gradients } = embeddingReference(ids, cols, { table: swap(table) });
        const back = (values: Float64Array) =>
          values.map((_, i) => values[i % rows * cols + Math.floor(i / rows)]);
        return { y, gradients: (dy) => ({ table: back(gradients(dy).table) }) };
      },
      gate: { rtol: 0, atol: 0 }, // a copy
      gradientGate: { rtol: 1e-6, atol: ids.length * 2 ** -24 },
    });
  }
});

Deno.test("embedding() sums 509 places of one id in a fixed order, bit for bit the same each time", async () => {
  const device = await ownDevice();
  await check(device, new Array(509).fill(3), 5, 31);
  const gradient = () =>
    tidy(() => {
      const table = Tensor.from(randomValues(1, 30), { device, shape: [6, 5], requiresGrad: true });
      const ids = Tensor.from(new Int32Array(509).fill(4), { device });
      embedding(ids, table).backward(Tensor.from(randomValues(2, 509 * 5), { device, shape: [509, 5] }));
      return table.grad!.alias();
    });
  using first = gradient();
  using second = gradient();
  assertEquals(await second.data(), await first.data());
});

Deno.test("embedding() sums the gradient of 70,001 ids, more than one launch may loop over", async () => {
  // llvmpipe ends a shader silently after 65,535 iterations.
  const device = await ownDevice();
  await check(device, new Array(70_001).fill(1), 3, 1);
  await check(device, Array.from({ length: 20_000 }, (_, i) => i), 20_000, 2);
});

Deno.test("embedding() reads a packed float16 table, also with an odd number of ids", async () => {
  const device = await ownDevice();
  const [rows, cols] = [37, 6];
  const bits = toHalfBits(randomValues(1, rows * cols));
  const ids = [36, 0, 5, 5, 17];
  using table = Tensor.from(bits, { device, shape: [rows, cols] });
  assertEquals(table.dtype, "float16");
  using y = tidy(() => embedding(Tensor.from(Int32Array.from(ids), { device }), table));
  const expected = embeddingReference(ids, cols, { table: Float64Array.from(bits, fromHalfBits) }).y;
  assertEquals([...await y.data()], [...expected]);
  assert(!y.requiresGrad);
});

/** A device that may bind 64 KiB at a time. */
const SMALL_BINDING = 64 * 2 ** 10;

Deno.test("embedding() of a table beyond the binding limit reads and sums every window", async () => {
  const device = await anotherDevice({ limits: { maxStorageBufferBindingSize: SMALL_BINDING } });
  assertEquals(device.limits.maxStorageBufferBindingSize, SMALL_BINDING);
  const [rows, cols] = [1021, 48]; // 196,032 bytes: windows of 256 rows
  const ids = [0, 255, 256, 257, 511, 512, 767, 768, 1020, 256, 0, 1019];
  await check(device, ids, rows, cols);
  using half = Tensor.from(toHalfBits(randomValues(1021, rows * cols)), { device, shape: [rows, cols] });
  using y = tidy(() => embedding(Tensor.from(Int32Array.from(ids), { device }), half));
  const table = Float64Array.from(toHalfBits(randomValues(1021, rows * cols)), fromHalfBits);
  assertEquals([...await y.data()], [...embeddingReference(ids, cols, { table }).y]);
  device.trim();
});

Deno.test("embedding() refuses ids of another dtype and tables that are no matrix", async () => {
  const device = await defaultDevice();
  tidy(() => {
    const ids = Tensor.from(Int32Array.of(0), { device });
    const table = Tensor.from(new Float32Array(4), { device, shape: [2, 2] });
    assertThrows(
      () => embedding(cast(ids, "float32"), table),
      TypeError,
      "Cannot embed float32 ids: int32 is required",
    );
    assertThrows(
      () => embedding(ids, Tensor.from([1, 2], { device })),
      TypeError,
      "Cannot embed in a table of shape [2]: [V, C] is required",
    );
  });
});
