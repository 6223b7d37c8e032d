import { assertThrows } from "@std/assert";
import { full, lstmCell, Tensor, tidy } from "../../../autograd/mod.ts";
import { defaultDevice } from "../../../autograd/mod.ts";
import { checkOp, type Values } from "../../reference/check_op.ts";
import { randomValues } from "../../reference/matmul.ts";

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

function reference({ gates, cell }: Values, rows: number, hidden: number) {
  const y = new Float64Array(2 * rows * hidden);
  const gradients = (dy: ArrayLike<number>) => {
    const [dGates, dCell] = [new Float64Array(gates.length), new Float64Array(cell.length)];
    each((unit, at, { i, f, g, o, t }) => {
      const dh = dy[unit];
      const e = dy[rows * hidden + unit] + dh * o * (1 - t * t);
      dGates[at] = e * g * i * (1 - i);
      dGates[at + hidden] = e * cell[unit] * f * (1 - f);
      dGates[at + 2 * hidden] = e * i * (1 - g * g);
      dGates[at + 3 * hidden] = dh * t * o * (1 - o);
      dCell[unit] = e * f;
    });
    return { gates: dGates, cell: dCell };
  };
  const each = (
    body: (
      unit: number,
      at: number,
      parts: { i: number; f: number; g: number; o: number; c: number; t: number },
    ) => void,
  ) => {
    for (let unit = 0; unit < rows * hidden; unit++) {
      const at = Math.floor(unit / hidden) * 4 * hidden + unit % hidden;
      const [i, f, o] = [0, 1, 3].map((n) => sigmoid(gates[at + n * hidden]));
      const g = Math.tanh(gates[at + 2 * hidden]);
      const c = f * cell[unit] + i * g;
      body(unit, at, { i, f, g, o, c, t: Math.tanh(c) });
    }
  };
  each((unit, _, { o, c, t }) => {
    y[unit] = o * t;
    y[rows * hidden + unit] = c;
  });
  return { y, gradients };
}

Deno.test("lstmCell() agrees with the float64 reference for one row and several, also past a workgroup", async () => {
  for (const [rows, hidden] of [[1, 1], [1, 5], [3, 7], [2, 64], [1, 129]]) {
    await checkOp({
      label: `lstmCell [${rows}, ${hidden}]`,
      inputs: {
        gates: { data: randomValues(1, 4 * rows * hidden).map((v) => 3 * v), shape: [rows, 4 * hidden] },
        cell: { data: randomValues(2, rows * hidden), shape: [rows, hidden] },
      },
      op: ({ gates, cell }) => lstmCell(gates, cell),
      shape: [2, rows, hidden],
      reference: (values) => reference(values, rows, hidden),
      gate: { rtol: 2e-6, atol: 3e-7 }, // two of our tanh, 8 ULP each
    });
  }
});

Deno.test("lstmCell() keeps its numbers where gates are saturated", async () => {
  const gates = [200, -200, 40, 100, -100, 90, -89, 1];
  await checkOp({
    label: "saturated",
    inputs: {
      gates: { data: Float32Array.from(gates), shape: [1, 8] },
      cell: { data: Float32Array.of(0.5, -3), shape: [1, 2] },
    },
    op: ({ gates, cell }) => lstmCell(gates, cell),
    shape: [2, 1, 2],
    reference: (values) => reference(values, 1, 2),
    blind: true,
  });
});

Deno.test("lstmCell() refuses gates of another shape", async () => {
  const device = await defaultDevice();
  tidy(() => {
    const cell = full(device, [2, 3], 0);
    assertThrows(
      () => lstmCell(Tensor.from(new Float32Array(18), { device, shape: [2, 9] }), cell),
      TypeError,
      "Cannot compute lstmCell: gates [B, 4 H] and cell [B, H] are required, received [2, 9] and [2, 3]",
    );
  });
});
