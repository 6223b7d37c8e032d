/**
 * What a trial keeps in the object store: checkpoints, of which another worker goes on, and at its end what it trained.
 * @module
 */

import { type FolderStore, isSafeRelativePath } from "@peft/webgpu/io";
import type { ObjectStore } from "@peft/webgpu/distributed";
import { piecesOf, streamOf } from "./streams.ts";

/** Milliseconds that a checkpoint waits for a broker that is away before training goes on without it. */
export const CHECKPOINT_PATIENCE_MS = 20_000;

/** Written last and removed first: a checkpoint without it is none. */
const MANIFEST = "manifest.json";
const CHECKPOINT = /^checkpoint-(\d+)$/;

/** Every file below a folder, by its path in it, those of `MANIFEST` last. */
async function filesBelow(folder: FolderStore, prefix = ""): Promise<string[]> {
  const found = (await folder.list()).map((name) => `${prefix}${name}`);
  for (const name of await folder.folders()) {
    found.push(...await filesBelow(folder.folder(name), `${prefix}${name}/`));
  }
  const isLast = (path: string) => Number(path.endsWith(MANIFEST));
  return found.sort((a, b) => isLast(a) - isLast(b) || (a < b ? -1 : 1));
}

/** The objects of one trial. */
export class TrialStore {
  readonly #store: ObjectStore;
  readonly #prefix: string;

  constructor(store: ObjectStore, trial: number) {
    this.#store = store;
    this.#prefix = `trial-${trial}/`;
  }

  /** Paths of the trial's objects below `part`. */
  async #list(part: string): Promise<string[]> {
    const prefix = `${this.#prefix}${part}/`;
    const names = (await this.#store.list()).filter((name) => name.startsWith(prefix));
    return names.map((name) => name.slice(prefix.length));
  }

  /** Keeps files of a folder below `part`, in order. */
  async #put(part: string, folder: FolderStore, paths: readonly string[], prefix = ""): Promise<void> {
    for (const path of paths) {
      const file = await folder.open(path);
      if (file === undefined) throw new Error(`Cannot keep "${path}": a file is required, received none`);
      try {
        await this.#store.put(`${this.#prefix}${part}/${prefix}${path}`, streamOf(file));
      } finally {
        await file.close();
      }
    }
  }

  /** Fetches objects below `part` into a folder. @returns whether all were there still */
  async #fetch(part: string, paths: readonly string[], folder: FolderStore): Promise<boolean> {
    let isWhole = true;
    for (const path of paths) {
      if (!isSafeRelativePath(path)) {
        throw new RangeError(
          `Cannot fetch a trial's files: a relative path is required, received ${JSON.stringify(path)}`,
        );
      }
      const content = await this.#store.open(`${this.#prefix}${part}/${path}`);
      if (content !== null) await folder.write(path, piecesOf(content));
      else isWhole = false; // it was removed meanwhile
    }
    return isWhole;
  }

  /** Removes objects below `part`, manifests first. */
  async #remove(part: string, paths: readonly string[]): Promise<void> {
    const isFirst = (path: string) => Number(!path.endsWith(MANIFEST));
    for (const path of paths.toSorted((a, b) => isFirst(a) - isFirst(b))) {
      await this.#store.remove(`${this.#prefix}${part}/${path}`);
    }
  }

  /** Steps of the whole checkpoints that are kept, ascending. */
  async steps(): Promise<number[]> {
    const found = (await this.#list("checkpoints")).map((path) => path.split("/"));
    const whole = found.filter(([folder, file]) => CHECKPOINT.test(folder) && file === MANIFEST);
    return whole.map(([folder]) => Number(CHECKPOINT.exec(folder)![1])).sort((a, b) => a - b);
  }

  /** Keeps what a folder has of checkpoints, and no others. */
  async keepCheckpoints(folder: FolderStore): Promise<void> {
    const here = (await folder.folders()).filter((name) => CHECKPOINT.test(name));
    const there = await this.#list("checkpoints");
    for (const name of here) {
      if (there.includes(`${name}/${MANIFEST}`)) continue;
      const files = folder.folder(name);
      await this.#put("checkpoints", files, await filesBelow(files), `${name}/`);
    }
    await this.#remove("checkpoints", there.filter((path) => !here.includes(path.split("/")[0])));
  }

  /**
   * Keeps one checkpoint and the newest before it, and no older ones: others may be reading that one.
   * @param name such as `checkpoint-8`
   */
  async keepCheckpoint(name: string, files: FolderStore): Promise<void> {
    const there = await this.#list("checkpoints");
    if (!there.includes(`${name}/${MANIFEST}`)) {
      await this.#put("checkpoints", files, await filesBelow(files), `${name}/`);
    }
    const [before = 0] = (await this.steps()).slice(-2);
    const isOlder = (path: string) => Number(CHECKPOINT.exec(path.split("/")[0])?.[1]) < before;
    await this.#remove("checkpoints", there.filter(isOlder));
  }

  /** Fetches the whole checkpoints into a folder, but for one that is removed meanwhile. */
  async fetchCheckpoints(folder: FolderStore): Promise<void> {
    for (const step of (await this.steps()).reverse()) { // the oldest is the one that others remove
      const name = `checkpoint-${step}`;
      const paths = (await this.#list("checkpoints")).filter((path) => path.split("/")[0] === name);
      const isWhole = await this.#fetch("checkpoints", paths, folder);
      if (!isWhole || !paths.includes(`${name}/${MANIFEST}`)) await folder.remove(name);
    }
  }

  /** Removes all checkpoints: the trial is done. */
  async removeCheckpoints(): Promise<void> {
    await this.#remove("checkpoints", await this.#list("checkpoints"));
  }

  /** Keeps the files of a folder, which are what was trained, but for checkpoints. */
  async keepTrained(folder: FolderStore): Promise<void> {
    const paths = (await filesBelow(folder)).filter((path) => !CHECKPOINT.test(path.split("/")[0]));
    await this.#put("trained", folder, paths);
  }

  /** Fetches what was trained. */
  async fetchTrained(folder: FolderStore): Promise<void> {
    await this.#fetch("trained", await this.#list("trained"), folder);
  }

  /** Removes what was trained: another trial is better. */
  async removeTrained(): Promise<void> {
    await this.#remove("trained", await this.#list("trained"));
  }

  /** Keeps the curves. */
  async keepCurves(curves: object): Promise<void> {
    await this.#store.put(`${this.#prefix}curves.json`, new TextEncoder().encode(JSON.stringify(curves)));
  }

  /** Where the curves are. */
  get curvesObject(): string {
    return `${this.#prefix}curves.json`;
  }
}
