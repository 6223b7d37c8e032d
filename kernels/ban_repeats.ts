/**
 * Forbids tokens that would repeat a run of n tokens of their row (`no_repeat_ngram_size` of `transformers`): wherever the
 * row's last n - 1 tokens occurred before, the logit of the token that followed becomes the lowest number. One workgroup
 * per row.
 * @module
 */

import { defineKernel } from "./define_kernel.ts";
import type { KernelSpec } from "./kernel_spec.ts";
import { MAIN } from "./snippets.ts";

/** Changes logits [rows, cols] in place by `history`, to whose rows it first appends the tokens chosen last. */
export const banRepeats: KernelSpec<
  "logits" | "history" | "next",
  "rows" | "cols" | "length" | "capacity" | "size" | "appends",
  "WORKGROUP_SIZE"
> = defineKernel({
  name: "banRepeats",
  buffers: {
    logits: "read_write f32 // [rows, cols]",
    history: "read_write i32 // [rows, capacity]: tokens so far",
    next: "read i32 // [rows]: the last of them, where params.appends is 1",
  },
  params: { rows: "u32", cols: "u32", length: "u32", capacity: "u32", size: "u32", appends: "u32" },
  tuning: { WORKGROUP_SIZE: 64 },
  grid: ({ rows }) => [rows],
  program: /* wgsl */ `
${MAIN}
  let row = wid.x + wid.y * nwg.x;
  if (row >= params.rows) { return; } // uniform: all threads of a workgroup leave
  let base = row * params.capacity;
  if (lid.x == 0u && params.appends == 1u) { history[base + params.length - 1u] = next[row]; }
  storageBarrier(); // the last token is in the history
  let before = params.size - 1u;
  if (params.length < params.size) { return; }
  let tail = base + params.length - before;
  for (var i = lid.x; i + before < params.length; i += WORKGROUP_SIZE) {
    var same = true;
    for (var k = 0u; k < before; k++) { same = same && history[base + i + k] == history[tail + k]; }
    let token = history[base + i + before];
    // not -infinity: some drivers assume that there is none
    if (same && token >= 0 && u32(token) < params.cols) {
      logits[row * params.cols + u32(token)] = -3.4028234663852886e38;
    }
  }
}
`,
});
