import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { openSafetensors, SafetensorsError, serialize } from "../../io/safetensors.ts";
import { readPlainHeader } from "../../io/safetensors_header.ts";
import { readStrictHeader } from "../../io/safetensors_strict_header.ts";

const encoder = new TextEncoder();
const ENTRY = `{"dtype":"F32","shape":[1],"data_offsets":[0,4]}`;
const withSizes = (shape: string, offsets: string) =>
  `{"a":{"dtype":"F32","shape":${shape},"data_offsets":${offsets}}}`;

/** The JSON of a header that is written here. */
function headerOf(names: readonly string[], metadata?: Record<string, string>): Uint8Array {
  const file = serialize(
    new Map(names.map((name) => [name, { dtype: "F32", shape: [1, 2], data: new Float32Array(2) }])),
    metadata,
  );
  return file.subarray(8, 8 + new DataView(file.buffer).getUint32(0, true));
}

Deno.test("readPlainHeader() reads what serialize() writes, as readStrictHeader() does", () => {
  const names = [
    "h.0.attn.c_attn.weight",
    "__proto__",
    "constructor",
    "Gr\u00fc\u00dfe \ud83d\ude00",
    'a"\\\n\u0001',
    "",
  ];
  for (
    const json of [headerOf(names, { format: "pt", ["__proto__"]: "x" }), headerOf([]), headerOf(["1", "2"])]
  ) {
    assertEquals(readPlainHeader(json), readStrictHeader(json, "a"));
  }
});

/** Valid headers whose value `JSON.parse` gives is not what they say, or of which it does not show that. */
const VALID = {
  "names of digits that are not in order": `{"2":${ENTRY},"1":${ENTRY}}`,
  "escapes that need not be": `{"\\u0061":${ENTRY}}`,
  "spaces between tokens": `{"a": ${ENTRY}}`,
  "spaces at the front": ` {"a":${ENTRY}}`,
  "a field of its own": `{"a":{"x":1,${ENTRY.slice(1)}}`,
  "metadata that is null": `{"__metadata__":null,"a":${ENTRY}}`,
};
for (const [name, text] of Object.entries(VALID)) {
  Deno.test(`readPlainHeader() leaves ${name} to readStrictHeader()`, () => {
    const json = encoder.encode(text);
    assertEquals(readPlainHeader(json), undefined);
    assertEquals(readStrictHeader(json, "a").entries.length, text.split("dtype").length - 1);
  });
}

/** Texts that both `JSON.parse` and `JSON.stringify` may let through, and that are no headers. */
const REFUSED = {
  "a list": `[${ENTRY}]`,
  "an empty list": "[]",
  "an empty text": '""',
  "a number": "5",
  "null": "null",
  "an entry that is a list": `{"a":["F32",[1],[0,4]]}`,
  "an entry that is null": `{"a":null}`,
  "metadata that is a text": `{"__metadata__":"pt","a":${ENTRY}}`,
  "metadata that is a list": `{"__metadata__":["pt"],"a":${ENTRY}}`,
  "metadata with a number": `{"__metadata__":{"a":1},"a":${ENTRY}}`,
  "a name that is there twice": `{"a":${ENTRY},"a":${ENTRY}}`,
  "a field that is there twice": `{"a":{"shape":[1],${ENTRY.slice(1)}}`,
  "an entry without a dtype": `{"a":{"shape":[1],"data_offsets":[0,4],"x":1}}`,
  "a dtype in a list": `{"a":{"dtype":["F32"],"shape":[1],"data_offsets":[0,4]}}`,
  "an unknown dtype": `{"a":{"dtype":"toString","shape":[1],"data_offsets":[0,4]}}`,
  "a lone surrogate": `{"\\ud800":${ENTRY}}`,
  "a byte order mark": `\ufeff{"a":${ENTRY}}`,
  "a no-break space at the end": `{"a":${ENTRY}}\u00a0`,
  "three offsets": withSizes("[1]", "[0,4,4]"),
  "a size that is text": withSizes('["1"]', "[0,4]"),
  "a size that is null": withSizes("[null]", "[0,4]"),
  "a negative size": withSizes("[-1]", "[0,4]"),
  "a negative zero": withSizes("[-0]", "[0,4]"),
  "a fraction": withSizes("[1.5]", "[0,4]"),
  "a size of 2^53": withSizes("[9007199254740992]", "[0,4]"),
  "a size of 1e+21": withSizes("[1e+21]", "[0,4]"),
  "an offset of 4.0": withSizes("[1]", "[0,4.0]"),
};
for (const [name, text] of Object.entries(REFUSED)) {
  Deno.test(`readPlainHeader() leaves ${name} to readStrictHeader(), which refuses it`, async () => {
    const json = encoder.encode(text);
    assertEquals(readPlainHeader(json), undefined);
    const error = assertThrows(() => readStrictHeader(json, "bytes in memory"), SafetensorsError);
    const file = new Uint8Array(8 + json.length + 4);
    file[0] = json.length;
    file.set(json, 8);
    await assertRejects(() => openSafetensors(file), SafetensorsError, error.message);
  });
}

Deno.test("readPlainHeader() leaves bytes that are not UTF-8 and headers above 1 MiB to readStrictHeader()", () => {
  const json = encoder.encode(`{"a":${ENTRY}}`);
  assertEquals(readPlainHeader(json)?.entries.length, 1);
  const broken = json.map((byte) => byte === "a".charCodeAt(0) ? 0xff : byte);
  assertEquals(readPlainHeader(broken), undefined);
  assertThrows(() => readStrictHeader(broken, "a"), SafetensorsError, "not valid UTF-8");
  const long = encoder.encode(`{"a":${ENTRY}}${" ".repeat(2 ** 20)}`);
  assertEquals(readPlainHeader(long), undefined);
  assertEquals(readStrictHeader(long, "a").entries.length, 1);
});

Deno.test("readPlainHeader() reads no flip of a bit in a header that readStrictHeader() refuses or reads otherwise", () => {
  const json = headerOf(["w", "a.1"], { format: "pt" });
  let plain = 0;
  for (let bit = 0; bit < json.length * 8; bit++) {
    const flipped = json.slice();
    flipped[bit >> 3] ^= 1 << (bit & 7);
    const header = readPlainHeader(flipped);
    if (header === undefined) continue;
    assertEquals(header, readStrictHeader(flipped, "a"));
    plain++;
  }
  assertEquals(plain > 20, true); // other names, sizes and offsets
});
