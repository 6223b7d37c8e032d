import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { openCheckpoint } from "../../io/checkpoint.ts";
import { memoryFolder } from "../../io/open_file.ts";
import { SafetensorsError, serialize, toFloat32 } from "../../io/safetensors.ts";

const SHARDED = new URL("../fixtures/safetensors/sharded", import.meta.url).pathname;
const encoder = new TextEncoder();

const tensor = (value: number) => ({ dtype: "F32", shape: [1], data: Float32Array.of(value) }) as const;

function shardedFolder(weightMap: Record<string, unknown>, shards: Record<string, Record<string, number>>) {
  const files: Record<string, Uint8Array> = {
    "model.safetensors.index.json": encoder.encode(JSON.stringify({ metadata: {}, weight_map: weightMap })),
  };
  for (const [name, values] of Object.entries(shards)) {
    files[name] = serialize(
      Object.fromEntries(Object.entries(values).map(([key, value]) => [key, tensor(value)])),
    );
  }
  return memoryFolder(files, "folder");
}

Deno.test("openCheckpoint() reads shards written by Python as one", async () => {
  // tests/oracle/safetensors_fixture.py
  const reader = await openCheckpoint(SHARDED);
  assertEquals(reader.names().sort(), ["h.0.bias", "ln_f.weight", "wte.weight"]);
  const { dtype, shape, byteLength } = reader.info("ln_f.weight");
  assertEquals({ dtype, shape, byteLength }, { dtype: "F16", shape: [3], byteLength: 6 });
  assertEquals([...toFloat32("F16", await reader.read("ln_f.weight"))], [2, 2, 2]);
  assertEquals([...toFloat32("F32", await reader.read("wte.weight"))], [...Array(12).keys()]);
  assertEquals(reader.metadata.get("format"), "pt");
  assertEquals([reader.has("wte.weight"), reader.has("x")], [true, false]);
  let pieces = 0;
  for await (const chunk of reader.readChunks("wte.weight", 20)) pieces += chunk.length;
  assertEquals(pieces, 48);
  await assertRejects(
    async () => await reader.read("x"),
    RangeError,
    'Cannot read tensor "x": 3 other tensors',
  );
  await reader.close();
});

Deno.test("openCheckpoint() prefers model.safetensors, and takes another basename", async () => {
  const files = memoryFolder({
    "model.safetensors": serialize({ a: tensor(1) }),
    "model.safetensors.index.json": encoder.encode("not JSON"),
    "adapter_model.safetensors": serialize({ b: tensor(2) }),
  });
  assertEquals((await openCheckpoint(files)).names(), ["a"]);
  assertEquals((await openCheckpoint(files, { basename: "adapter_model" })).names(), ["b"]);
});

Deno.test("openCheckpoint() lists every difference between index and shards in one error", async () => {
  const folder = shardedFolder(
    {
      a: "1.safetensors",
      gone: "1.safetensors",
      b: "2.safetensors",
      c: "3.safetensors",
      d: "2.safetensors",
      e: "1.safetensors",
    },
    { "1.safetensors": { a: 1, d: 4, extra: 5 }, "2.safetensors": { b: 2, d: 4, e: 1 } },
  );
  const { message } = await assertRejects(() => openCheckpoint(folder), SafetensorsError);
  for (
    const part of [
      "shard 3.safetensors is missing",
      'tensor "gone" is not in its shard 1.safetensors',
      'tensor "e" is not in its shard 1.safetensors',
      'shard 1.safetensors holds tensor "d", which the index puts in 2.safetensors',
      'shard 1.safetensors holds tensor "extra", which the index does not name',
    ]
  ) assertStringIncludes(message, part);
});

Deno.test("openCheckpoint() cuts a long list of differences after 20", async () => {
  const weightMap = Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`t${i}`, "1.safetensors"]));
  const { message } = await assertRejects(() =>
    openCheckpoint(shardedFolder(weightMap, { "1.safetensors": {} }))
  );
  assertEquals(message.split("\n").length, 22);
  assertStringIncludes(message, "and 30 more");
});

Deno.test("openCheckpoint() refuses shard names that are not plain relative .safetensors paths", async () => {
  for (
    const shard of [
      "../model.safetensors",
      "/etc/x.safetensors",
      "a//b.safetensors",
      "C:\\x.safetensors",
      "pytorch_model.bin",
      "x.safetensors.bin",
      "%2e%2e/x.safetensors",
      "",
      7,
      null,
    ]
  ) {
    await assertRejects(
      () => openCheckpoint(shardedFolder({ a: shard }, {})),
      SafetensorsError,
      'the shard of tensor "a" must be',
    );
  }
  await assertRejects(() => openCheckpoint(shardedFolder({}, {})), SafetensorsError, "at least one tensor");
});

Deno.test("openCheckpoint() takes tensor names like __proto__ from an index", async () => {
  const folder = memoryFolder({
    "model.safetensors.index.json": encoder.encode(`{"weight_map":{"__proto__":"1.safetensors"}}`),
    "1.safetensors": serialize(new Map([["__proto__", tensor(3)]])),
  });
  assertEquals((await openCheckpoint(folder)).names(), ["__proto__"]);
});

Deno.test("openCheckpoint() refuses a shard that is a link out of the folder, and takes the model cache's links", async () => {
  const root = await Deno.makeTempDir();
  try {
    const snapshot = join(root, "models--org--name", "snapshots", "0".repeat(40));
    const blobs = join(root, "models--org--name", "blobs");
    await Deno.mkdir(snapshot, { recursive: true });
    await Deno.mkdir(blobs);
    const index = JSON.stringify({ weight_map: { a: "1.safetensors" } });
    await Deno.writeFile(join(blobs, "f".repeat(64)), serialize({ a: tensor(1) }));
    await Deno.writeFile(join(root, "outside.safetensors"), serialize({ a: tensor(6) }));
    await Deno.writeTextFile(join(snapshot, "model.safetensors.index.json"), index);
    await Deno.symlink(`../../blobs/${"f".repeat(64)}`, join(snapshot, "1.safetensors"));
    const reader = await openCheckpoint(snapshot);
    assertEquals([...toFloat32("F32", await reader.read("a"))], [1]);
    await reader.close();

    const plain = join(root, "plain");
    await Deno.mkdir(plain);
    await Deno.writeTextFile(join(plain, "model.safetensors.index.json"), index);
    await Deno.symlink("../outside.safetensors", join(plain, "1.safetensors"));
    await assertRejects(() => openCheckpoint(plain), RangeError, "received a link that leads out of it");
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("openCheckpoint() says what a folder without safetensors needs", async () => {
  await assertRejects(
    () => openCheckpoint(memoryFolder({}, "empty")),
    Error,
    'Cannot open the weights in "empty": model.safetensors or model.safetensors.index.json is required, received neither',
  );
  await assertRejects(
    () => openCheckpoint(memoryFolder({ "pytorch_model.bin": new Uint8Array(4) })),
    Error,
    "received a pickle file, which is never opened",
  );
});
