/**
 * The folder that a caller means: opened where it is; a path or hub id is looked up, by the hub's own file.
 *
 * @module
 */
import type { FolderInput, FolderSource } from "./file_source.ts";
import type { ResolveOptions } from "./hub.ts";
import { isWebAddress, openFolder } from "./open_file.ts";

/** What messages and model cards call an input: a path, id or address as given, else the source's name. */
export function nameOfFolder(input: FolderInput): string {
  return typeof input === "string" ? input : openFolder(input).name;
}

/** Whether an input is a path or a hub id, which have to be looked up. */
export function isPathOrHubId(input: FolderInput): input is string {
  return typeof input === "string" && !isWebAddress(input);
}

/**
 * `resolveModelFolder` for any input: only a path or hub id is looked up, everything else is opened as it is.
 *
 * @throws as `resolveModelFolder`, and Error where a hub id is given in a runtime without a file system
 */
export async function resolveFolder(input: FolderInput, options: ResolveOptions = {}): Promise<FolderSource> {
  return isPathOrHubId(input) ? await lookUpFolder(input, options) : openFolder(input);
}

async function lookUpFolder(path: string, options: ResolveOptions): Promise<FolderSource> {
  const { resolveModelFolder } = await import("./hub.ts");
  return openFolder(await resolveModelFolder(path, options));
}

/**
 * `resolveModelCheckpoint` for any input: only a path or hub id is looked up, everything else is opened as it is.
 *
 * @throws as `resolveModelCheckpoint`
 */
export async function resolveCheckpointFolder(
  input: FolderInput,
  options: ResolveOptions = {},
): Promise<FolderSource> {
  return isPathOrHubId(input) ? await lookUpCheckpoint(input, options) : openFolder(input);
}

async function lookUpCheckpoint(path: string, options: ResolveOptions): Promise<FolderSource> {
  const { resolveModelCheckpoint } = await import("./hub.ts");
  return await resolveModelCheckpoint(path, options);
}
