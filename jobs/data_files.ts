/**
 * Data on their way through the broker.
 * @module
 */

import { type ObjectStore, readObject } from "@peft/webgpu/distributed";
import { type FileInput, type FolderInput, type FolderStore, sha256Of } from "@peft/webgpu/io";
import type { DataEntry } from "./forms.ts";
import { UsageError } from "./usage_error.ts";

/** Bytes of data that a worker takes for one sweep at most. */
const MAX_DATA_BYTES = 8 * 2 ** 30;

/** Where a file of data lies in the object store: under its own hash, so that the same file is there once. */
export const dataObject = (sha256: string) => `data/${sha256}`;

/** Fetches a file of data, unless it is there; it must be what the sweep says. */
async function fetchFile(
  store: ObjectStore,
  { path, size, sha256 }: DataEntry["files"][number],
  folder: FolderStore,
): Promise<void> {
  const there = await folder.open(path);
  if (there && there.size !== size) await there.close();
  else if (there && await sha256Of(there) === sha256) return;
  const bytes = await readObject(store, dataObject(sha256), size);
  if (bytes === null || bytes.length !== size || await sha256Of(bytes) !== sha256) {
    throw new UsageError(
      `Cannot fetch the sweep's data: the file of SHA-256 ${sha256} is required, received ${
        bytes ? "another" : "none"
      }`,
    );
  }
  await folder.write(path, bytes); // whole or not at all: another worker may use the folder too
}

/** Data that were fetched. */
export interface FetchedData {
  /** Values of the flags: names, which {@linkcode FetchedData.open} knows. */
  readonly places: { readonly data: string; readonly "eval-data": string | undefined };
  /** What a name stands for. */
  readonly open: (name: string) => Promise<FileInput | FolderInput>;
}

/**
 * Fetches a sweep's data into a folder.
 * @throws {UsageError} for data that are not what the sweep says, or too many
 */
export async function fetchData(
  store: ObjectStore,
  { data, evalData }: { readonly data: readonly DataEntry[]; readonly evalData: readonly DataEntry[] | null },
  folder: FolderStore,
): Promise<FetchedData> {
  const entries = [...data, ...evalData ?? []];
  const all = entries.flatMap(({ files }) => files);
  const size = all.reduce((sum, file) => sum + file.size, 0);
  if (size > MAX_DATA_BYTES) {
    throw new UsageError(
      `Cannot fetch the sweep's data: at most ${MAX_DATA_BYTES} bytes are required, received ${size}`,
    );
  }
  for (const file of all) await fetchFile(store, file, folder);
  const list = (some: readonly DataEntry[]) => some.map(({ path }) => path).join(",");
  const isFile = new Set(
    entries.filter(({ path, files }) => files[0]?.path === path).map(({ path }) => path),
  );
  return {
    places: { data: list(data), "eval-data": evalData ? list(evalData) : undefined },
    open: async (name) => isFile.has(name) ? (await folder.open(name))! : folder.folder(name),
  };
}
