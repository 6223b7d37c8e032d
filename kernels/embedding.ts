/**
 * Rows of a table by id, and the gradient of the table without atomics. A table beyond the binding limit is bound in
 * windows of rows: each launch serves the ids of its window, so a launch per window covers every id once.
 * @module
 */

import { type BufferDeclaration, defineKernel } from "./define_kernel.ts";
import { groupsFor, type KernelSpec, madeOnce } from "./kernel_spec.ts";
import { MAIN, THREAD } from "./snippets.ts";
import {
  bufferNames,
  formatNamed,
  loadFunction,
  WEIGHT_FORMAT_NAMES,
  type WeightFormat,
  type WeightFormatName,
} from "./weights/mod.ts";

const PARAMS = {
  count: "u32",
  cols: "u32",
  firstRow: "u32",
  tableRows: "u32",
  rowStride: "u32",
  colStride: "u32",
} as const;

/** y[i] = table[ids[i]] for ids in [firstRow, firstRow + tableRows); the table in all buffers of its format. */
export type EmbeddingKernel = KernelSpec<
  string,
  keyof typeof PARAMS,
  "WORKGROUP_SIZE"
>;

function forwardKernel(format: WeightFormat): EmbeddingKernel {
  const names = bufferNames(format, "table");
  const types = format.reading.types(1);
  const tables = names.map((name, k): [string, BufferDeclaration] => {
    const { note } = format.buffers[k];
    const shape = k === 0 ? "[tableRows, cols] or [cols, tableRows], by the strides" : "";
    return [name, `read ${types[k]} // ${shape}${note === "" || k > 0 ? note : `: ${note}`}`];
  });
  return defineKernel({
    name: `embeddingForward.${format.name}`,
    buffers: {
      ids: "read u32 // [count]",
      ...Object.fromEntries(tables),
      y: "read_write f32 // [count, cols]",
    },
    params: PARAMS,
    tuning: { WORKGROUP_SIZE: 64 },
    grid: ({ count, cols }, { WORKGROUP_SIZE }) => [groupsFor(count * cols, WORKGROUP_SIZE)],
    program: /* wgsl */ `
${loadFunction(format, format.reading, "table", 1)}

${MAIN}
  let i = ${THREAD};
  if (i >= params.count * params.cols) { return; }
  let row = ids[i / params.cols] - params.firstRow; // below firstRow it wraps to a huge number
  if (row >= params.tableRows) { return; }
  let at = row * params.rowStride + i % params.cols * params.colStride;
  y[i] = loadTable(at);
}
`,
  });
}

const made = madeOnce<EmbeddingKernel>();

/** Looks rows of a table up, whatever its format. */
export function embeddingForward(name: WeightFormatName): EmbeddingKernel {
  return made(name, () => forwardKernel(formatNamed(name)));
}

/** The kernel of each format, for the checks that walk all kernels. */
export function embeddingForwardKernels(): EmbeddingKernel[] {
  return WEIGHT_FORMAT_NAMES.map(embeddingForward);
}

/**
 * Links equal ids: next[i] is the next place of the same id after i (or `count`), with the top bit set where an
 * earlier place has the id too. O(count^2) comparisons once, instead of sorting.
 */
export const embeddingLinks: KernelSpec<"ids" | "next", "count", "WORKGROUP_SIZE"> = defineKernel({
  name: "embeddingLinks",
  buffers: {
    ids: "read u32 // [count]",
    next: "read_write u32 // [count]",
  },
  params: { count: "u32" },
  tuning: { WORKGROUP_SIZE: 64 },
  grid: ({ count }, { WORKGROUP_SIZE }) => [groupsFor(count, WORKGROUP_SIZE)],
  program: /* wgsl */ `
${MAIN}
  let i = ${THREAD};
  if (i >= params.count) { return; }
  var follower = 0u;
  for (var j = 0u; j < i; j++) {
    if (ids[j] == ids[i]) {
      follower = 0x80000000u;
      break;
    }
  }
  var j = i + 1u;
  while (j < params.count && ids[j] != ids[i]) { j++; }
  next[i] = j | follower;
}
`,
});

/** dtable[id] += sum of dy over the places of the id, in order; rows of ids that do not occur are not written. */
export const embeddingBackward: KernelSpec<
  "ids" | "next" | "dy" | "dtable",
  keyof typeof PARAMS,
  "WORKGROUP_SIZE"
> = defineKernel({
  name: "embeddingBackward",
  buffers: {
    ids: "read u32 // [count]",
    next: "read u32 // [count]",
    dy: "read f32 // [count, cols]",
    dtable: "read_write f32 // [tableRows, cols] or [cols, tableRows], by the strides",
  },
  params: PARAMS,
  tuning: { WORKGROUP_SIZE: 64 },
  grid: ({ count, cols }, { WORKGROUP_SIZE }) => [groupsFor(count * cols, WORKGROUP_SIZE)],
  program: /* wgsl */ `
${MAIN}
  let i = ${THREAD};
  if (i >= params.count * params.cols) { return; }
  let first = i / params.cols;
  let row = ids[first] - params.firstRow;
  if (row >= params.tableRows || (next[first] & 0x80000000u) != 0u) { return; }
  let col = i % params.cols;
  var total = 0.0;
  var place = first;
  while (place < params.count) {
    total += dy[place * params.cols + col];
    place = next[place] & 0x7fffffffu;
  }
  dtable[row * params.rowStride + col * params.colStride] += total;
}
`,
});
