/**
 * What work on several machines needs of a broker: queues of jobs, stores of objects, and records that are written by one
 * at a time. `LocalBroker` keeps them in this process, `JetStreamBroker` in NATS.
 * @module
 */

/**
 * A job as it was given to this worker.
 *
 * @example
 * ```ts
 * import { type Delivery, LocalBroker } from "@peft/webgpu/distributed";
 *
 * // does a job, and says so while it lasts; one that failed three workers is given up
 * async function work(job: Delivery, body: (text: string) => Promise<void>): Promise<void> {
 *   if (job.attempt > 3) return await job.ack();
 *   const timer = setInterval(() => job.working(), 5000);
 *   await body(new TextDecoder().decode(job.body)).then(() => job.ack(), () => job.release(1000));
 *   clearInterval(timer);
 * }
 * const queue = await new LocalBroker().queue("greetings");
 * await queue.add("first", new TextEncoder().encode("Ahoy"));
 * await work((await queue.take(0))!, (text) => Promise.resolve(console.log(text))); // Ahoy
 * ```
 */
export interface Delivery {
  /** The job's own name in its queue. */
  readonly id: string;
  /** What was given to `add`. */
  readonly body: Uint8Array;
  /** How often it was given to a worker, this time included. */
  readonly attempt: number;
  /** Says that work goes on: the broker waits once more before it gives the job to another. */
  working(): void;
  /** Ends the job. Once it returns, the job is given to nobody any more. */
  ack(): Promise<void>;
  /** Gives the job back, for another to take after `delayMs`. */
  release(delayMs?: number): Promise<void>;
}

/**
 * Jobs that are each done by one worker. One that is neither ended nor worked on for a while is given to another.
 *
 * @example
 * ```ts
 * import { LocalBroker, type WorkQueue } from "@peft/webgpu/distributed";
 *
 * const queue: WorkQueue = await new LocalBroker().queue("evaluations");
 * const job = new TextEncoder().encode('{"adapter":"pirate"}');
 * console.log(await queue.add("pirate", job), await queue.add("pirate", job)); // true false: it waits already
 * console.log(await queue.size()); // 1
 * ```
 */
export interface WorkQueue {
  /** Milliseconds without `working()` after which a job is given to another worker. */
  readonly ackWaitMs: number;
  /** Adds a job. @returns whether it was added: not where one of this id waits or is being worked on */
  add(id: string, body: Uint8Array): Promise<boolean>;
  /** The next job; null when none came within `waitMs`. */
  take(waitMs: number): Promise<Delivery | null>;
  /** Jobs that wait or are being worked on. */
  size(): Promise<number>;
}

/**
 * Bytes by name, whole or not at all.
 *
 * @example
 * ```ts
 * import { LocalBroker, type ObjectStore } from "@peft/webgpu/distributed";
 *
 * const store: ObjectStore = await new LocalBroker().objects("adapters");
 * await store.put("pirate/adapter_config.json", new TextEncoder().encode("{}"));
 * console.log(await store.list(), await store.size("pirate/adapter_config.json")); // [ "pirate/adapter_config.json" ] 2
 * ```
 */
export interface ObjectStore {
  /** Keeps an object in place of one of the same name. @throws {BrokerError} "full" where there is no room */
  put(name: string, content: Uint8Array | ReadableStream<Uint8Array>): Promise<void>;
  /**
   * Keeps an object unless one of that name is there: of several that are stored at once, all readers see one, which stays.
   * @returns whether it was kept @throws {BrokerError} "full" where there is no room
   */
  create(name: string, content: Uint8Array): Promise<boolean>;
  /** Its bytes' number; null where there is none. */
  size(name: string): Promise<number | null>;
  /** Its bytes, checked against the hash they were stored with; null where there is none. */
  open(name: string): Promise<ReadableStream<Uint8Array> | null>;
  /** Names of all objects, sorted. */
  list(): Promise<string[]>;
  /** Removes an object; one that is not there is no error. */
  remove(name: string): Promise<void>;
}

/**
 * A record as it was read.
 *
 * @example
 * ```ts
 * import { type BrokerRecord, LocalBroker } from "@peft/webgpu/distributed";
 *
 * const records = await new LocalBroker().records("best");
 * await records.put("loss", "2.5");
 * const { value, revision }: BrokerRecord = (await records.get("loss"))!;
 * const isWritten = await records.update("loss", String(Math.min(Number(value), 2.1)), revision);
 * console.log(isWritten !== null); // true: nobody else wrote it in between
 * ```
 */
export interface BrokerRecord {
  /** The text. */
  readonly value: string;
  /** Grows with each change. */
  readonly revision: number;
}

/**
 * Small texts by key, each changed only by one who knows its latest revision. Keys: letters, digits, `-_=./`.
 *
 * @example
 * ```ts
 * import { LocalBroker, type Records } from "@peft/webgpu/distributed";
 *
 * // counts up, also where several processes do so at once
 * async function next(records: Records, key: string): Promise<number> {
 *   for (;;) {
 *     const last = await records.get(key);
 *     if (!last && await records.create(key, "1") !== null) return 1;
 *     const count = Number(last?.value) + 1;
 *     if (last && await records.update(key, String(count), last.revision) !== null) return count;
 *   }
 * }
 * const records = await new LocalBroker().records("counters");
 * console.log(await next(records, "trials"), await next(records, "trials")); // 1 2
 * ```
 */
export interface Records {
  /** Seconds after which a record that is not written again is gone, by the broker's own clock; null for never. */
  readonly ttlSeconds: number | null;
  /** A record; null where there is none. */
  get(key: string): Promise<BrokerRecord | null>;
  /** Keys of all records, sorted; one may be gone when it is read. */
  keys(): Promise<string[]>;
  /** Writes, whatever was there. @returns its revision */
  put(key: string, value: string): Promise<number>;
  /** Writes a record that must not exist. @returns its revision, or null where there is one */
  create(key: string, value: string): Promise<number | null>;
  /** Writes in place of a revision. @returns the new one, or null where it was changed since */
  update(key: string, value: string, revision: number): Promise<number | null>;
  /** Removes a record; one that is not there is no error. */
  remove(key: string): Promise<void>;
}

/**
 * Settings of anything that is opened by name.
 *
 * @example
 * ```ts
 * import { LocalBroker, type OpenOptions } from "@peft/webgpu/distributed";
 *
 * const existing: OpenOptions = { mustExist: true }; // a worker joins what was begun, and begins nothing itself
 * await new LocalBroker().queue("pirrate", existing).catch((error) => console.log(error.message));
 * ```
 */
export interface OpenOptions {
  /** Whether it must be there already, else a BrokerError: what another process may remove is not made again. Default false. */
  readonly mustExist?: boolean;
}

/**
 * Settings of a queue.
 *
 * @example
 * ```ts
 * import { LocalBroker, type QueueOptions } from "@peft/webgpu/distributed";
 *
 * const longJobs: QueueOptions = { ackWaitMs: 120_000 }; // workers that say nothing for two minutes are taken for dead
 * console.log((await new LocalBroker().queue("trainings", longJobs)).ackWaitMs);
 * ```
 */
export interface QueueOptions extends OpenOptions {
  /** Milliseconds without a sign of life after which a job is given to another. Default 30000. */
  readonly ackWaitMs?: number;
}

/**
 * Settings of records.
 *
 * @example
 * ```ts
 * import { LocalBroker, type RecordsOptions } from "@peft/webgpu/distributed";
 *
 * const signsOfLife: RecordsOptions = { ttlSeconds: 10 }; // gone unless it is written again
 * const alive = await new LocalBroker().records("alive", signsOfLife);
 * await alive.put("worker-1", new Date().toISOString());
 * console.log(await alive.keys()); // [ "worker-1" ]
 * ```
 */
export interface RecordsOptions extends OpenOptions {
  /** Seconds after which a record is gone unless it is written again. Default: never. */
  readonly ttlSeconds?: number;
}

/**
 * Queues, stores and records by name: letters, digits, `-` and `_`. What does not exist is made, unless it must exist.
 *
 * @example
 * ```ts
 * import { type Broker, LocalBroker, readRecords } from "@peft/webgpu/distributed";
 *
 * // what a sweep has found so far, whichever broker it runs over
 * async function lossesOf(broker: Broker, sweep: string): Promise<Map<string, number>> {
 *   const results = await readRecords(await broker.records(sweep));
 *   return new Map([...results].map(([trial, { value }]) => [trial, Number(value)]));
 * }
 * const broker = new LocalBroker();
 * await (await broker.records("pirate")).put("rank-8", "2.1");
 * console.log(await lossesOf(broker, "pirate")); // Map(1) { "rank-8" => 2.1 }
 * ```
 */
export interface Broker {
  /** What messages call it. */
  readonly name: string;
  /** Opens a queue. */
  queue(name: string, options?: QueueOptions): Promise<WorkQueue>;
  /** Opens a store of objects. */
  objects(name: string, options?: OpenOptions): Promise<ObjectStore>;
  /** Opens records. */
  records(name: string, options?: RecordsOptions): Promise<Records>;
  /** Removes queue, objects and records of a name with all they hold; what is not there is no error. */
  remove(name: string): Promise<void>;
  /**
   * Waits for nobody once `signal` aborts, because this process ends: what a broker that is away, or says nothing for three
   * seconds, was or is asked fails. One that answers is used until `close()`.
   */
  endWith(signal: AbortSignal): void;
  /** Ends the connection. */
  close(): Promise<void>;
}

/**
 * All bytes of an object; null where there is none.
 *
 * @example
 * ```ts
 * import { LocalBroker, readObject } from "@peft/webgpu/distributed";
 *
 * const store = await new LocalBroker().objects("files");
 * await store.put("a", new Uint8Array([1, 2, 3]));
 * console.log(await readObject(store, "a")); // Uint8Array [ 1, 2, 3 ]
 * ```
 * @throws {RangeError} where it has more than `maxBytes`
 */
export async function readObject(
  store: ObjectStore,
  name: string,
  maxBytes: number = Infinity,
): Promise<Uint8Array<ArrayBuffer> | null> {
  const size = await store.size(name);
  if (size === null) return null;
  if (size > maxBytes) {
    throw new RangeError(
      `Cannot read the object "${name}": at most ${maxBytes} bytes are required, received ${size}`,
    );
  }
  const stream = await store.open(name);
  return stream && new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Requests to a broker that are under way at once: enough to hide the way to it, too few to flood it. */
const AT_ONCE = 64;

/**
 * Does something for each item, many at once, in order of the items.
 *
 * @example
 * ```ts
 * import { forEachAtOnce } from "@peft/webgpu/distributed";
 *
 * console.log(await forEachAtOnce([1, 2, 3], (n) => Promise.resolve(n * n))); // [ 1, 4, 9 ]
 * ```
 */
export async function forEachAtOnce<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let at = 0; at < items.length; at += AT_ONCE) {
    results.push(...await Promise.all(items.slice(at, at + AT_ONCE).map(work)));
  }
  return results;
}

/**
 * Every record whose key is wanted.
 *
 * @example
 * ```ts
 * import { LocalBroker, readRecords } from "@peft/webgpu/distributed";
 *
 * const records = await new LocalBroker().records("results");
 * await records.put("trial-1", "0.25");
 * console.log((await readRecords(records)).get("trial-1")?.value); // 0.25
 * ```
 */
export async function readRecords(
  records: Records,
  isWanted: (key: string) => boolean = () => true,
): Promise<Map<string, BrokerRecord>> {
  const keys = (await records.keys()).filter(isWanted);
  const found = await forEachAtOnce(keys, async (key) => [key, await records.get(key)] as const);
  return new Map(found.filter((entry): entry is [string, BrokerRecord] => entry[1] !== null));
}

/**
 * Checks a name of queues, stores and records.
 *
 * @example
 * ```ts
 * import { checkName } from "@peft/webgpu/distributed";
 *
 * console.log(checkName("begin a sweep", "pirate_1")); // pirate_1
 * ```
 * @throws {RangeError}
 */
export function checkName(action: string, name: string): string {
  if (/^[A-Za-z0-9_-]{1,64}$/.test(name)) return name;
  throw new RangeError(
    `Cannot ${action}: a name of up to 64 letters, digits, - and _ is required, received ${
      JSON.stringify(name)
    }`,
  );
}
