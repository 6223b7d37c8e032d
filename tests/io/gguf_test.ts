import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { FileSource } from "../../io/file_source.ts";
import { GgufError, HeaderIsLonger, parseGgufHeader } from "../../io/gguf_header.ts";
import { openGguf } from "../../io/gguf_reader.ts";
import { GGML_TYPES, ggmlTypeOf } from "../../io/gguf_types.ts";
import { ggufFile, type SmallTensor, type SmallValue } from "../reference/gguf_bytes.ts";

const text = (value: string): SmallValue => [8, (out) => void out.string(value)];
const u32 = (value: number): SmallValue => [4, (out) => void out.u32(value)];

/** Every type of value. */
const METADATA: Readonly<Record<string, SmallValue>> = {
  "general.architecture": text("llama"),
  "a.u8": [0, (out) => void out.raw(255)],
  "a.i8": [1, (out) => void out.raw(255)],
  "a.u16": [2, (out) => void out.raw(1, 2)],
  "a.i16": [3, (out) => void out.raw(0xfe, 0xff)],
  "a.u32": u32(4_000_000_000),
  "a.i32": [5, (out) => void out.u32(0xffffffff)],
  "a.f32": [6, (out) => void out.f32(1e-5)],
  "a.bool": [7, (out) => void out.raw(1)],
  "a.u64": [10, (out) => void out.u64(2 ** 40)],
  "a.large": [10, (out) => void out.u64(2n ** 63n)],
  "a.i64": [11, (out) => void out.u64(2n ** 64n - 3n)],
  "a.f64": [12, (out) => void out.raw(0, 0, 0, 0, 0, 0, 0xf8, 0x3f)],
  "a.words": [9, (out) => void out.u32(8).u64(2).string("Ġt").string("")],
  "a.scores": [9, (out) => void out.u32(6).u64(2).f32(0.5).f32(-1)],
  "a.flags": [9, (out) => void out.u32(7).u64(2).raw(0, 1)],
  "a.nested": [9, (out) => void out.u32(9).u64(1).u32(5).u64(2).u32(7).u32(0xffffffff)],
};
const TENSORS: readonly SmallTensor[] = [
  { name: "norm.weight", type: "F32", shape: [3], data: new Uint8Array(12).fill(7) },
  { name: "blk.0.w", type: "Q8_0", shape: [2, 64], data: Uint8Array.from({ length: 136 }, (_, i) => i) },
  { name: "scalar", type: "F16", shape: [], data: new Uint8Array([0, 0x3c]) },
];
const parse = (bytes: Uint8Array<ArrayBuffer>) => parseGgufHeader(bytes, bytes.length, "m.gguf");

Deno.test("openGguf() reads every type of value, and tensors with their shapes in PyTorch's order", async () => {
  for (const version of [2, 3]) {
    for (const alignment of [32, 64]) {
      const metadata = { ...METADATA, "general.alignment": u32(alignment) };
      await using file = await openGguf(ggufFile(metadata, TENSORS, { version, alignment }));
      const { metadata: read } = file;
      assertEquals(read.get("general.architecture"), "llama");
      const scalars = ["u8", "i8", "u16", "i16", "u32", "i32", "bool", "u64", "i64", "f64"];
      assertEquals(scalars.map((name) => read.get(`a.${name}`)), [
        255,
        -1,
        513,
        -2,
        4_000_000_000,
        -1,
        true,
        2 ** 40,
        -3,
        1.5,
      ]);
      assertEquals(read.get("a.f32"), Math.fround(1e-5));
      assertEquals(read.get("a.large"), 2n ** 63n);
      assertEquals(read.get("a.words"), ["Ġt", ""]);
      assertEquals(read.get("a.scores"), new Float32Array([0.5, -1]));
      assertEquals(read.get("a.flags"), [false, true]);
      assertEquals(read.get("a.nested"), [new Int32Array([7, -1])]);
      for (const { name, type, shape, data } of TENSORS) {
        const info = file.tensors.get(name)!;
        assertEquals([info.type, info.shape, info.byteLength], [type, shape, data.length]);
        assertEquals(info.offset % alignment, 0);
        assertEquals(await file.read(name), data);
        const pieces: number[] = [];
        for await (const piece of file.readChunks(name, 50)) pieces.push(...piece);
        assertEquals(pieces, [...data]);
      }
      await assertRejects(() => file.read("none"), RangeError, 'Cannot read tensor "none": 3 other tensors');
    }
  }
});

Deno.test("openGguf() reads a header that is longer than the first read", async () => {
  const words = 700_000;
  const metadata = {
    ...METADATA,
    "tokenizer.ggml.tokens": [9, (out) => {
      out.u32(8).u64(words);
      for (let i = 0; i < words; i++) out.string("");
    }] as SmallValue,
  };
  const bytes = ggufFile(metadata, TENSORS);
  assert(bytes.length > 5_000_000);
  const reads: number[] = [];
  const source: FileSource = {
    name: "m.gguf",
    size: bytes.length,
    read: (offset, length) => {
      reads.push(length);
      return Promise.resolve(bytes.slice(offset, offset + length));
    },
    close: () => Promise.resolve(),
  };
  const file = await openGguf(source);
  assertEquals((file.metadata.get("tokenizer.ggml.tokens") as string[]).length, words);
  assertEquals(reads, [4 * 1024 * 1024, bytes.length]);
});

/** Bytes of a file with other numbers in some places. */
function edited(change: (view: DataView, bytes: Uint8Array<ArrayBuffer>) => void): Uint8Array<ArrayBuffer> {
  const bytes = ggufFile(METADATA, TENSORS);
  change(new DataView(bytes.buffer), bytes);
  return bytes;
}

/** Where a string of the file begins, after its length. */
function placeOf(bytes: Uint8Array, wanted: string): number {
  return new TextDecoder("latin1").decode(bytes).indexOf(wanted);
}

Deno.test("parseGgufHeader() refuses what the format does not allow, and says what and where", () => {
  const cases: [bytes: Uint8Array<ArrayBuffer>, message: string][] = [
    [edited((view) => view.setUint8(0, 0)), 'a GGUF file begins with "GGUF", this one does not'],
    [edited((view) => view.setUint32(4, 1, true)), "version 2 or 3 is required, received 1"],
    [edited((view) => view.setUint32(4, 3, false)), "big-endian GGUF files are not supported"],
    [
      edited((view) => view.setBigUint64(8, 2n ** 60n, true)),
      "the number of tensors is 1152921504606846976, more than",
    ],
    [
      edited((view) => view.setBigUint64(16, 2n ** 60n, true)),
      "the number of metadata entries is 1152921504606846976",
    ],
    [
      edited((view) => view.setBigUint64(24, 2n ** 63n, true)),
      "the length of the key of metadata entry 0 is",
    ],
    [
      edited((view, bytes) => view.setUint32(placeOf(bytes, "a.u8") + 4, 13, true)),
      '"a.u8" has the unknown value type 13',
    ],
    [
      edited((view, bytes) => view.setUint8(placeOf(bytes, "a.bool") + 10, 2)),
      '"a.bool" must be 0 or 1 as a bool',
    ],
    [
      edited((view, bytes) => view.setBigUint64(placeOf(bytes, "a.words") + 15, 400n, true)),
      '"a.words" has 400 elements, more than the rest of the file can hold',
    ],
    [
      edited((view, bytes) => view.setUint32(placeOf(bytes, "a.words") + 11, 77, true)),
      '"a.words" has the unknown element type 77',
    ],
    [
      edited((_, bytes) => bytes.set([0xff, 0xfe], placeOf(bytes, "llama"))),
      '"general.architecture" is not UTF-8',
    ],
    [
      edited((_, bytes) => bytes.set([0x75, 0x38], placeOf(bytes, "a.i8") + 2)),
      'the metadata names "a.u8" twice',
    ],
    [
      edited((view, bytes) => view.setUint32(placeOf(bytes, "blk.0.w") + 7, 5, true)),
      'tensor "blk.0.w" has 5 dimensions, at most 4',
    ],
    [
      edited((view, bytes) => view.setBigUint64(placeOf(bytes, "blk.0.w") + 11, 33n, true)),
      'tensor "blk.0.w" of Q8_0 must have rows of a multiple of 32 elements, received 33',
    ],
    [
      edited((view, bytes) => view.setBigUint64(placeOf(bytes, "blk.0.w") + 11, 2n ** 52n, true)),
      'tensor "blk.0.w" of shape [2,4503599627370496]',
    ],
    [
      edited((view, bytes) => view.setBigUint64(placeOf(bytes, "blk.0.w") + 19, 0n, true)),
      'tensor "blk.0.w" of shape [0,64] has no elements',
    ],
    [
      edited((view, bytes) => view.setUint32(placeOf(bytes, "blk.0.w") + 27, 99, true)),
      'tensor "blk.0.w" has the unknown number format 99',
    ],
    [
      edited((view, bytes) => view.setBigUint64(placeOf(bytes, "blk.0.w") + 31, 33n, true)),
      'the offset of tensor "blk.0.w" must be a multiple of 32, received 33',
    ],
    [
      edited((view, bytes) => view.setBigUint64(placeOf(bytes, "blk.0.w") + 31, 0n, true)),
      'tensors "norm.weight" and "blk.0.w" share bytes',
    ],
    [
      edited((view, bytes) => view.setBigUint64(placeOf(bytes, "blk.0.w") + 31, 32000n, true)),
      'tensor "blk.0.w" needs bytes',
    ],
    [
      ggufFile({ "general.alignment": u32(12) }, TENSORS),
      "general.alignment must be a multiple of 8, received 12",
    ],
    [ggufFile({}, [TENSORS[0], TENSORS[0]]), 'the file names tensor "norm.weight" twice'],
    [
      ggufFile({}, [{ ...TENSORS[0], name: "x".repeat(64) }]),
      "the name of tensor 0 has 64 bytes, at most 63",
    ],
    [ggufFile({ ["k".repeat(65_536)]: u32(1) }, []), "the key of metadata entry 0 has 65536 bytes"],
    [
      ggufFile({
        deep: [9, (out) => void out.u32(9).u64(1).u32(9).u64(1).u32(9).u64(1).u32(9).u64(1).u32(4).u64(0)],
      }, []),
      "nested more than 4 deep",
    ],
    [new Uint8Array(3), "the file ends at byte 3, inside the first four bytes"],
  ];
  for (const [bytes, message] of cases) {
    const error = assertThrows(() => parse(bytes), GgufError, message);
    assert(error.message.startsWith('Cannot read "m.gguf": '), error.message);
  }
});

Deno.test("parseGgufHeader() refuses every file that is cut short, and asks for more where the file is longer", () => {
  const bytes = ggufFile(METADATA, TENSORS);
  for (let length = 0; length < bytes.length; length++) {
    assertThrows(() => parse(bytes.slice(0, length)), GgufError, "Cannot read");
  }
  const { offset } = parse(bytes).tensors.get("norm.weight")!;
  assertThrows(() => parseGgufHeader(bytes.slice(0, 100), bytes.length, "m.gguf"), HeaderIsLonger);
  assertEquals(parseGgufHeader(bytes.slice(0, offset), bytes.length, "m.gguf"), parse(bytes));
});

Deno.test("parseGgufHeader() accepts or refuses damaged files by name, and nothing else happens", () => {
  const whole = ggufFile(METADATA, TENSORS);
  const place = fc.integer({ min: 0, max: whole.length - 1 });
  const change = fc.array(fc.tuple(place, fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(change, (changes) => {
      const bytes = whole.slice();
      for (const [at, value] of changes) bytes[at] = value;
      try {
        for (const { offset, byteLength } of parse(bytes).tensors.values()) {
          assert(offset + byteLength <= bytes.length);
        }
      } catch (error) {
        assert(error instanceof GgufError, String(error));
      }
    }),
    { numRuns: 3000 },
  );
});

Deno.test("GGML_TYPES has each number once, and ggmlTypeOf() finds them", () => {
  const names = Object.keys(GGML_TYPES) as (keyof typeof GGML_TYPES)[];
  for (const name of names) assertEquals(ggmlTypeOf(GGML_TYPES[name].id), name);
  assertEquals(ggmlTypeOf(4), undefined);
});
