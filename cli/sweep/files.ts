/**
 * Files of a sweep: the hash by which a base model is known, and data on their way through the broker.
 * @module
 */

import { createHash } from "node:crypto";
import { basename, join } from "@std/path";
import { HubError, snapshotDownload } from "@peft/webgpu/hub";
import { sha256Of } from "@peft/webgpu/io";
import type { ObjectStore } from "@peft/webgpu/distributed";
import { type Base, baseFiles, hashOfBase } from "../../jobs/base.ts";
import { dataObject } from "../../jobs/data_files.ts";
import type { DataEntry } from "../../jobs/forms.ts";
import { fileNames } from "../../jobs/finetune/data.ts";
import { UsageError } from "../../jobs/usage_error.ts";
import { loadBase, loadTokenizer } from "../loading.ts";

/** Files of data that loading reads from a folder. */
const DATA_FILE = /\.(?:jsonl|json|csv|tsv|txt|parquet)(?:\.gz)?$/i;
/** SHA-256 of any plain value. */
export const hashOf = (value: unknown): string =>
  createHash("sha256").update(JSON.stringify(value)).digest("hex");

/** A base model on this machine. */
export interface LocalBase extends Base {
  /** A folder, or a .gguf file. */
  readonly path: string;
}

/** A base of a hash. */
const localBase = (name: string, path: string, hash: string): LocalBase => ({
  ...{ name, path, hash },
  loadTokenizer: () => loadTokenizer(path, { "gguf-file": undefined }),
  loadModel: (storage) => loadBase({ ...storage, model: path, "gguf-file": undefined }),
});

/** Whether a model's name can only be a path: it is no id of the hub. */
export const isPath = (name: string): boolean => /^[./~]|\\/.test(name);

/** A base of the hub, in the cache. @throws {HubError} which says that no folder has this name either */
async function downloadBase(id: string, ggufFile?: string): Promise<string> {
  try {
    return await snapshotDownload(id, ggufFile === undefined ? {} : { allowPatterns: [ggufFile] });
  } catch (error) {
    if (!(error instanceof HubError)) throw error;
    const message = `${error.message}; there is no local folder or file "${id}" either`;
    throw new HubError(error.failure, message, { status: error.status, cause: error });
  }
}

/**
 * The base that a path or a hub id names; one of the hub is downloaded into the cache.
 * @param ggufFile the GGUF file in a folder
 * @throws {UsageError} where there is none
 */
export async function findBase(name: string, ggufFile?: string): Promise<LocalBase> {
  let path = ggufFile === undefined ? name : join(name, ggufFile);
  let stat = await Deno.stat(path).catch(() => null);
  if (stat === null && !isPath(name)) {
    const folder = await downloadBase(name, ggufFile);
    path = ggufFile === undefined ? folder : join(folder, ggufFile);
    stat = await Deno.stat(path);
  }
  if (stat === null) {
    throw new UsageError(`Cannot find the base model "${path}": there is no such folder or file`);
  }
  if (stat.isFile) return localBase(name, path, await hashOfBase([path]));
  const there: string[] = [];
  for await (const entry of Deno.readDir(path)) if (!entry.isDirectory) there.push(entry.name);
  const names = baseFiles(there);
  if (names.length === 0) {
    throw new UsageError(
      `Cannot find the base model "${path}": a folder with a model's files is required, received none`,
    );
  }
  return localBase(name, path, await hashOfBase(names.map((file) => join(path, file))));
}

async function describe(
  path: string,
  shown: string,
): Promise<DataEntry["files"][number] & { source: string }> {
  return { path: shown, size: (await Deno.stat(path)).size, sha256: await sha256Of(path), source: path };
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
