/**
 * What the engine keeps in the browser: models from the hub, runs and adapters, each in a folder.
 * @module
 */

import {
  type FolderSource,
  type FolderStore,
  handleStore,
  memoryStore,
  type WritableDirectoryHandle,
} from "@peft/webgpu/io";
import type { StorageFacts, StorageReport } from "../protocol.ts";
import { Refusal } from "./errors.ts";

/** What the engine needs of a browser's `navigator`. */
export interface BrowserStorage {
  /** The origin's private file system. */
  getDirectory?(): Promise<WritableDirectoryHandle>;
  /** How much there is and how much is used. */
  estimate?(): Promise<{ quota?: number; usage?: number }>;
  /** Whether it promised that. */
  persisted?(): Promise<boolean>;
}

/** The folder of everything. */
const ROOT = "peft-studio";

/** Kinds of entries: each has a folder. */
const KINDS = { model: "models", run: "runs", adapter: "adapters" } as const;

/** Bytes of a folder's files, those of its folders included. */
export async function bytesOf(folder: FolderStore): Promise<number> {
  let bytes = 0;
  for (const name of await folder.list()) {
    const source = await folder.open(name);
    bytes += source?.size ?? 0;
    await source?.close();
  }
  for (const name of await folder.folders()) bytes += await bytesOf(folder.folder(name));
  return bytes;
}

/** Copies files of a folder, by their paths in it. */
export async function copyFiles(
  from: FolderSource,
  paths: Iterable<string>,
  to: FolderStore,
): Promise<void> {
  for (const path of paths) {
    const source = await from.open(path);
    if (!source) throw new Error(`Cannot copy "${path}": a file of ${from.name} is required, received none`);
    await to.write(path, await source.read(0, source.size));
    await source.close();
  }
}

/** A JSON file of a store; null where there is none that can be read. */
export async function readJson<T>(folder: FolderStore, name: string): Promise<T | null> {
  const source = await folder.open(name);
  if (!source) return null;
  try {
    return JSON.parse(new TextDecoder().decode(await source.read(0, source.size))) as T;
  } catch {
    return null;
  } finally {
    await source.close();
  }
}

/** Writes a JSON file, whole or not at all. */
export async function writeJson(folder: FolderStore, name: string, value: unknown): Promise<void> {
  await folder.write(name, `${JSON.stringify(value)}\n`);
}

/** The engine's part of the browser's storage. */
export class EngineStorage {
  /** Everything lies below it. */
  readonly root: FolderStore;
  /** Whether it outlives the tab. */
  readonly isLasting: boolean;
  readonly #browser: BrowserStorage;

  private constructor(root: FolderStore, isLasting: boolean, browser: BrowserStorage) {
    this.root = root;
    this.isLasting = isLasting;
    this.#browser = browser;
  }

  /** Opens it; in memory where the browser gives none, as in some private windows. */
  static async open(browser: BrowserStorage): Promise<EngineStorage> {
    try {
      const handle = await browser.getDirectory?.();
      if (handle) {
        const folder = await handle.getDirectoryHandle(ROOT, { create: true });
        return new EngineStorage(handleStore(folder, ROOT), true, browser);
      }
    } catch {
      // a browser that refuses it
    }
    return new EngineStorage(memoryStore(ROOT), false, browser);
  }

  /** Models from the hub, by folder. */
  get models(): FolderStore {
    return this.root.folder(KINDS.model);
  }

  /** Runs, by id. */
  get runs(): FolderStore {
    return this.root.folder(KINDS.run);
  }

  /** Adapters, by id. */
  get adapters(): FolderStore {
    return this.root.folder(KINDS.adapter);
  }

  /** What the browser says of it. */
  async facts(): Promise<StorageFacts> {
    const found = await this.#browser.estimate?.().catch(() => null);
    const { quota = null, usage = null } = found ?? {};
    const isPersisted = await this.#browser.persisted?.().catch(() => false) ?? false;
    return { isAvailable: this.isLasting, quota, usage, isPersisted };
  }

  /** Everything that lies there. @param inUse ids of entries that are open */
  async report(inUse: ReadonlySet<string>): Promise<StorageReport> {
    const entries: StorageReport["entries"][number][] = [];
    for (const [kind, name] of Object.entries(KINDS)) {
      const folder = this.root.folder(name);
      for (const id of await folder.folders()) {
        const entry = folder.folder(id);
        const about = await readJson<{ name?: string }>(entry, "about.json");
        entries.push({
          entryId: `${name}/${id}`,
          kind: kind as keyof typeof KINDS,
          name: about?.name ?? id,
          bytes: await bytesOf(entry),
          inUse: inUse.has(`${name}/${id}`),
        });
      }
    }
    return { ...await this.facts(), entries };
  }

  /** Deletes an entry. @throws {Refusal} for one that is open or not there */
  async delete(entryId: string, inUse: ReadonlySet<string>): Promise<void> {
    if (inUse.has(entryId)) {
      throw new Refusal("busy", "This is in use.", "Close the model or stop the training first.", entryId);
    }
    const [folder, id, ...rest] = entryId.split("/");
    const isKnown = (Object.values(KINDS) as string[]).includes(folder) && rest.length === 0;
    if (!isKnown || !(await this.root.folder(folder).folders()).includes(id)) {
      throw new Refusal(
        "bad-settings",
        "This is no longer in storage.",
        "Look at the list again.",
        entryId,
      );
    }
    await this.root.remove(entryId);
  }
}
