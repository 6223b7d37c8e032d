/**
 * Weights that bitsandbytes quantised, in safetensors files: codes under the weight's own name, scales and what describes
 * them beside it. Source: QuantState.as_dict and Linear8bitLt of bitsandbytes 0.50.
 * @module
 */
import {
  type BitsandbytesFormatName,
  loadQuantizedFormats,
  packBitsandbytes,
  type Shape,
  showShape,
} from "../autograd/mod.ts";
import type { Bytes } from "../io/file_source.ts";
import { parseJson } from "../io/json.ts";
import type { TensorReader } from "../io/safetensors.ts";

/** One quantised weight. */
export interface BitsandbytesWeight {
  readonly type: BitsandbytesFormatName;
  /** [out, in] */
  readonly shape: Shape;
  /** What keeps it from being read, or null. */
  readonly problem: string | null;
  /** Its bytes in the format. */
  read(): Promise<Bytes>;
}

/** The weights of a checkpoint that are quantised, by their names, and the names of what belongs to them. */
export interface BitsandbytesWeights {
  readonly weights: ReadonlyMap<string, BitsandbytesWeight>;
  readonly parts: ReadonlySet<string>;
}

const STATE = /^(.*)\.quant_state\.bitsandbytes__(\w+)$/;
const PARTS = ["absmax", "quant_map", "nested_absmax", "nested_quant_map"];

const floats = (bytes: Bytes) => new Float32Array(bytes.slice().buffer);

/** A weight of 4 bits per number, from the description that the file has of it. */
async function fourBits(reader: TensorReader, name: string, state: string): Promise<BitsandbytesWeight> {
  const described = parseJson(new TextDecoder().decode(await reader.read(state))) as Record<string, unknown>;
  const { quant_type: kind, blocksize, nested_blocksize: nestedSize, nested_offset: offset } = described;
  const nested = nestedSize !== undefined;
  const given = described.shape;
  const shape: Shape =
    Array.isArray(given) && given.length === 2 && given.every((n) => Number.isSafeInteger(n) && n > 0)
      ? given
      : [0, 0];
  const size = shape[0] * shape[1];
  const blocks = Math.ceil(size / 64);
  const bytesOf = (part: string) => reader.has(part) ? reader.info(part).byteLength : undefined;
  /** What the file must have, and in how many bytes. */
  const expected: [part: string, bytes: number][] = [
    [name, size / 2],
    [`${name}.absmax`, nested ? blocks : 4 * blocks],
    ...(nested ? [[`${name}.nested_absmax`, 4 * Math.ceil(blocks / 256)] as [string, number]] : []),
  ];
  const problems: string[] = [];
  if (kind !== "nf4" && kind !== "fp4") {
    problems.push(`quant_type must be "nf4" or "fp4", found ${JSON.stringify(kind)}`);
  }
  if (blocksize !== 64) problems.push(`blocksize must be 64, found ${JSON.stringify(blocksize)}`);
  if (nested && nestedSize !== 256) {
    problems.push(`nested_blocksize must be 256, found ${JSON.stringify(nestedSize)}`);
  }
  if (nested && typeof offset !== "number") problems.push("nested_offset is required");
  if (size === 0) problems.push(`shape must be [out, in], found ${JSON.stringify(given)}`);
  for (const [part, bytes] of size === 0 ? [] : expected) {
    const found = bytesOf(part);
    if (found === bytes) continue;
    problems.push(
      `${part.slice(name.length + 1) || "codes"} of ${bytes} bytes are required for ${
        showShape(shape)
      }, found ${found ?? "none"}`,
    );
  }
  return {
    type: `${kind === "fp4" ? "fp4" : "nf4"}${nested ? "_double" : ""}` as BitsandbytesFormatName,
    shape,
    problem: problems.length === 0 ? null : `has a quant_state that does not fit: ${problems.join("; ")}`,
    read: async () => {
      const scales = await reader.read(`${name}.absmax`);
      const factors = nested ? floats(await reader.read(`${name}.nested_absmax`)) : undefined;
      const type = `${kind}${nested ? "_double" : ""}` as BitsandbytesFormatName;
      const codes = await reader.read(name);
      return packBitsandbytes(type, shape, {
        codes,
        scales: nested ? scales : floats(scales),
        factors,
        offset: nested ? offset as number : undefined,
      });
    },
  };
}

/** A weight of int8, with the greatest magnitude of each row. */
function eightBits(reader: TensorReader, name: string, scales: string): BitsandbytesWeight {
  const { shape } = reader.info(name);
  const rows = reader.info(scales);
  const fits = rows.dtype === "F32" && rows.byteLength === 4 * shape[0];
  return {
    type: "int8",
    shape,
    problem: fits
      ? null
      : `needs SCB of ${4 * shape[0]} bytes of F32, found ${rows.byteLength} of ${rows.dtype}`,
    read: async () =>
      packBitsandbytes("int8", shape, {
        codes: await reader.read(name),
        scales: floats(await reader.read(scales)),
      }),
  };
}

/** Finds what is quantised in a checkpoint; reads the descriptions alone. */
export async function findBitsandbytes(reader: TensorReader): Promise<BitsandbytesWeights> {
  await loadQuantizedFormats();
  const weights = new Map<string, BitsandbytesWeight>();
  const parts = new Set<string>();
  for (const key of reader.names()) {
    const [, name] = STATE.exec(key) ?? [];
    if (name !== undefined && reader.has(name)) {
      weights.set(name, await fourBits(reader, name, key));
      for (const part of [key, ...PARTS.map((end) => `${name}.${end}`)]) parts.add(part);
    } else if (key.endsWith(".SCB")) {
      const weight = key.replace(/SCB$/, "weight");
      if (!reader.has(weight) || reader.info(weight).dtype !== "I8") continue;
      weights.set(weight, eightBits(reader, weight, key));
      parts.add(key).add(`${weight}_format`);
    }
  }
  return { weights, parts };
}
