/**
 * Looks for a GGUF file in a folder or hub model: by its name, or the only one there.
 *
 * @module
 */
import type { FileInput, FolderInput } from "./file_source.ts";
import { isGgufName } from "./gguf_names.ts";
import type { HubOptions } from "./hub.ts";
import { HubError } from "./hub_errors.ts";
import { isHubId } from "./hub_id.ts";
import { isPathOrHubId, nameOfFolder } from "./model_folder.ts";
import { openFolder } from "./open_file.ts";
import { checkRelativePath, quote } from "./relative_path.ts";

/** A GGUF file that was found. */
export interface FoundGguf {
  /** Where it is. */
  readonly file: FileInput;
  /** The hub model it is of; absent for others. */
  readonly hubId?: string;
}

/** How many names a message lists. */
const MOST_NAMES = 12;

/** Whether an input is a hub id, and no folder on disk. */
async function isOnHub(input: FolderInput): Promise<boolean> {
  if (!isPathOrHubId(input) || !isHubId(input)) return false;
  const { isDirectory } = await import("./files.ts");
  return !await isDirectory(input);
}

/**
 * The GGUF file of a name. A hub model's file is downloaded into its cache.
 *
 * @throws {HubError} where the hub has no such file or cannot give it
 * @throws {Error} where the folder has no such file
 */
export async function namedGguf(folder: FolderInput, ggufFile: string, hub: HubOptions): Promise<FoundGguf> {
  checkRelativePath(ggufFile, "load a GGUF file");
  if (isPathOrHubId(folder)) {
    const [{ joinPath }, { resolveModelFolder }] = await Promise.all([
      import("./files.ts"),
      import("./hub.ts"),
    ]);
    const files = [ggufFile];
    const resolved = await resolveModelFolder(folder, { ...hub, files });
    if (resolved !== folder) return { file: await joinPath(resolved, ggufFile), hubId: folder };
  }
  const source = openFolder(folder);
  const file = await source.open(ggufFile);
  if (file) return { file };
  throw new Error(
    `Cannot load model ${quote(source.name)}: ${quote(ggufFile)} is required, received a folder without it`,
  );
}

/**
 * The only GGUF file of a folder or hub model; undefined where there is none, or nobody can tell.
 *
 * @throws {RangeError} where there are several
 */
export async function onlyGguf(input: FolderInput, options: HubOptions): Promise<FoundGguf | undefined> {
  let names: readonly string[] | undefined;
  if (await isOnHub(input)) {
    try {
      const { listModelFiles } = await import("./hub.ts");
      names = await listModelFiles(input as string, options);
    } catch (error) {
      if (error instanceof HubError) return undefined; // the caller has a better message
      throw error;
    }
  } else names = await openFolder(input).list?.();
  const found = (names ?? []).filter(isGgufName);
  if (found.length === 0) return undefined;
  if (found.length === 1) return await namedGguf(input, found[0], options);
  const listed = found.slice(0, MOST_NAMES).map(quote).join(", ");
  throw new RangeError(
    `Cannot load model ${
      quote(nameOfFolder(input))
    }: ggufFile must name one of its ${found.length} GGUF files, ${listed}${
      found.length > MOST_NAMES ? ", …" : ""
    }`,
  );
}
