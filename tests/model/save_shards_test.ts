/**
 * What an earlier saving of weights left in a folder.
 * @module
 */

import { assertEquals } from "@std/assert";
import { memoryFolder } from "@peft/webgpu/io";
import { openTarget } from "../../io/folder_target.ts";
import { parseShardSize, writeShards } from "../../model/save_shards.ts";

const tensor = () => ({ dtype: "F32" as const, shape: [4], data: new Float32Array(4) }); // 16 bytes

Deno.test("writeShards() leaves the files of its own saving, whatever was saved before, and files of others", async () => {
  const folder = memoryFolder();
  folder.files.set("model-extra.safetensors", new Uint8Array(1));
  const target = openTarget(folder, "save the model");
  const entries = { a: tensor(), b: tensor(), c: tensor() };
  const save = async (maxBytes: number) => {
    await writeShards(target, entries, maxBytes);
    return [...folder.files.keys()].sort();
  };
  const shards = (count: number) =>
    Array.from({ length: count }, (_, i) => `model-0000${i + 1}-of-0000${count}.safetensors`);
  const sharded = (count: number) => [
    ...shards(count),
    "model-extra.safetensors",
    "model.safetensors.index.json",
  ];
  const whole = ["model-extra.safetensors", "model.safetensors"];
  assertEquals(await save(Infinity), whole);
  assertEquals(await save(16), sharded(3));
  assertEquals(await save(32), sharded(2));
  assertEquals(await save(32), sharded(2));
  assertEquals(await save(Infinity), whole);
});

Deno.test("parseShardSize() takes every unit that it recognises", () => {
  const sizes = ["3KB", "3 MB", "3GB", "3TB", "3KiB", "3MiB", "3 gib", "3TiB"].map(parseShardSize);
  assertEquals(sizes, [3e3, 3e6, 3e9, 3e12, 3 * 2 ** 10, 3 * 2 ** 20, 3 * 2 ** 30, 3 * 2 ** 40]);
});
