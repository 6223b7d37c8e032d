/**
 * How the numbers of a weight are stored, as plain data: everything that products, embeddings, conversions and windows
 * need to know of a format. A new format is one file like `f16.ts` and its entry in `mod.ts`.
 * @module
 */

/** One buffer of a format: the numbers themselves, or what belongs to whole blocks of them, such as scales. */
export interface WeightBuffer {
  /** Ending of the buffer's name in kernels, "" for the numbers. */
  readonly suffix: string;
  /** Neighbouring elements of a row that share one unit of this buffer. */
  readonly elements: number;
  /** Bytes of that unit. */
  readonly bytes: number;
  /** What it holds, for the comment at its binding; "" where the shape is enough. */
  readonly note: string;
  /** Whether its last unit is whole, however few elements it serves; default false. */
  readonly whole?: boolean;
}

/** Threads between which a table of 16 is spread: each holds two of its numbers. */
export const TABLE_THREADS = 8;

/** How WGSL reads a format: one number at a time (1), or four neighbours at once (4). */
export interface WeightReading {
  /** Part of the names of kernels. */
  readonly name: string;
  /** WGSL feature that the program must enable, and the device must have. */
  readonly feature?: { readonly wgsl: string; readonly device: string };
  /** Type of an array element, for each buffer of the format. */
  types(width: 1 | 4): readonly string[];
  /**
   * Body of a function of `i: u32`: returns element i as f32, or elements 4 i to 4 i + 3 as vec4f.
   * @param buffers names of the format's buffers in this kernel
   */
  body(width: 1 | 4, buffers: readonly string[]): string;
  /**
   * Functions that the body calls, named after a buffer, so that a kernel may have two operands of one format.
   * @param spread whether tables are spread over the registers of a subgroup
   */
  functions?(buffers: readonly string[], spread?: boolean): string;
  /**
   * Whether it has a table, which the `TABLE_THREADS` of a subgroup can hold between them: then each of them calls
   * `start_<buffer>(lane)` before any other function, and all of them call together.
   */
  readonly table?: boolean;
  /** What neighbours share, which kernels read once for all of them; absent: nothing. */
  readonly shared?: SharedPart;
}

/**
 * A scale, or whatever else neighbours of a row share: `fn shared_<buffer>(i: u32)` reads that of elements 4 i to 4 i + 3,
 * and `fn four_<buffer>(i: u32, s: <type>) -> vec4f` gives these elements by it. Kernels that walk along rows take a whole
 * group in pieces: `fn group_<buffer>(i: u32)` reads what the group that begins at element 4 i shares,
 * `fn piece_<buffer>(i: u32, p: u32, n: u32)` the words of its piece p + n, n a constant, and
 * `fn quad_<buffer>(w: <words>, s: <group type>, p: u32, t: u32) -> vec4f` gives quad t of that piece.
 */
export interface SharedPart {
  /** Neighbours that share what `shared` reads: a multiple of 16, and a divisor of the format's block. */
  readonly elements: number;
  /** Its WGSL type. */
  readonly type: string;
  readonly pieces: Pieces;
}

/** How a group is read along a row: each word of codes once. */
export interface Pieces {
  /** Neighbours of a group, a divisor of the format's block. */
  readonly elements: number;
  /** WGSL type of what they share. */
  readonly type: string;
  /** WGSL type of a piece's words. */
  readonly words: string;
  /** Quads of a piece. */
  readonly quads: 2 | 4;
  /** Quad t of piece p is quad `p * place[0] + t * place[1]` of the group. */
  readonly place: readonly [piece: number, quad: number];
}

/** Host arrays that hold a format's bytes. */
export type WeightArray = "Float32Array" | "Uint8Array" | "Uint16Array" | "Uint32Array";

/** A way to store weights. Rows are dense; each consists of whole blocks. */
export interface WeightFormat<Name extends string = string> {
  /** Part of the names of kernels and of the classes of tuned shapes. */
  readonly name: Name;
  /** Elements that belong together: the last size of a shape is a multiple of it. */
  readonly block: number;
  /** Elements of a whole tensor are a multiple of it; absent: those of its rows are enough. */
  readonly total?: number;
  /** The numbers first. They lie in one piece of memory, each buffer from a multiple of 256 bytes on. */
  readonly buffers: readonly WeightBuffer[];
  readonly reading: WeightReading;
  /** Another way to read it, the same numbers, where the device has its feature. */
  readonly native?: WeightReading;
  /** What holds its bytes on the host. */
  readonly array: WeightArray;
  /** Whether a number of that array stands for an infinity or NaN; absent where its numbers cannot be told one by one. */
  isBroken?(value: number): boolean;
  /** The element type of safetensors with the same bytes, in which it is saved; absent: it is saved as F32. */
  readonly file?: "F32" | "F16" | "BF16";
  /**
   * WGSL that writes one block of `y` from the f32 array `x`: statements in which `block` numbers the block and `i` is
   * its first element, of `params.size`; then, after a closing brace, functions. Absent where there is no such
   * conversion, or none is needed.
   */
  readonly pack?: { readonly kernel: string; readonly text: string };
  /** Name of the kernel that turns it into f32; absent where it is f32. */
  readonly unpack?: string;
  /** What a shape must fulfil, for messages; "" where any will do. */
  readonly rule: string;
}

/** Whether a shape can be stored: whole blocks in each row. */
export function fitsFormat({ block, total = 1 }: WeightFormat, shape: readonly number[]): boolean {
  return (shape.at(-1) ?? 1) % block === 0 && (total === 1 || shape.reduce((a, b) => a * b, 1) % total === 0);
}

/** Bytes that `count` elements take in one buffer. */
export function bytesIn({ elements, bytes, whole }: WeightBuffer, count: number): number {
  return whole ? Math.ceil(count / elements) * bytes : Math.ceil(count * bytes / elements);
}

const greatestDivisor = (a: number, b: number): number => b === 0 ? a : greatestDivisor(b, a % b);

/**
 * The fewest rows of `length` elements after which every buffer is at a multiple of 256 bytes, where a binding may begin:
 * the rows of windows are a multiple of it.
 */
export function rowStep({ buffers }: Pick<WeightFormat, "buffers">, length: number): number {
  let step = 1;
  for (const { elements, bytes } of buffers) {
    const unit = elements * 256 / greatestDivisor(256, bytes); // elements between two such places
    const rows = unit / greatestDivisor(unit, length);
    step *= rows / greatestDivisor(step, rows);
  }
  return step;
}

/** Where each buffer of a tensor of `size` elements begins and ends in its memory, in bytes. */
export function sectionsOf({ buffers }: WeightFormat, size: number): { offset: number; bytes: number }[] {
  let end = 0;
  return buffers.map((buffer) => {
    const offset = Math.ceil(end / 256) * 256;
    const bytes = bytesIn(buffer, size);
    end = offset + bytes;
    return { offset, bytes };
  });
}

/** Bytes of a tensor of `size` elements, all its buffers. */
export function formatBytes(format: WeightFormat, size: number): number {
  if (format.buffers.length === 1) return bytesIn(format.buffers[0], size);
  const { offset, bytes } = sectionsOf(format, size).at(-1)!;
  return offset + bytes;
}

/** Names of the format's buffers in a kernel whose operand is `name`. */
export function bufferNames({ buffers }: WeightFormat, name: string): string[] {
  return buffers.map(({ suffix }) => `${name}${suffix}`);
}

/** Whether its rows are shorter than those of f32. */
export function isCompact({ buffers }: WeightFormat): boolean {
  return buffers[0].bytes < 4 * buffers[0].elements;
}

/**
 * The function `fn load<Name>(i: u32)` of a reading, and what it calls.
 * @param spread whether tables are spread over the registers of a subgroup
 */
export function loadFunction(
  format: WeightFormat,
  reading: WeightReading,
  name: string,
  width: 1 | 4,
  spread = false,
): string {
  const type = width === 4 ? "vec4f" : "f32";
  const buffers = bufferNames(format, name);
  const functions = reading.functions?.(buffers, spread) ?? "";
  const load = `load${name[0].toUpperCase()}${name.slice(1)}`;
  return `${functions}fn ${load}(i: u32) -> ${type} { ${reading.body(width, buffers)} }`;
}
