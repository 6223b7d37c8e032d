/**
 * What a trial keeps in the object store: checkpoints, of which another worker goes on, and at its end what it trained.
 * @module
 */

import { basename, join } from "@std/path";
import { isSafeRelativePath } from "@peft/webgpu/io";
import type { ObjectStore } from "@peft/webgpu/distributed";

/** Written last and removed first: a checkpoint without it is none. */
const MANIFEST = "manifest.json";
const CHECKPOINT = /^checkpoint-(\d+)$/;

/** Every file below a folder, by its path in it, those of `MANIFEST` last. */
async function filesBelow(folder: string, prefix = ""): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory, isFile } of Deno.readDir(join(folder, prefix))) {
    if (isDirectory) found.push(...await filesBelow(folder, `${prefix}${name}/`));
    else if (isFile) found.push(`${prefix}${name}`);
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

  async #put(part: string, path: string, file: string): Promise<void> {
    await this.#store.put(`${this.#prefix}${part}/${path}`, (await Deno.open(file)).readable);
  }

  /** Fetches objects below `part` into a folder. */
  async #fetch(part: string, paths: readonly string[], folder: string): Promise<void> {
    for (const path of paths) {
      if (!isSafeRelativePath(path)) {
        throw new RangeError(
          `Cannot fetch a trial's files: a relative path is required, received ${JSON.stringify(path)}`,
        );
      }
      const content = await this.#store.open(`${this.#prefix}${part}/${path}`);
      if (content === null) continue; // removed meanwhile
      await Deno.mkdir(join(folder, path, ".."), { recursive: true });
      await Deno.writeFile(join(folder, path), content);
    }
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
  async keepCheckpoints(folder: string): Promise<void> {
    const here: string[] = [];
    for await (const { name, isDirectory } of Deno.readDir(folder)) {
      if (isDirectory && CHECKPOINT.test(name)) here.push(name);
    }
    const there = await this.#list("checkpoints");
    for (const name of here) {
      if (there.includes(`${name}/${MANIFEST}`)) continue;
      for (const path of await filesBelow(join(folder, name))) {
        await this.#put("checkpoints", `${name}/${path}`, join(folder, name, path));
      }
    }
    await this.#remove("checkpoints", there.filter((path) => !here.includes(path.split("/")[0])));
  }

  /** Keeps one checkpoint and the newest before it, and no older ones: others may be reading that one. */
  async keepCheckpoint(folder: string): Promise<void> {
    const name = basename(folder);
    const there = await this.#list("checkpoints");
    if (!there.includes(`${name}/${MANIFEST}`)) {
      for (const path of await filesBelow(folder)) {
        await this.#put("checkpoints", `${name}/${path}`, join(folder, path));
      }
    }
    const [before = 0] = (await this.steps()).slice(-2);
    const isOlder = (path: string) => Number(CHECKPOINT.exec(path.split("/")[0])?.[1]) < before;
    await this.#remove("checkpoints", there.filter(isOlder));
  }

  /** Fetches the whole checkpoints into a folder. */
  async fetchCheckpoints(folder: string): Promise<void> {
    const whole = new Set((await this.steps()).map((step) => `checkpoint-${step}`));
    const paths = (await this.#list("checkpoints")).filter((path) => whole.has(path.split("/")[0]));
    await this.#fetch("checkpoints", paths, folder);
  }

  /** Removes all checkpoints: the trial is done. */
  async removeCheckpoints(): Promise<void> {
    await this.#remove("checkpoints", await this.#list("checkpoints"));
  }

  /** Keeps the files at the top of a folder, which are what was trained. */
  async keepTrained(folder: string): Promise<void> {
    for (const path of await filesBelow(folder)) {
      if (!CHECKPOINT.test(path.split("/")[0])) await this.#put("trained", path, join(folder, path));
    }
  }

  /** Fetches what was trained. */
  async fetchTrained(folder: string): Promise<void> {
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
