/**
 * Weights in several files: the shards that a `model.safetensors.index.json` lists, as one reader.
 *
 * @module
 */
import type { Bytes, FolderSource } from "./file_source.ts";
import type { JsonObject } from "./json.ts";
import { isSafeRelativePath, quote } from "./relative_path.ts";
import { SafetensorsError, type TensorInfo } from "./safetensors_header.ts";
import { openSafetensors, type SafetensorsFile, type TensorReader } from "./safetensors_reader.ts";

const MAX_SHARDS = 1000;
/** Mismatches listed in one error before the rest is only counted. */
const MAX_LISTED = 20;

function refuse(name: string, problem: string): never {
  throw new SafetensorsError(`Cannot read ${quote(name)}: ${problem}`);
}

function list(problems: string[]): string {
  const rest = problems.length - MAX_LISTED;
  const shown = problems.slice(0, MAX_LISTED);
  if (rest > 0) shown.push(`and ${rest} more`);
  return shown.map((problem) => `\n  ${problem}`).join("");
}

/**
 * The `weight_map` of an index file: tensor name to shard name.
 *
 * @param name what messages call the index.
 * @throws {SafetensorsError} when it is missing, or a shard name is not a plain relative `.safetensors` path.
 */
export function parseWeightMap(index: JsonObject, name: string): Map<string, string> {
  const map = Object.hasOwn(index, "weight_map") ? index.weight_map : undefined;
  if (typeof map !== "object" || map === null || Array.isArray(map)) {
    refuse(name, `"weight_map" must be an object of tensor name to shard file, received ${typeof map}`);
  }
  const weightMap = new Map<string, string>();
  const shards = new Set<string>();
  for (const [tensor, shard] of Object.entries(map)) {
    if (typeof shard !== "string") {
      refuse(name, `the shard of tensor ${quote(tensor)} must be a file name, received a ${typeof shard}`);
    }
    if (!shard.endsWith(".safetensors") || !isSafeRelativePath(shard)) {
      refuse(
        name,
        `the shard of tensor ${
          quote(tensor)
        } must be a plain relative path to a .safetensors file, received ${quote(shard)}`,
      );
    }
    shards.add(shard);
    if (shards.size > MAX_SHARDS) refuse(name, `at most ${MAX_SHARDS} shards are allowed, received more`);
    weightMap.set(tensor, shard);
  }
  if (weightMap.size === 0) refuse(name, `"weight_map" must name at least one tensor, received none`);
  return weightMap;
}

class ShardedReader implements TensorReader {
  readonly name: string;
  readonly metadata: ReadonlyMap<string, string>;
  #files: ReadonlyMap<string, SafetensorsFile>;
  #weightMap: ReadonlyMap<string, string>;

  constructor(name: string, files: ReadonlyMap<string, SafetensorsFile>, weightMap: Map<string, string>) {
    this.name = name;
    this.#files = files;
    this.#weightMap = weightMap;
    this.metadata = files.values().next().value?.metadata ?? new Map();
  }

  names(): string[] {
    return [...this.#files.values()].flatMap((file) => file.names());
  }

  has(name: string): boolean {
    return this.#weightMap.has(name);
  }

  info(name: string): TensorInfo {
    return this.#fileOf(name).info(name);
  }

  read(name: string): Promise<Bytes> {
    return this.#fileOf(name).read(name);
  }

  readChunks(name: string, maxBytes: number, room?: Bytes): AsyncIterableIterator<Bytes> {
    return this.#fileOf(name).readChunks(name, maxBytes, room);
  }

  async close(): Promise<void> {
    for (const file of this.#files.values()) await file.close();
  }

  #fileOf(name: string): SafetensorsFile {
    const shard = this.#weightMap.get(name);
    if (shard !== undefined) return this.#files.get(shard)!;
    throw new RangeError(
      `Cannot read tensor ${
        quote(name)
      }: ${this.#weightMap.size} other tensors are in ${this.name}, not this one`,
    );
  }
}

/** Every difference between what the index says and what the shards hold. */
function differences(weightMap: Map<string, string>, files: Map<string, SafetensorsFile>): string[] {
  const problems: string[] = [];
  for (const [tensor, shard] of weightMap) {
    const file = files.get(shard);
    if (file && !file.has(tensor)) problems.push(`tensor ${quote(tensor)} is not in its shard ${shard}`);
  }
  for (const [shard, file] of files) {
    for (const tensor of file.names()) {
      const listed = weightMap.get(tensor);
      if (listed === shard) continue;
      problems.push(
        `shard ${shard} holds tensor ${quote(tensor)}, which the index ${
          listed === undefined ? "does not name" : `puts in ${listed}`
        }`,
      );
    }
  }
  return problems;
}

export async function openShards(
  folder: FolderSource,
  indexPath: string,
  index: JsonObject,
): Promise<TensorReader> {
  const name = `${folder.name}/${indexPath}`;
  const weightMap = parseWeightMap(index, name);
  const files = new Map<string, SafetensorsFile>();
  try {
    const problems: string[] = [];
    for (const shard of new Set(weightMap.values())) {
      const source = await folder.open(shard, { inside: true });
      if (source) files.set(shard, await openSafetensors(source));
      else problems.push(`shard ${shard} is missing`);
    }
    problems.push(...differences(weightMap, files));
    if (problems.length > 0) refuse(name, `the shards must be as the index says, received${list(problems)}`);
    return new ShardedReader(folder.name, files, weightMap);
  } catch (error) {
    for (const file of files.values()) await file.close();
    throw error;
  }
}
