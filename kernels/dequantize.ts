/**
 * Numbers of GGUF's block formats as f32. Blocks are read as the file has them: of 18, 20, 34, … bytes, so that most begin
 * inside a word. Products of a scale and a code are exact in f32, which makes the values those of ggml to the bit.
 * Source of the layouts: ggml-common.h and dequantize_row_* in ggml-quants.c.
 * @module
 */

import { groupsFor, type KernelSpec } from "./kernel_spec.ts";

/** A format: its block, and element `i` of the block that begins at byte `at`, as WGSL. */
interface BlockFormat {
  readonly elements: number;
  readonly bytes: number;
  readonly value: string;
}

/** The code of element i where a block of 32 has its low nibbles first, then the high ones. */
const NIBBLE = (from: number) => `(byte(at + ${from}u + (i & 15u)) >> (4u * (i >> 4u))) & 15u`;
/** The fifth bit of element i, in the 32 bits that begin at byte `from` of the block. */
const FIFTH = (from: number) => `((byte(at + ${from}u + (i >> 3u)) >> (i & 7u)) & 1u) << 4u`;

/** Scale and minimum of a sub-block of 32 of Q4_K and Q5_K: 6 bits each, packed into 12 bytes. */
const K_SCALES = `
  let s = i >> 5u;
  var scale = 0u;
  var low = 0u;
  if (s < 4u) {
    scale = byte(at + 4u + s) & 63u;
    low = byte(at + 8u + s) & 63u;
  } else {
    scale = (byte(at + 8u + s) & 15u) | ((byte(at + s) >> 6u) << 4u);
    low = (byte(at + 8u + s) >> 4u) | ((byte(at + 4u + s) >> 6u) << 4u);
  }
  let d = half(at) * f32(scale);
  let m = half(at + 2u) * f32(low);`;

const FORMATS = {
  F16: { elements: 1, bytes: 2, value: "return half(at);" },
  BF16: { elements: 1, bytes: 2, value: "return bitcast<f32>((byte(at) << 16u) | (byte(at + 1u) << 24u));" },
  Q4_0: {
    elements: 32,
    bytes: 18,
    value: `return half(at) * (f32(${NIBBLE(2)}) - 8.0);`,
  },
  Q4_1: {
    elements: 32,
    bytes: 20,
    value: `return half(at) * f32(${NIBBLE(4)}) + half(at + 2u);`,
  },
  Q5_0: {
    elements: 32,
    bytes: 22,
    value: `return half(at) * (f32((${NIBBLE(6)}) | (${FIFTH(2)})) - 16.0);`,
  },
  Q5_1: {
    elements: 32,
    bytes: 24,
    value: `return half(at) * f32((${NIBBLE(8)}) | (${FIFTH(4)})) + half(at + 2u);`,
  },
  Q8_0: {
    elements: 32,
    bytes: 34,
    value: "return half(at) * signed(at + 2u + i);",
  },
  Q4_K: {
    elements: 256,
    bytes: 144,
    value: `${K_SCALES}
  let code = (byte(at + 16u + 32u * (i >> 6u) + (i & 31u)) >> (4u * (s & 1u))) & 15u;
  return d * f32(code) - m;`,
  },
  Q5_K: {
    elements: 256,
    bytes: 176,
    value: `${K_SCALES}
  let nibble = (byte(at + 48u + 32u * (i >> 6u) + (i & 31u)) >> (4u * (s & 1u))) & 15u;
  let fifth = (byte(at + 16u + (i & 31u)) >> s) & 1u;
  return d * f32(nibble | (fifth << 4u)) - m;`,
  },
  Q6_K: {
    elements: 256,
    bytes: 210,
    value: `
  let h = i >> 7u;
  let part = (i & 127u) >> 5u;
  let l = i & 31u;
  let lower = (byte(at + 64u * h + 32u * (part & 1u) + l) >> (4u * (part >> 1u))) & 15u;
  let upper = (byte(at + 128u + 32u * h + l) >> (2u * part)) & 3u;
  return half(at + 208u) * signed(at + 192u + (i >> 4u)) * (f32(lower | (upper << 4u)) - 32.0);`,
  },
  IQ4_NL: {
    elements: 32,
    bytes: 18,
    value: `return half(at) * IQ4_VALUES[${NIBBLE(2)}];`,
  },
} as const satisfies Readonly<Record<string, BlockFormat>>;

/** Block formats that can be computed with. */
export type DequantizeFormat = keyof typeof FORMATS;

/** Their names. */
export const DEQUANTIZE_FORMATS: readonly DequantizeFormat[] = Object.keys(FORMATS) as DequantizeFormat[];

/** Elements and bytes of a block. */
export function blockOf(format: DequantizeFormat): { readonly elements: number; readonly bytes: number } {
  return FORMATS[format];
}

/** y[i] = element i of `blocks`, for `size` elements. */
export type DequantizeKernel = KernelSpec<"blocks" | "y", "size", "WORKGROUP_SIZE">;

/** Elements that a thread computes. */
const PER_THREAD = 4;

function make(name: DequantizeFormat): DequantizeKernel {
  const { elements, bytes, value } = FORMATS[name];
  return {
    name: `dequantize${name}`,
    buffers: { blocks: "read", y: "read_write" },
    params: { size: "u32" },
    tuning: { WORKGROUP_SIZE: 64 },
    grid: ({ size }, { WORKGROUP_SIZE }) => [groupsFor(Math.ceil(size / PER_THREAD), WORKGROUP_SIZE)],
    wgsl: /* wgsl */ `
override WORKGROUP_SIZE: u32 = 64u;
struct Params { size: u32 }
@group(0) @binding(0) var<storage, read> blocks: array<u32>; // [size / ${elements}] blocks of ${bytes} bytes
@group(0) @binding(1) var<storage, read_write> y: array<f32>; // [size]
@group(0) @binding(2) var<uniform> params: Params;
${
      name === "IQ4_NL"
        ? `const IQ4_VALUES = array<f32, 16>(
  -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0);`
        : ""
    }
fn byte(at: u32) -> u32 { return (blocks[at >> 2u] >> (8u * (at & 3u))) & 0xffu; }
fn half(at: u32) -> f32 { return unpack2x16float(byte(at) | (byte(at + 1u) << 8u)).x; }
fn signed(at: u32) -> f32 { return f32(i32(byte(at) << 24u) >> 24u); }
fn value(at: u32, i: u32) -> f32 { ${value} }

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
  @builtin(local_invocation_id) lid: vec3u) {
  let first = ((wid.x + wid.y * nwg.x) * WORKGROUP_SIZE + lid.x) * ${PER_THREAD}u;
  let end = min(first + ${PER_THREAD}u, params.size);
  for (var i = first; i < end; i++) {
    y[i] = value(i / ${elements}u * ${bytes}u, i % ${elements}u);
  }
}
`,
  };
}

const kernels = new Map(DEQUANTIZE_FORMATS.map((name) => [name, make(name)]));

/** The kernel of a block format. */
export function dequantizeKernel(format: DequantizeFormat): DequantizeKernel {
  return kernels.get(format)!;
}
