/**
 * Weights in one file or several, named and indexed as Hugging Face's `split_torch_state_dict_into_shards` does.
 * @module
 */

import { type FolderTarget, writeJsonTo } from "../io/folder_target.ts";
import { byteLengthOf, type SafetensorsInput, safetensorsPieces } from "../io/safetensors.ts";

const UNITS: Readonly<Record<string, number>> = {
  KB: 10 ** 3,
  MB: 10 ** 6,
  GB: 10 ** 9,
  TB: 10 ** 12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
};

const FILE = "model.safetensors";
const INDEX = `${FILE}.index.json`;
/** Names of shards in an index. */
const SHARD = /(?<=")model-\d{5}-of-\d{5}\.safetensors(?=")/g;

/** The bytes that `maxShardSize` says; Infinity for none. @throws {TypeError} for what is no size */
export function parseShardSize(size: number | string | undefined): number {
  if (size === undefined) return Infinity;
  const [, digits, unit] = typeof size === "string" ? /^(\d+(?:\.\d+)?) ?([KMGT]i?B)$/i.exec(size) ?? [] : [];
  const bytes = typeof size === "number" ? size : Number(digits) * (UNITS[unit?.toUpperCase() ?? ""] ?? NaN);
  if (bytes > 0) return bytes;
  throw new TypeError(
    `Cannot save the model: maxShardSize must be a number of bytes above 0 or a text such as "5GB", received ${
      JSON.stringify(size)
    }`,
  );
}

/** Tensors in the order given, file by file; one that is larger than a file may be has a file of its own. */
function split(
  entries: Readonly<Record<string, SafetensorsInput>>,
  maxBytes: number,
): Record<string, SafetensorsInput>[] {
  const shards: Record<string, SafetensorsInput>[] = [{}];
  let bytes = 0;
  for (const [name, entry] of Object.entries(entries)) {
    const size = byteLengthOf(entry);
    if (bytes > 0 && bytes + size > maxBytes) {
      shards.push({});
      bytes = 0;
    }
    shards.at(-1)![name] = entry;
    bytes += size;
  }
  return shards;
}

/**
 * Writes `model.safetensors`; where that would have more than `maxBytes`, `model-00001-of-0000N.safetensors` and so on
 * with `model.safetensors.index.json`. What an earlier saving left is removed: the file of the other form, and shards that
 * its index names.
 */
export async function writeShards(
  target: FolderTarget,
  entries: Readonly<Record<string, SafetensorsInput>>,
  maxBytes: number,
): Promise<void> {
  const shards = split(entries, maxBytes);
  const metadata = { format: "pt" };
  const old = new Set((await target.readText(INDEX))?.match(SHARD));
  if (shards.length === 1) {
    await target.write(FILE, safetensorsPieces(entries, metadata));
    await target.remove(INDEX);
    for (const name of old) await target.remove(name);
    return;
  }
  const weightMap: Record<string, string> = {};
  const count = String(shards.length).padStart(5, "0");
  for (const [i, shard] of shards.entries()) {
    const file = `model-${String(i + 1).padStart(5, "0")}-of-${count}.safetensors`;
    await target.write(file, safetensorsPieces(shard, metadata));
    for (const name of Object.keys(shard)) weightMap[name] = file;
  }
  const total = Object.values(entries).reduce((sum, entry) => sum + byteLengthOf(entry), 0);
  await writeJsonTo(target, INDEX, { metadata: { total_size: total }, weight_map: weightMap });
  await target.remove(FILE);
  const written = new Set(Object.values(weightMap));
  for (const name of old) if (!written.has(name)) await target.remove(name);
}
