/**
 * Queues, objects and records of one process: in memory, or with objects and records in a folder, so that work that was
 * interrupted goes on from them.
 * @module
 */

import {
  type Broker,
  type BrokerRecord,
  checkName,
  type Delivery,
  type ObjectStore,
  type OpenOptions,
  type QueueOptions,
  type Records,
  type RecordsOptions,
  type WorkQueue,
} from "./broker.ts";
import { BrokerError } from "./broker_error.ts";

/** Where texts and bytes are kept by name. */
interface Shelf {
  put(name: string, content: Uint8Array | ReadableStream<Uint8Array>): Promise<void>;
  create(name: string, content: Uint8Array): Promise<boolean>;
  size(name: string): Promise<number | null>;
  open(name: string): Promise<ReadableStream<Uint8Array> | null>;
  list(): Promise<string[]>;
  remove(name: string): Promise<void>;
}

const collect = async (content: Uint8Array | ReadableStream<Uint8Array>) =>
  new Uint8Array(await new Response(content as BodyInit).arrayBuffer());

/** Keeps them in memory. */
function memoryShelf(): Shelf {
  const kept = new Map<string, Uint8Array>();
  return {
    put: async (name, content) => void kept.set(name, await collect(content)),
    create(name, content) {
      const isFree = !kept.has(name);
      if (isFree) kept.set(name, content.slice());
      return Promise.resolve(isFree);
    },
    size: (name) => Promise.resolve(kept.get(name)?.length ?? null),
    open(name) {
      const bytes = kept.get(name);
      return Promise.resolve(bytes ? ReadableStream.from([bytes]) : null);
    },
    list: () => Promise.resolve([...kept.keys()].sort()),
    remove: (name) => Promise.resolve(void kept.delete(name)),
  };
}

/** Keeps them in a folder, a file each; names are written so that each is one file's name. */
function folderShelf(folder: string): Shelf {
  const fileOf = (name: string) => `${folder}/${encodeURIComponent(name).replaceAll(".", "%2E")}`;
  const fs = () => import("node:fs/promises");
  const unlessAbsent = (error: { code?: string }) => {
    if (error.code !== "ENOENT") throw error;
    return null;
  };
  const put = async (name: string, content: Uint8Array | ReadableStream<Uint8Array>) => {
    const { mkdir, open, rename } = await fs();
    await mkdir(folder, { recursive: true });
    const file = await open(`${fileOf(name)}.part`, "w");
    try {
      const pieces = content instanceof Uint8Array ? [content] : content;
      for await (const piece of pieces) await file.writeFile(piece);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(`${fileOf(name)}.part`, fileOf(name));
  };
  const size = async (name: string) => {
    const found = await (await fs()).stat(fileOf(name)).catch(unlessAbsent);
    return found && found.size;
  };
  let lastCreated: Promise<unknown> = Promise.resolve();
  return {
    put,
    size,
    create(name, content) {
      const write = async () => {
        if (await size(name) !== null) return false;
        await put(name, content);
        return true;
      };
      const created = lastCreated.then(write, write); // one after another
      lastCreated = created.catch(() => {});
      return created;
    },
    async open(name) {
      const { open } = await fs();
      const file = await open(fileOf(name)).catch(unlessAbsent);
      return file && ReadableStream.from(file.createReadStream()) as ReadableStream<Uint8Array>;
    },
    async list() {
      const names = await (await fs()).readdir(folder).catch(unlessAbsent) ?? [];
      return names.filter((name) => !name.endsWith(".part")).map(decodeURIComponent).sort();
    },
    async remove(name) {
      await (await fs()).rm(fileOf(name), { force: true });
    },
  };
}

/** A job that waits or is being worked on. */
interface Job {
  readonly id: string;
  readonly body: Uint8Array;
  attempt: number;
  /** When it may be taken, in milliseconds of `Date.now`; Infinity while it is being worked on. */
  from: number;
}

class LocalQueue implements WorkQueue {
  readonly ackWaitMs: number;
  readonly #jobs: Job[] = [];
  readonly #waiting = new Set<() => void>();

  constructor(ackWaitMs: number) {
    this.ackWaitMs = ackWaitMs;
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
  }

  add(id: string, body: Uint8Array): Promise<boolean> {
    if (this.#jobs.some((job) => job.id === id)) return Promise.resolve(false);
    this.#jobs.push({ id, body, attempt: 0, from: 0 });
    this.#wake();
    return Promise.resolve(true);
  }

  async take(waitMs: number): Promise<Delivery | null> {
    const end = Date.now() + waitMs;
    for (;;) {
      const job = this.#jobs.find(({ from }) => from <= Date.now());
      if (job) return this.#deliver(job);
      const rest = Math.min(end, ...this.#jobs.map(({ from }) => from)) - Date.now();
      if (Date.now() >= end) return null;
      await new Promise<void>((resolve) => {
        const wake = () => {
          clearTimeout(timer);
          this.#waiting.delete(wake);
          resolve();
        };
        const timer = setTimeout(wake, Math.max(1, rest));
        this.#waiting.add(wake);
      });
    }
  }

  /** A worker in this process ends with the queue, or gives the job back: nobody else would take it over. */
  #deliver(job: Job): Delivery {
    job.attempt++;
    job.from = Infinity;
    return {
      id: job.id,
      body: job.body,
      attempt: job.attempt,
      working: () => {},
      ack: () => {
        const place = this.#jobs.indexOf(job);
        if (place >= 0) this.#jobs.splice(place, 1);
        return Promise.resolve();
      },
      release: (delayMs = 0) => {
        job.from = Date.now() + delayMs;
        this.#wake();
        return Promise.resolve();
      },
    };
  }

  size(): Promise<number> {
    return Promise.resolve(this.#jobs.length);
  }
}

class LocalRecords implements Records {
  readonly ttlSeconds = null; // those that forget are in memory: they end with the process that would write them again
  readonly #shelf: Shelf;
  readonly #revisions = new Map<string, number>();
  /** One change after another. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(shelf: Shelf) {
    this.#shelf = shelf;
  }

  async get(key: string): Promise<BrokerRecord | null> {
    const stream = await this.#shelf.open(key);
    if (stream === null) return null;
    return {
      value: new TextDecoder().decode(await collect(stream)),
      revision: this.#revisions.get(key) ?? 1,
    };
  }

  keys(): Promise<string[]> {
    return this.#shelf.list();
  }

  /** Writes where the record has this revision: null for none there, undefined for any. */
  #write(key: string, value: string, revision: number | null | undefined): Promise<number | null> {
    const write = async () => {
      const there = await this.get(key);
      if (revision !== undefined && (there?.revision ?? null) !== revision) return null;
      await this.#shelf.put(key, new TextEncoder().encode(value));
      const next = (there?.revision ?? 0) + 1;
      this.#revisions.set(key, next);
      return next;
    };
    const written = this.#last.then(write, write);
    this.#last = written.catch(() => {});
    return written;
  }

  async put(key: string, value: string): Promise<number> {
    return (await this.#write(key, value, undefined))!;
  }

  create(key: string, value: string): Promise<number | null> {
    return this.#write(key, value, null);
  }

  update(key: string, value: string, revision: number): Promise<number | null> {
    return this.#write(key, value, revision);
  }

  async remove(key: string): Promise<void> {
    await this.#shelf.remove(key);
    this.#revisions.delete(key);
  }
}

const missing = (action: string, name: string) =>
  new BrokerError(
    "other",
    `Cannot ${action}: one that exists is required, received the name "${name}" of none`,
  );

/**
 * A broker in this process.
 *
 * @example
 * ```ts
 * import { LocalBroker } from "@peft/webgpu/distributed";
 *
 * const broker = new LocalBroker();
 * const queue = await broker.queue("jobs");
 * await queue.add("job-1", new TextEncoder().encode("train"));
 * const job = await queue.take(1000);
 * console.log(job?.id); // job-1
 * await job?.ack();
 * ```
 */
export class LocalBroker implements Broker {
  /** What messages call it. */
  readonly name = "this process";
  readonly #folder: string | null;
  readonly #queues = new Map<string, WorkQueue>();
  readonly #shelves = new Map<string, Shelf>();
  readonly #records = new Map<string, Records>();

  /** An empty one. @param folder where objects and records are kept; null: in memory */
  constructor(folder: string | null = null) {
    this.#folder = folder;
  }

  #shelf(kind: "objects" | "records", name: string): Shelf {
    const place = `${name}/${kind}`;
    const shelf = this.#shelves.get(place) ??
      (this.#folder === null ? memoryShelf() : folderShelf(`${this.#folder}/${place}`));
    this.#shelves.set(place, shelf);
    return shelf;
  }

  /** Whether a shelf was opened here, or by an earlier process. */
  async #hasShelf(kind: "objects" | "records", name: string): Promise<boolean> {
    const place = `${name}/${kind}`;
    if (this.#shelves.has(place) || this.#folder === null) return this.#shelves.has(place);
    const { stat } = await import("node:fs/promises");
    return await stat(`${this.#folder}/${place}`).then(() => true, () => false);
  }

  /** Lets a shelf exist for later processes too, whether or not anything comes to lie on it. */
  async #makeShelf(kind: "objects" | "records", name: string): Promise<void> {
    if (this.#folder === null) return;
    const { mkdir } = await import("node:fs/promises");
    await mkdir(`${this.#folder}/${name}/${kind}`, { recursive: true });
  }

  /** A queue of this process. @throws {RangeError} for a name that is none @throws {BrokerError} as `OpenOptions` say */
  async queue(
    name: string,
    { ackWaitMs = 30_000, mustExist = false }: QueueOptions = {},
  ): Promise<WorkQueue> {
    const queue = this.#queues.get(checkName("open a queue", name));
    if (!queue && mustExist) throw missing("open a queue", name);
    const opened = queue ?? new LocalQueue(ackWaitMs);
    this.#queues.set(name, opened);
    return await Promise.resolve(opened);
  }

  /** A store in the folder, or in memory. @throws {RangeError} for a name that is none @throws {BrokerError} as `OpenOptions` say */
  async objects(name: string, { mustExist = false }: OpenOptions = {}): Promise<ObjectStore> {
    checkName("open a store", name);
    if (mustExist && !await this.#hasShelf("objects", name)) throw missing("open a store", name);
    await this.#makeShelf("objects", name);
    return this.#shelf("objects", name);
  }

  /**
   * Records in the folder, or in memory; such with a time to live in memory.
   * @throws {RangeError} for a name that is none @throws {BrokerError} as `OpenOptions` say
   */
  async records(name: string, { ttlSeconds, mustExist = false }: RecordsOptions = {}): Promise<Records> {
    const isOpen = this.#records.has(checkName("open records", name));
    if (!isOpen && mustExist && !await this.#hasShelf("records", name)) throw missing("open records", name);
    await this.#makeShelf("records", name);
    const records = this.#records.get(name) ?? // one for all callers: revisions are counted in it
      new LocalRecords(ttlSeconds === undefined ? this.#shelf("records", name) : memoryShelf());
    this.#records.set(name, records);
    return records;
  }

  /** Removes all of a name. */
  async remove(name: string): Promise<void> {
    checkName("remove from the broker", name);
    for (const kind of ["objects", "records"] as const) {
      const shelf = this.#shelf(kind, name);
      for (const object of await shelf.list()) await shelf.remove(object);
      this.#shelves.delete(`${name}/${kind}`);
    }
    this.#queues.delete(name);
    this.#records.delete(name);
    if (this.#folder === null) return;
    const { rm } = await import("node:fs/promises");
    await rm(`${this.#folder}/${name}`, { recursive: true, force: true });
  }

  /** Nothing that could be away. */
  endWith(_signal: AbortSignal): void {}

  /** Nothing to end. */
  close(): Promise<void> {
    return Promise.resolve();
  }
}
