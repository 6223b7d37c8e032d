/**
 * Forbids the last tokens of words: a word of one token always, a longer one where the row ends in its other tokens
 * (`suppress_tokens` and `bad_words_ids` of `transformers`). The logit becomes the lowest number. One workgroup per row.
 * @module
 */

import { defineKernel } from "./define_kernel.ts";
import type { KernelSpec } from "./kernel_spec.ts";
import { MAIN } from "./snippets.ts";

/**
 * Changes logits [rows, cols] in place by words number `first` to `count` - 1, after the tokens chosen last have been
 * appended to `history`.
 */
export const banWords: KernelSpec<
  "logits" | "history" | "next" | "words",
  "rows" | "cols" | "length" | "capacity" | "first" | "count" | "appends",
  "WORKGROUP_SIZE"
> = defineKernel({
  name: "banWords",
  buffers: {
    logits: "read_write f32 // [rows, cols]",
    history: "read_write i32 // [rows, capacity]: tokens so far",
    next: "read i32 // [rows]: the last of them, where params.appends is 1",
    words: "read i32 // [count + 1]: where each word begins, and the end; then their tokens",
  },
  params: {
    rows: "u32",
    cols: "u32",
    length: "u32",
    capacity: "u32",
    first: "u32",
    count: "u32",
    appends: "u32",
  },
  tuning: { WORKGROUP_SIZE: 64 },
  grid: ({ rows }) => [rows],
  program: /* wgsl */ `
${MAIN}
  let row = wid.x + wid.y * nwg.x;
  if (row >= params.rows) { return; } // uniform: all threads of a workgroup leave
  let base = row * params.capacity;
  if (lid.x == 0u && params.appends == 1u) { history[base + params.length - 1u] = next[row]; }
  storageBarrier(); // the last token is in the history
  for (var w = params.first + lid.x; w < params.count; w += WORKGROUP_SIZE) {
    let begin = u32(words[w]);
    let before = u32(words[w + 1u]) - begin - 1u; // tokens that the row must end in
    if (before <= params.length) {
      let tail = base + params.length - before;
      var same = true;
      for (var k = 0u; k < before; k++) { same = same && history[tail + k] == words[begin + k]; }
      // not -infinity: some drivers assume that there is none
      if (same) { logits[row * params.cols + u32(words[begin + before])] = -3.4028234663852886e38; }
    }
  }
}
`,
});
