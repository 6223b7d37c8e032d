import { assert, assertAllClose, assertEquals, assertThrows } from "@std/assert";
import { defaultDevice, type Device, logSoftmax, softmax, Tensor, tidy } from "../../../autograd/mod.ts";
import { checkOp, hardwareVariants } from "../../reference/check_op.ts";
import { ownDevice } from "../../reference/fixtures.ts";
import { randomValues } from "../../reference/matmul.ts";

/** Softmax or log-softmax of rows, in float64. */
function rowsReference(x: ArrayLike<number>, cols: number, log: boolean) {
  const rows = x.length / cols;
  const p = new Float64Array(x.length);
  const logP = new Float64Array(x.length);
  for (let r = 0; r < rows; r++) {
    let high = -Infinity;
    for (let c = 0; c < cols; c++) high = Math.max(high, x[r * cols + c]);
    let total = 0;
    for (let c = 0; c < cols; c++) total += Math.exp(x[r * cols + c] - high);
    for (let c = 0; c < cols; c++) {
      const i = r * cols + c;
      p[i] = Math.exp(x[i] - high) / total;
      logP[i] = x[i] - high - Math.log(total);
    }
  }
  return {
    y: log ? logP : p,
    gradients: (dy: ArrayLike<number>) => {
      const dx = new Float64Array(x.length);
      for (let r = 0; r < rows; r++) {
        let sum = 0;
        for (let i = r * cols; i < (r + 1) * cols; i++) sum += dy[i] * (log ? 1 : p[i]);
        for (let i = r * cols; i < (r + 1) * cols; i++) {
          dx[i] = log ? dy[i] - p[i] * sum : p[i] * (dy[i] - sum);
        }
      }
      return { x: dx };
    },
  };
}

async function checkRows(device: Device, name: "softmax" | "logSoftmax", shape: number[]): Promise<void> {
  const size = shape.reduce((a, b) => a * b, 1);
  const cols = shape.at(-1)!;
  const log = name === "logSoftmax";
  await checkOp({
    label: `${name} [${shape}] on ${device.profile.kind === "software" ? "threads" : "workgroups"}`,
    device,
    inputs: { x: { data: randomValues(5, size).map((v) => v * 4), shape } },
    op: ({ x }) => (log ? logSoftmax : softmax)(x),
    shape,
    reference: ({ x }) => rowsReference(x, cols, log),
    // Probabilities of long rows are small, so nothing is forgiven absolutely
    gate: { rtol: 1e-5, atol: log ? 2e-6 : 1e-12 },
    gradientGate: log ? { rtol: 1e-4, atol: 2e-6 * Math.sqrt(cols) } : { rtol: 1e-4, atol: 1e-6 / cols },
    blind: cols === 1,
  });
}

/** Row widths: one, scalar and vec4 cells, around a workgroup, GPT-2's vocabulary, past llvmpipe's loop limit. */
const WIDTHS = [1, 2, 3, 4, 255, 256, 257, 769, 1024, 4097, 50_257, 65_537];

for (const name of ["softmax", "logSoftmax"] as const) {
  for (const variant of ["thread", "workgroup"] as const) {
    Deno.test(`${name}() and its gradient agree with the float64 reference, a row a ${variant}`, async () => {
      const device = variant === "thread" ? await ownDevice() : await hardwareVariants();
      for (const cols of WIDTHS) await checkRows(device, name, [cols > 5000 ? 2 : 5, cols]);
      await checkRows(device, name, [3, 17, 31]);
      await checkRows(device, name, [1021, 12]);
      await checkRows(device, name, [7]);
    });
  }
}

const LOWEST = -3.4028234663852886e38;

Deno.test("softmax() of rows that are equal, steep or masked is defined and sums to 1", async () => {
  for (const device of [await defaultDevice(), await hardwareVariants()]) {
    for (const cols of [7, 8, 1024]) {
      const rows = [
        new Float32Array(cols).fill(3),
        new Float32Array(cols).fill(-1).with(cols - 1, 79),
        new Float32Array(cols).fill(LOWEST),
        new Float32Array(cols).fill(LOWEST).with(2, 0),
        new Float32Array(cols).fill(-Infinity).with(3, -5),
        new Float32Array(cols).fill(1e38).with(0, -1e38),
      ];
      const data = Float32Array.from(rows.flatMap((row) => [...row]));
      using y = tidy(() => softmax(Tensor.from(data, { device, shape: [rows.length, cols] })));
      const values = await y.data();
      assertAllClose(values, rowsReference(data, cols, false).y, { rtol: 1e-5, atol: 1e-30 });
      for (let r = 0; r < rows.length; r++) {
        const sum = [...values.subarray(r * cols, (r + 1) * cols)].reduce((a, b) => a + b, 0);
        assert(Math.abs(sum - 1) <= 1e-6, `row ${r} of ${cols} sums to ${sum}`);
      }
    }
  }
});

Deno.test("softmax() and logSoftmax() of a row with NaN hide no NaN and leave other rows alone", async () => {
  for (const device of [await defaultDevice(), await hardwareVariants()]) {
    for (const op of [softmax, logSoftmax]) {
      using y = tidy(() => op(Tensor.from([[1, 2, NaN], [1, 1, 1]], { device })));
      const values = await y.data();
      assert(values.subarray(0, 3).every(Number.isNaN), `received ${values.subarray(0, 3)}`);
      assert(values.subarray(3).every(Number.isFinite));
    }
  }
});

Deno.test("softmax() of an empty tensor is empty and of ids an error", async () => {
  const device = await defaultDevice();
  tidy(() => {
    assertEquals(softmax(Tensor.from(new Float32Array(0), { device, shape: [0, 4] })).shape, [0, 4]);
    const ids = Tensor.from(Int32Array.of(1, 2), { device });
    assertThrows(() => softmax(ids), TypeError, "Cannot softmax a int32 tensor of shape [2]: float32");
  });
});
