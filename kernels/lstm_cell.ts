/**
 * One step of a long short-term memory (Hochreiter and Schmidhuber 1997), PyTorch's order of gates: input i, forget f,
 * cell g, output o. Its backward computes the gates again instead of keeping them. One thread per hidden unit.
 * @module
 */

import { defineKernel } from "./define_kernel.ts";
import { groupsFor, type KernelSpec } from "./kernel_spec.ts";
import { MAIN, tanhSnippet, THREAD } from "./snippets.ts";

const GATES = /* wgsl */ `
struct Gates { i: f32, f: f32, g: f32, o: f32 }
${tanhSnippet}
fn sigmoid(x: f32) -> f32 { return 0.5 + 0.5 * tanhOwn(0.5 * x); } // NaN stays NaN
fn gatesAt(row: u32, j: u32) -> Gates {
  let at = row * 4u * params.hidden + j;
  return Gates(
    sigmoid(gates[at]),
    sigmoid(gates[at + params.hidden]),
    tanhOwn(gates[at + 2u * params.hidden]),
    sigmoid(gates[at + 3u * params.hidden]),
  );
}
`;
const EACH_UNIT = /* wgsl */ `
${MAIN}
  let unit = ${THREAD}; // of [rows, hidden]
  if (unit >= params.rows * params.hidden) { return; }
  let row = unit / params.hidden;
  let j = unit % params.hidden;
  let q = gatesAt(row, j);
`;

type Sizes = "rows" | "hidden";
const PARAMS = { rows: "u32", hidden: "u32" } as const;
const TUNING = { WORKGROUP_SIZE: 64 } as const;
const grid = ({ rows, hidden }: Record<Sizes, number>, { WORKGROUP_SIZE }: { WORKGROUP_SIZE: number }) =>
  [groupsFor(rows * hidden, WORKGROUP_SIZE)] as const;

/** c' = f c + i g, h = o tanh(c'); next holds h, then c'. */
export const lstmCellForward: KernelSpec<"gates" | "cell" | "next", Sizes, "WORKGROUP_SIZE"> = defineKernel({
  name: "lstmCellForward",
  buffers: {
    gates: "read f32 // [rows, 4 hidden]: i, f, g, o before their functions",
    cell: "read f32 // [rows, hidden]",
    next: "read_write f32 // [2, rows, hidden]: h, then the cell",
  },
  params: PARAMS,
  tuning: TUNING,
  grid,
  program: /* wgsl */ `${GATES}
${EACH_UNIT}
  let c = q.f * cell[unit] + q.i * q.g;
  next[unit] = q.o * tanhOwn(c);
  next[params.rows * params.hidden + unit] = c;
}
`,
});

/** Gradients of the gates before their functions, and of the cell. */
export const lstmCellBackward: KernelSpec<
  "gates" | "cell" | "dNext" | "dGates" | "dCell",
  Sizes,
  "WORKGROUP_SIZE"
> = defineKernel({
  name: "lstmCellBackward",
  buffers: {
    gates: "read f32 // [rows, 4 hidden]",
    cell: "read f32 // [rows, hidden]",
    dNext: "read f32 // [2, rows, hidden]: of h, then of the new cell",
    dGates: "read_write f32 // [rows, 4 hidden]",
    dCell: "read_write f32 // [rows, hidden]",
  },
  params: PARAMS,
  tuning: TUNING,
  grid,
  program: /* wgsl */ `${GATES}
${EACH_UNIT}
  let t = tanhOwn(q.f * cell[unit] + q.i * q.g);
  let dh = dNext[unit];
  let dc = dNext[params.rows * params.hidden + unit] + dh * q.o * (1.0 - t * t);
  let at = row * 4u * params.hidden + j;
  dGates[at] = dc * q.g * q.i * (1.0 - q.i);
  dGates[at + params.hidden] = dc * cell[unit] * q.f * (1.0 - q.f);
  dGates[at + 2u * params.hidden] = dc * q.i * (1.0 - q.g * q.g);
  dGates[at + 3u * params.hidden] = dh * t * q.o * (1.0 - q.o);
  dCell[unit] = dc * q.f;
}
`,
});
