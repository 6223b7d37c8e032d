import {
  assert,
  assertAllClose,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import { join } from "@std/path";
import {
  fromFloat32,
  load,
  openSafetensors,
  safetensors,
  type SafetensorsDtype,
  SafetensorsError,
  type SafetensorsInput,
  serialize,
  toFloat32,
} from "../../io/safetensors.ts";
import type { FileSource } from "../../io/file_source.ts";

const FIXTURE = new URL("../fixtures/safetensors/python.safetensors", import.meta.url).pathname;

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("load() reads every dtype of a file written by Python's safetensors", async () => {
  // tests/oracle/safetensors_fixture.py
  const tensors = await load(FIXTURE);
  const get = (name: string) => tensors.get(name)!;
  const view = (name: string) => new DataView(get(name).data.buffer, get(name).data.byteOffset);
  assertEquals(tensors.size, 17);
  assertEquals(get("f32").dtype, "F32");
  assertEquals([...toFloat32("F32", get("f32").data)], [1.5, -0, Infinity, NaN, Math.fround(1e-40)]);
  assertEquals([...toFloat32("F16", get("f16").data)], [1.5, -0, 65504, 2 ** -24, Math.f16round(0.1)]);
  assertAllClose(toFloat32("BF16", get("bf16").data), [1.5, -0, 3e38, 1e-39, 0.1], {
    rtol: 2 ** -8,
    atol: 1e-41,
  });
  assertEquals([...toFloat32("F64", get("f64").data)], [Math.fround(0.1), -Infinity]);
  assertEquals([0, 8, 16, 24].map((at) => view("i64").getBigInt64(at, true)), [
    1n,
    -2n,
    2n ** 62n,
    -(2n ** 63n),
  ]);
  assertEquals([0, 4].map((at) => view("i32").getInt32(at, true)), [1, -2]);
  assertEquals([0, 2, 4].map((at) => view("i16").getInt16(at, true)), [1, -2, 3]);
  assertEquals([...get("i8").data], [1, 254, 3]);
  assertEquals([...get("u8").data], [0, 255, 7]);
  assertEquals([0, 2].map((at) => view("u16").getUint16(at, true)), [0, 65535]);
  assertEquals([0, 4].map((at) => view("u32").getUint32(at, true)), [0, 2 ** 32 - 1]);
  assertEquals([0, 8].map((at) => view("u64").getBigUint64(at, true)), [0n, 2n ** 63n]);
  assertEquals([...get("bool").data], [1, 0, 1]);
  assertEquals(get("scalar").shape, []);
  assertEquals(get("empty").shape, [0, 3]);
  assertEquals([...toFloat32("F32", get("é/\u{1f600}.\uffee").data)], [0, 1, 2, 3, 4, 5]);
  assertEquals(get('quote"back\\line\n').shape, [2]);
});

Deno.test("serialize() of what load() reads gives Python's file byte for byte", async () => {
  assertEquals(serialize(await load(FIXTURE), { format: "pt" }), await Deno.readFile(FIXTURE));
});

Deno.test("openSafetensors() reads path, bytes, Blob and source alike", async () => {
  const bytes = await Deno.readFile(FIXTURE);
  for (const input of [FIXTURE, bytes, new Blob([bytes]), bytes.buffer]) {
    const file = await openSafetensors(input);
    assertEquals(file.metadata, new Map([["format", "pt"]]));
    const { offset, ...info } = file.info("f32");
    assertEquals(info, { dtype: "F32", shape: [5], byteLength: 20 });
    const whole = await file.read("f32");
    assertEquals(whole, bytes.slice(offset, offset + 20));
    const chunks: number[] = [];
    const sizes: number[] = [];
    for await (const chunk of file.readChunks("f32", 8)) {
      chunks.push(...chunk);
      sizes.push(chunk.length);
    }
    assertEquals(sizes, [8, 8, 4]);
    assertEquals(chunks, [...whole]);
    await file.close();
  }
});

Deno.test("readChunks() puts a file's pieces into the room it is given, and into fresh memory where that is too small", async () => {
  const file = await openSafetensors(FIXTURE);
  const whole = await file.read("f32");
  for (const size of [8, 4]) {
    const room = new Uint8Array(size);
    const chunks: number[] = [];
    for await (const chunk of file.readChunks("f32", 8, room)) {
      assertEquals(chunk.buffer === room.buffer, chunk.length <= size);
      chunks.push(...chunk);
    }
    assertEquals(chunks, [...whole]);
  }
  await file.close();
});

Deno.test("openSafetensors() reads the header and one chunk, nothing more", async () => {
  const data = new Uint8Array(1 << 20).map((_, i) => i);
  const bytes = serialize({ w: { dtype: "U8", shape: [data.length], data } });
  const reads: number[] = [];
  const source: FileSource = {
    name: "counted",
    size: bytes.length,
    read(offset, length) {
      reads.push(length);
      return Promise.resolve(bytes.slice(offset, offset + length));
    },
    close: () => Promise.resolve(),
  };
  const file = await openSafetensors(source);
  assertEquals(reads, [8, bytes.length - data.length - 8]);
  let total = 0;
  for await (const chunk of file.readChunks("w", 65536)) total += chunk.length;
  assertEquals(total, data.length);
  assertEquals(Math.max(...reads), 65536);
});

Deno.test("openSafetensors() refuses 10 TB of declared data without allocating", async () => {
  const header = `{"a":{"dtype":"U8","shape":[10000000000000],"data_offsets":[0,10000000000000]}}`;
  const file = new Uint8Array(1024).fill(0x20);
  new DataView(file.buffer).setBigUint64(0, 1016n, true);
  file.set(new TextEncoder().encode(header), 8);
  const before = Deno.memoryUsage().rss;
  await assertRejects(() => openSafetensors(file), SafetensorsError, "truncated");
  assert(Deno.memoryUsage().rss - before < 16 << 20);
});

Deno.test("openSafetensors() refuses a file truncated at 64 places of its data, and names it", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "cut.safetensors");
    const bytes = serialize({ w: { dtype: "F32", shape: [2500, 100], data: new Float32Array(250_000) } });
    for (let i = 0; i < 64; i++) {
      await Deno.writeFile(path, bytes.subarray(0, Math.floor(bytes.length * i / 64)));
      const error = await assertRejects(() => openSafetensors(path), SafetensorsError);
      assertStringIncludes(error.message, "cut.safetensors");
    }
  });
});

Deno.test("SafetensorsFile.read() says when the file became shorter after it was opened", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "m.safetensors");
    await Deno.writeFile(path, serialize({ w: { dtype: "U8", shape: [100], data: new Uint8Array(100) } }));
    const file = await openSafetensors(path);
    await Deno.truncate(path, 100);
    await assertRejects(() => file.read("w"), Error, "became shorter");
    await file.close();
  });
});

Deno.test("SafetensorsFile.info() names a tensor that is not there", async () => {
  const file = await openSafetensors(FIXTURE);
  assertThrows(
    () => file.info("wte.weight"),
    RangeError,
    'Cannot read tensor "wte.weight": 17 other tensors',
  );
  await assertRejects(() => file.read("wte.weight"), RangeError);
  assertThrows(() => file.readChunks("wte.weight", 1), RangeError);
  await file.close();
});

Deno.test("safetensors.save() and safetensors.load() round-trip, with lazy data, crash-safe", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "out.safetensors");
    let live = 0;
    const lazy = (value: number) => () => {
      live++;
      return Promise.resolve(Float32Array.of(value, -value));
    };
    await safetensors.save(path, {
      b: { dtype: "F32", shape: [2], data: lazy(1) },
      a: { dtype: "F32", shape: [1, 2], data: lazy(2) },
    }, { format: "pt" });
    assertEquals(live, 2);
    const back = await safetensors.load(path);
    assertEquals([...back.keys()], ["a", "b"]);
    assertEquals([...toFloat32("F32", back.get("a")!.data)], [2, -2]);
    // data of the wrong size: the old file stays
    await assertRejects(
      () => safetensors.save(path, { a: { dtype: "F32", shape: [3], data: lazy(1) } }),
      Error,
      "its shape needs 12 bytes, received 8",
    );
    assertEquals((await safetensors.load(path)).size, 2);
    assertEquals([...Deno.readDirSync(folder)].map((entry) => entry.name), ["out.safetensors"]);
  });
});

Deno.test("serialize() refuses what the format cannot hold", () => {
  const entry = (shape: number[], bytes: number, dtype = "F32"): SafetensorsInput => ({
    dtype: dtype as SafetensorsDtype,
    shape,
    data: new Uint8Array(bytes),
  });
  assertThrows(
    () => serialize({ w: entry([2], 4) }),
    TypeError,
    'Cannot write tensor "w": dtype F32 and shape [2] need 8 bytes, received 4',
  );
  assertThrows(() => serialize({ w: entry([-1], 4) }), TypeError, "shape [-1]");
  assertThrows(() => serialize({ w: entry([0.5], 2) }), TypeError, "shape [0.5]");
  assertThrows(() => serialize({ w: entry([1], 4, "float32") }), TypeError, 'received "float32"');
  assertThrows(() => serialize({ "\ud800": entry([1], 4) }), TypeError, "well-formed name");
  assertThrows(() => serialize({ __metadata__: entry([1], 4) }), TypeError, "__metadata__");
  assertThrows(
    () => serialize({}, { a: 1 as unknown as string }),
    TypeError,
    'metadata must be strings, received a number for "a"',
  );
  assertThrows(
    () => serialize({ w: { dtype: "U8", shape: [0], data: () => new Uint8Array() } }),
    TypeError,
    "received a function",
  );
});

Deno.test("load() of serialize() is the identity on random tensors and names", async () => {
  const BYTES = {
    F64: 8,
    F32: 4,
    F16: 2,
    BF16: 2,
    I64: 8,
    I32: 4,
    I16: 2,
    I8: 1,
    U8: 1,
    U32: 4,
    U16: 2,
    U64: 8,
    BOOL: 1,
  };
  const entry = fc.tuple(
    fc.constantFrom(...Object.keys(BYTES) as (keyof typeof BYTES)[]),
    fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 }),
    fc.integer(),
  ).map(([dtype, shape, seed]) => ({
    dtype,
    shape,
    data: new Uint8Array(shape.reduce((a, b) => a * b, 1) * BYTES[dtype]).map((_, i) => seed + i * 37),
  }));
  const name = fc.string({ unit: "grapheme", maxLength: 12 }).filter((text) => text !== "__metadata__");
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(name, entry), { maxLength: 12 }),
      fc.array(fc.tuple(fc.string({ unit: "grapheme" }), fc.string({ unit: "binary" })), { maxLength: 4 }),
      async (pairs, fields) => {
        const entries = new Map(pairs);
        const metadata = new Map(fields.filter(([k, v]) => k.isWellFormed() && v.isWellFormed()));
        const bytes = serialize(entries, metadata);
        const file = await openSafetensors(bytes);
        assertEquals(new Map([...file.metadata].sort()), new Map([...metadata].sort()));
        const back = await load(bytes);
        assertEquals(back.size, entries.size);
        for (const [key, { dtype, shape, data }] of entries) {
          assertEquals(back.get(key)!.dtype, dtype);
          assertEquals(back.get(key)!.shape, shape);
          assertEquals([...back.get(key)!.data], [...data]);
        }
      },
    ),
    { numRuns: 300 },
  );
});

Deno.test("fromFloat32() rounds to the nearest half, ties to even, for every half and around it", () => {
  const bits = new Uint32Array(1);
  const value = new Float32Array(bits.buffer);
  const values: number[] = [];
  for (let half = 0; half < 0x7c00; half++) {
    const [low, high] = toFloat32("F16", new Uint8Array(Uint16Array.of(half, half + 1).buffer));
    value[0] = half === 0x7bff ? 65520 : (low! + high!) / 2; // the tie
    const middle = value[0]!;
    values.push(low!, middle);
    bits[0]! -= 1;
    values.push(value[0]!);
    bits[0]! += 2;
    values.push(value[0]!, -middle);
  }
  values.push(1e-40, 1.4e-45, 3.4e38, Infinity, -Infinity, 65519.996, 2 ** -25, 2 ** -26, 0, -0);
  const input = Float32Array.from(values);
  const output = toFloat32("F16", fromFloat32("F16", input));
  for (let i = 0; i < input.length; i++) {
    const expected = Math.f16round(input[i]!);
    assert(Object.is(output[i], expected), `${input[i]} gives ${output[i]}, expected ${expected}`);
  }
  assertEquals([...toFloat32("F16", fromFloat32("F16", Float32Array.of(NaN)))], [NaN]);
});

Deno.test("fromFloat32() rounds to the nearest bfloat16, ties to even", () => {
  const cases: [bits: number, half: number][] = [
    [0x3f800000, 0x3f80],
    [0x3f808000, 0x3f80], // tie, stays even
    [0x3f818000, 0x3f82], // tie, goes to even
    [0x3f808001, 0x3f81],
    [0x3f807fff, 0x3f80],
    [0x7f7fffff, 0x7f80], // rounds up to infinity
    [0x7f800000, 0x7f80],
    [0xff800000, 0xff80],
    [0x80000000, 0x8000],
    [0x00008001, 0x0001],
    [0x7f800001, 0x7fc0], // NaN keeps being NaN
    [0xffc00000, 0xffc0],
  ];
  for (const [bits, half] of cases) {
    const bytes = fromFloat32("BF16", new Float32Array(Uint32Array.of(bits).buffer));
    assertEquals(new Uint16Array(bytes.buffer)[0], half, bits.toString(16));
  }
});

Deno.test("toFloat32() takes bytes at any alignment and refuses other dtypes and torn elements", () => {
  const bytes = new Uint8Array(9);
  bytes.set(new Uint8Array(Float32Array.of(1.5, -2).buffer), 1);
  assertEquals([...toFloat32("F32", bytes.subarray(1))], [1.5, -2]);
  assertThrows(() => toFloat32("F32", bytes), RangeError, "a multiple of 4 bytes is required, received 9");
  assertThrows(
    () => toFloat32("I32", bytes.subarray(1)),
    TypeError,
    "F32, F16, BF16 or F64 is required, received I32",
  );
  assertThrows(() => fromFloat32("I32", Float32Array.of(1)), TypeError, "received I32");
});
