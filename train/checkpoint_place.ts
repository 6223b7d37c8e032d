/**
 * Where a run keeps its checkpoints: a folder on disk, or a store such as a browser's private file system.
 * @module
 */

import type { FolderInput, FolderSource } from "../io/file_source.ts";
import { checkWritableFolder, joinPath } from "../io/files.ts";
import { type FolderLock, lockFolder } from "../io/folder_lock.ts";
import type { FolderStore } from "../io/folder_store.ts";
import type { FolderOutput } from "../io/folder_target.ts";
import { openFolder } from "../io/open_file.ts";
import { removeStagedFolder, verifyFolder, writeFolderAtomic } from "../io/staged_folder.ts";
import { readManifest, verifyStoreFolder, writeStoreFolder } from "../io/staged_store.ts";
import { checkpointPath, type Found, listCheckpoints, newestFirst, stepOfName } from "./find_checkpoint.ts";

/** A place for checkpoints. Their paths are those of folders on disk, or names in the store. */
export interface CheckpointPlace {
  /** What messages call it. */
  readonly name: string;
  /** Fails where nothing can be written. @param action what needs it */
  check(action: string): Promise<void>;
  /** Keeps other runs away until it is released. @throws {Error} where one is at work */
  lock(action: string): Promise<FolderLock>;
  /** The checkpoints, the newest first. */
  list(): Promise<Found[]>;
  /** The path of the checkpoint of a step; beside another, where one is given. */
  pathOf(step: number, beside?: string): Promise<string>;
  /** Writes a checkpoint, so that a crash leaves a whole one or none. */
  write(
    path: string,
    fill: (folder: FolderOutput & FolderInput) => Promise<void>,
    about: Readonly<Record<string, unknown>>,
  ): Promise<void>;
  /** A checkpoint's files, once each is found to be as it was written. @throws {Error} if one is not */
  open(path: string): Promise<FolderSource>;
  /** Removes a checkpoint. */
  remove(path: string): Promise<void>;
}

/** A folder on disk. */
function diskPlace(outputDir: string): CheckpointPlace {
  return {
    name: outputDir,
    check: (action) => checkWritableFolder(outputDir, action),
    lock: (action) => lockFolder(outputDir, action),
    list: () => listCheckpoints(outputDir),
    pathOf: async (step, beside) =>
      await checkpointPath(beside === undefined ? outputDir : await joinPath(beside, ".."), step),
    write: (path, fill, about) => writeFolderAtomic(path, fill, about),
    async open(path) {
      await verifyFolder(path);
      return openFolder(path);
    },
    remove: async (path) => void await removeStagedFolder(path),
  };
}

/** Stores that a run of this program writes to. */
const inUse = new Set<string>();

/** A store. Runs of other tabs are its owner's to keep away: a store has no lock that outlives a crash. */
function storePlace(store: FolderStore): CheckpointPlace {
  return {
    name: store.name,
    check: () => Promise.resolve(),
    lock(action) {
      if (inUse.has(store.name)) {
        return Promise.reject(
          new Error(
            `Cannot ${action}: a folder that no other run uses is required, received "${store.name}", in use`,
          ),
        );
      }
      inUse.add(store.name);
      return Promise.resolve({ release: () => Promise.resolve(void inUse.delete(store.name)) });
    },
    async list() {
      const found: Found[] = [];
      for (const name of await store.folders()) {
        const step = stepOfName(name);
        if (step === null) continue;
        const about = await readManifest(store.folder(name));
        found.push({ step, session: about && (typeof about.session === "number" ? about.session : 0) });
      }
      return newestFirst(found);
    },
    pathOf: (step) => Promise.resolve(`checkpoint-${step}`),
    write: (path, fill, about) => writeStoreFolder(store, path, fill, about),
    async open(path) {
      const folder = store.folder(path);
      await verifyStoreFolder(folder);
      return folder;
    },
    remove: (path) => store.remove(path),
  };
}

/** The place that `outputDir` names. */
export function checkpointPlace(outputDir: string | FolderStore): CheckpointPlace {
  return typeof outputDir === "string" ? diskPlace(outputDir) : storePlace(outputDir);
}

/** Whether each file of a checkpoint is as it was written. */
export async function isWhole(place: CheckpointPlace, path: string): Promise<boolean> {
  return await place.open(path).then(() => true, () => false);
}

/** The path of a place's newest whole checkpoint; null where there is none. Damaged ones are passed over with a warning. */
export async function newestCheckpoint(place: CheckpointPlace): Promise<string | null> {
  for (const { step } of await place.list()) {
    const path = await place.pathOf(step);
    try {
      await place.open(path);
      return path;
    } catch (error) {
      console.warn(`${(error as Error).message}; trying the checkpoint before it`);
    }
  }
  return null;
}

/** The same. @throws {Error} where there is none */
export async function findCheckpoint(place: CheckpointPlace): Promise<string> {
  const path = await newestCheckpoint(place);
  if (path !== null) return path;
  throw new Error(
    `Cannot resume from "${place.name}": at least one whole checkpoint is required, received none`,
  );
}

/**
 * The newest checkpoint of a folder whose files are as its manifest says: of those that the latest call of `train()`
 * wrote the one of the highest step, whatever an earlier run left in the folder. Damaged ones are passed over with a
 * warning.
 * @param outputDir a path, or a store
 * @returns its path, or its name in the store; null where there is none
 *
 * @example
 * ```ts
 * import { getLastCheckpoint } from "@peft/webgpu";
 *
 * console.log(await getLastCheckpoint("out/adapter") ?? "start from the beginning");
 * ```
 */
export function getLastCheckpoint(outputDir: string | FolderStore): Promise<string | null> {
  return newestCheckpoint(checkpointPlace(outputDir));
}
