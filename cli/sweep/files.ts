/**
 * Files of a sweep: the hash by which a base model is known, and data on their way through the broker.
 * @module
 */

import { createHash } from "node:crypto";
import { basename, join } from "@std/path";
import { readObject } from "@peft/webgpu/distributed";
import { snapshotDownload } from "@peft/webgpu/hub";
import type { ObjectStore } from "@peft/webgpu/distributed";
import { fileNames } from "../../jobs/finetune/data.ts";
import { UsageError } from "../../jobs/usage_error.ts";
import type { DataEntry, SweepRecord } from "../../jobs/sweep/protocol.ts";

/** Files of data that loading reads from a folder. */
const DATA_FILE = /\.(?:jsonl|json|csv|tsv|txt|parquet)(?:\.gz)?$/i;
/** Files of a model that decide what it computes: weights, configuration, tokenizer, template. */
const MODEL_FILE =
  /\.(?:safetensors|gguf|jinja)$|^(?:config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens)\.json$|^tokenizer\.model$/;
/** What a tokenizer is read from where there is no tokenizer.json. */
const VOCABULARY = /^(?:vocab\.json|merges\.txt|vocab\.txt)$/;
/** Bytes of data that a worker takes for one sweep at most. */
const MAX_DATA_BYTES = 8 * 2 ** 30;

/** SHA-256 of a file, read in pieces. */
async function sha256Of(path: string): Promise<{ sha256: string; size: number }> {
  const hash = createHash("sha256");
  let size = 0;
  const file = await Deno.open(path);
  for await (const piece of file.readable) {
    hash.update(piece);
    size += piece.length;
  }
  return { sha256: hash.digest("hex"), size };
}

const sha256OfText = (text: string) => createHash("sha256").update(text).digest("hex");

/** SHA-256 of any plain value. */
export const hashOf = (value: unknown): string => sha256OfText(JSON.stringify(value));

/** Hash of several files. */
async function hashOfFiles(paths: readonly string[]): Promise<string> {
  const hashes = await Promise.all(paths.map(async (path) => (await sha256Of(path)).sha256));
  return sha256OfText(hashes.sort().join("\n"));
}

/** A base model on this machine. */
export interface Base {
  /** As the user calls it. */
  readonly name: string;
  /** A folder, or a .gguf file. */
  readonly path: string;
  /** Hash of its files' contents, whatever they are called. */
  readonly hash: string;
}

/**
 * The base that a path or a hub id names; one of the hub is downloaded into the cache.
 * @param ggufFile the GGUF file in a folder
 * @throws {UsageError} where there is none
 */
export async function findBase(name: string, ggufFile?: string): Promise<Base> {
  let path = ggufFile === undefined ? name : join(name, ggufFile);
  let stat = await Deno.stat(path).catch(() => null);
  if (stat === null && !/^[./~]|\\/.test(name)) {
    const folder = await snapshotDownload(name, ggufFile === undefined ? {} : { allowPatterns: [ggufFile] });
    path = ggufFile === undefined ? folder : join(folder, ggufFile);
    stat = await Deno.stat(path);
  }
  if (stat === null) {
    throw new UsageError(`Cannot find the base model "${path}": there is no such folder or file`);
  }
  if (stat.isFile) return { name, path, hash: await hashOfFiles([path]) };
  const there: string[] = [];
  for await (const entry of Deno.readDir(path)) if (!entry.isDirectory) there.push(entry.name);
  const isPart = there.includes("tokenizer.json") ? () => false : (file: string) => VOCABULARY.test(file);
  const names = there.filter((file) => MODEL_FILE.test(file) || isPart(file));
  if (names.length === 0) {
    throw new UsageError(
      `Cannot find the base model "${path}": a folder with a model's files is required, received none`,
    );
  }
  return { name, path, hash: await hashOfFiles(names.map((file) => join(path, file))) };
}

/** Where a file of data lies in the object store: under its own hash, so that the same file is there once. */
const dataObject = (sha256: string) => `data/${sha256}`;

async function describe(
  path: string,
  shown: string,
): Promise<DataEntry["files"][number] & { source: string }> {
  return { path: shown, ...await sha256Of(path), source: path };
}

/**
 * The files of `--data`, with their hashes.
 * @throws {UsageError} for what is neither a file nor a folder of files of this machine
 */
export async function findData(flag: string, list: string): Promise<(DataEntry & { sources: string[] })[]> {
  const entries: (DataEntry & { sources: string[] })[] = [];
  for (const [i, path] of fileNames(list).entries()) {
    const stat = await Deno.stat(path).catch(() => null);
    if (stat === null) {
      throw new UsageError(
        `Cannot read the data: finetune.${flag} must be files of this machine, received "${path}"`,
      );
    }
    const name = `${flag}-${i}-${basename(path).replaceAll(/[^A-Za-z0-9._-]/g, "_")}`;
    const inside: string[] = [];
    if (!stat.isFile) {
      for await (const entry of Deno.readDir(path)) if (DATA_FILE.test(entry.name)) inside.push(entry.name);
    }
    const found = stat.isFile
      ? [await describe(path, name)]
      : await Promise.all(inside.sort().map((file) => describe(join(path, file), `${name}/${file}`)));
    entries.push({
      path: name,
      files: found.map(({ path, size, sha256 }) => ({ path, size, sha256 })),
      sources: found.map(({ source }) => source),
    });
  }
  return entries;
}

/** Puts files of data into the store. */
export async function storeData(
  store: ObjectStore,
  entries: readonly (DataEntry & { readonly sources: readonly string[] })[],
): Promise<void> {
  const there = new Set(await store.list());
  for (const { files, sources } of entries) {
    for (const [i, { sha256 }] of files.entries()) {
      if (there.has(dataObject(sha256))) continue;
      await store.put(dataObject(sha256), (await Deno.open(sources[i])).readable);
    }
  }
}

/** Fetches a file of data, unless it is there; it must be what the sweep says. */
async function fetchFile(
  store: ObjectStore,
  { size, sha256 }: DataEntry["files"][number],
  to: string,
): Promise<void> {
  const there = await Deno.stat(to).catch(() => null);
  if (there?.size === size && (await sha256Of(to)).sha256 === sha256) return;
  const bytes = await readObject(store, dataObject(sha256), size);
  if (
    bytes === null || bytes.length !== size || createHash("sha256").update(bytes).digest("hex") !== sha256
  ) {
    throw new UsageError(
      `Cannot fetch the sweep's data: the file of SHA-256 ${sha256} is required, received ${
        bytes ? "another" : "none"
      }`,
    );
  }
  await Deno.mkdir(join(to, ".."), { recursive: true });
  const part = `${to}.${crypto.randomUUID()}.part`; // another worker may use the folder too
  await Deno.writeFile(part, bytes);
  await Deno.rename(part, to);
}

/**
 * Fetches a sweep's data into a folder.
 * @returns values of `--data` and `--eval-data`
 * @throws {UsageError} for data that are not what the sweep says, or too many
 */
export async function fetchData(
  store: ObjectStore,
  { data, evalData }: Pick<SweepRecord, "data" | "evalData">,
  folder: string,
): Promise<{ readonly data: string; readonly "eval-data": string | undefined }> {
  const all = [...data, ...evalData ?? []].flatMap(({ files }) => files);
  const size = all.reduce((sum, file) => sum + file.size, 0);
  if (size > MAX_DATA_BYTES) {
    throw new UsageError(
      `Cannot fetch the sweep's data: at most ${MAX_DATA_BYTES} bytes are required, received ${size}`,
    );
  }
  for (const file of all) await fetchFile(store, file, join(folder, file.path));
  const list = (entries: readonly DataEntry[]) => entries.map(({ path }) => join(folder, path)).join(",");
  return { data: list(data), "eval-data": evalData ? list(evalData) : undefined };
}
