/**
 * Rows of numbers in int8 with a scale each, as bitsandbytes' LLM.int8 stores weights: numbers are rounded to halves first.
 * Source: Int8Params and int8_vectorwise_quant of bitsandbytes 0.50.
 * @module
 */
import { defineKernel } from "./define_kernel.ts";
import { groupsFor, type KernelSpec } from "./kernel_spec.ts";
import { MAIN, THREAD } from "./snippets.ts";
import { TO_HALF } from "./weights/half.ts";

/** y = x [rows, cols] in format int8, `cols` a multiple of 64; a thread writes a row. */
export const quantizeRows: KernelSpec<"x" | "y", "rows" | "cols", "WORKGROUP_SIZE"> = defineKernel({
  name: "quantizeRows",
  buffers: {
    x: "read f32 // [rows, cols]",
    y: "read_write u32 // [rows, cols / 64] blocks: the scale, 16 words of int8",
  },
  params: { rows: "u32", cols: "u32" },
  tuning: { WORKGROUP_SIZE: 64 },
  grid: ({ rows }, { WORKGROUP_SIZE }) => [groupsFor(rows, WORKGROUP_SIZE)],
  program: /* wgsl */ `
${TO_HALF}
}
fn rounded(v: f32) -> f32 { return unpack2x16float(toHalf(v)).x; }

${MAIN}
  let row = ${THREAD};
  if (row >= params.rows) { return; }
  let first = row * params.cols;
  var most = 0.0;
  for (var k = 0u; k < params.cols; k++) { most = max(most, abs(rounded(x[first + k]))); }
  let factor = select((1.0 / most) * 127.0, 0.0, most == 0.0); // as torch divides a number by a tensor
  for (var block = 0u; block < params.cols / 64u; block++) {
    let at = (first / 64u + block) * 17u;
    y[at] = bitcast<u32>(most * 7.874015718698502e-3);
    for (var w = 0u; w < 16u; w++) {
      var word = 0u;
      for (var k = 0u; k < 4u; k++) {
        let code = round(rounded(x[first + 64u * block + 4u * w + k]) * factor);
        word |= (bitcast<u32>(i32(code)) & 255u) << (8u * k);
      }
      y[at + 1u + w] = word;
    }
  }
}
`,
});
