/**
 * Conversions between element types: each format of weights from and to f32 (`weights/`), integers from and to f32.
 * @module
 */

import { type BufferDeclaration, defineKernel } from "./define_kernel.ts";
import { groupsFor, type KernelSpec, madeOnce } from "./kernel_spec.ts";
import { MAIN, THREAD } from "./snippets.ts";
import { bufferNames, f32Format, formatNamed, loadFunction, WEIGHT_FORMATS } from "./weights/mod.ts";
import type { WeightFormat, WeightFormatName } from "./weights/mod.ts";

/** Buffers x and y, with what their formats keep beside the numbers. */
export type CastKernel = KernelSpec<string, "size", "WORKGROUP_SIZE">;

interface Side {
  readonly format: WeightFormat;
  readonly types: readonly string[];
}

/** A thread converts `step` elements: those of number `block`, from element `i` on. */
function castKernel(
  name: string,
  from: Side,
  to: Side,
  step: number,
  body: string,
  functions = "",
): CastKernel {
  const buffers: Record<string, BufferDeclaration> = {};
  for (const [side, operand, access] of [[from, "x", "read"], [to, "y", "read_write"]] as const) {
    bufferNames(side.format, operand).forEach((buffer, k) => {
      const { elements, note } = side.format.buffers[k];
      const size = elements === 1 ? "[size]" : `[size / ${elements}]`;
      buffers[buffer] = `${access} ${side.types[k]} // ${note ? `${size}: ${note}` : size}`;
    });
  }
  return defineKernel({
    name,
    buffers,
    params: { size: "u32" },
    tuning: { WORKGROUP_SIZE: 64 },
    grid: ({ size }, { WORKGROUP_SIZE }) => [groupsFor(Math.ceil(size / step), WORKGROUP_SIZE)],
    program: /* wgsl */ `
${functions}
${MAIN}
  let block = ${THREAD};
  let i = block * ${step}u;
  if (i >= params.size) { return; }
  ${body}
}
`,
  });
}

const words = (type: string): Side => ({ format: f32Format, types: [type] });
const stored = (format: WeightFormat, width: 1 | 4 = 1): Side => ({
  format,
  types: format.reading.types(width),
});

/** Two elements of y, each as the WGSL that `of` gives for an index. */
const pair = (of: (index: string) => string) =>
  `y[i] = ${of("i")};
  if (i + 1u < params.size) { y[i + 1u] = ${of("i + 1u")}; }`;

const once = madeOnce<CastKernel>();

/** y = x widened to f32; null for f32 itself. */
export function unpackKernel(name: WeightFormatName): CastKernel | null {
  const format = formatNamed(name);
  const { unpack, reading, block } = format;
  if (unpack === undefined) return null;
  return once(unpack, () => {
    const width = block % 4 === 0 ? 4 : 1;
    const functions = `${loadFunction(format, reading, "x", width)}\n`;
    return width === 4
      ? castKernel(unpack, stored(format, 4), words("vec4f"), 4, "y[block] = loadX(block);", functions)
      : castKernel(unpack, stored(format), words("f32"), 2, pair((i) => `loadX(${i})`), functions);
  });
}

/** y = x in the format; null where there is no conversion to it. */
export function packKernel(name: WeightFormatName): CastKernel | null {
  const format = formatNamed(name);
  const { pack, block } = format;
  if (pack === undefined) return null;
  return once(pack.kernel, () => castKernel(pack.kernel, words("f32"), stored(format), block, pack.text));
}

/** y = x as a float. */
export const intToFloat: CastKernel = castKernel(
  "intToFloat",
  words("i32"),
  words("f32"),
  2,
  pair((i) => `f32(x[${i}])`),
);

/** y = x truncated towards zero. */
export const floatToInt: CastKernel = castKernel(
  "floatToInt",
  words("f32"),
  words("i32"),
  2,
  pair((i) => `i32(x[${i}])`),
);

/** Every conversion. */
export function castKernels(): CastKernel[] {
  const names = Object.values(WEIGHT_FORMATS).map(({ name }) => name);
  return [...names.map(packKernel), ...names.map(unpackKernel), intToFloat, floatToInt]
    .filter((kernel) => kernel !== null);
}
