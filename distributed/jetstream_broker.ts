/**
 * Queues, objects and records in NATS JetStream: a stream of jobs with a durable consumer, an object store and a key-value
 * bucket for each name. All are kept in files on the server, so that they outlive it.
 * @module
 */

import {
  AckPolicy,
  type Consumer,
  DiscardPolicy,
  jetstream,
  type JetStreamClient,
  type JetStreamManager,
  jetstreamManager,
  type JsMsg,
  RetentionPolicy,
  StorageType,
} from "@nats-io/jetstream";
import { type KV, Kvm } from "@nats-io/kv";
import { Objm } from "@nats-io/obj";
import { deadline, nanos, type NatsConnection } from "@nats-io/nats-core";
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
import { ask, codeOf, PATIENCE_MS, subjectsOf, WRONG_LAST_SEQUENCE } from "./jetstream_calls.ts";
import { JetStreamObjects } from "./jetstream_objects.ts";
import { brokerError, connectNats, type NatsOptions } from "./nats.ts";

/** What all streams and buckets of this program begin with. */
const PREFIX = "peft";
const CONSUMER = "workers";
const STREAM_NOT_FOUND = 10059;
const CONSUMER_NOT_FOUND = 10014;
/** Both "a job of this subject waits" and "the store is full"; the text tells them apart. */
const LIMIT_REACHED = 10077;

/** Milliseconds of silence after which a process that ends takes the broker for away. */
const SILENCE_MS = 3000;

/** Whether the broker is there, and whether this process waits for it. */
interface Presence {
  isAway: boolean;
  isEnding: boolean;
}

const delivery = (message: JsMsg, prefix: string, connection: NatsConnection): Delivery => {
  // the client's own calls say nothing of a connection that was closed
  const closed = () => connection.closed().then(() => Promise.reject(new Error("connection closed")));
  return {
    id: message.subject.slice(prefix.length),
    body: message.data,
    attempt: message.info.deliveryCount,
    working() {
      try {
        message.working();
      } catch { /* the connection was closed: the job is another's soon */ }
    },
    // without an answer the job would come again, which its result, written before, makes harmless
    ack: async () => void await ask("end a job", () => Promise.race([message.ackAck(), closed()])),
    async release(delayMs = 0) {
      if (connection.isClosed()) await ask("give a job back", closed);
      message.nak(delayMs);
    },
  };
};

class JetStreamQueue implements WorkQueue {
  readonly ackWaitMs: number;
  readonly #connection: NatsConnection;
  readonly #js: JetStreamClient;
  readonly #manager: JetStreamManager;
  readonly #stream: string;
  readonly #prefix: string;
  #consumer: Consumer | null = null;

  constructor(
    connection: NatsConnection,
    js: JetStreamClient,
    manager: JetStreamManager,
    stream: string,
    prefix: string,
    ackWaitMs: number,
  ) {
    this.#connection = connection;
    this.#js = js;
    this.#manager = manager;
    this.#stream = stream;
    this.#prefix = prefix;
    this.ackWaitMs = ackWaitMs;
  }

  async add(id: string, body: Uint8Array): Promise<boolean> {
    try {
      await this.#js.publish(`${this.#prefix}${id}`, body);
      return true;
    } catch (error) {
      const isThere = codeOf(error) === LIMIT_REACHED && /per subject/.test((error as Error).message);
      if (isThere) return false;
      throw brokerError("queue a job", error);
    }
  }

  async take(waitMs: number): Promise<Delivery | null> {
    return await ask("take a job", async () => {
      this.#consumer ??= await this.#js.consumers.get(this.#stream, CONSUMER);
      const message = await this.#consumer.next({ expires: Math.max(1000, waitMs) });
      return message && delivery(message, this.#prefix, this.#connection);
    }, waitMs + PATIENCE_MS);
  }

  async size(): Promise<number> {
    const { state } = await ask("count jobs", () => this.#manager.streams.info(this.#stream));
    return state.messages;
  }
}

class JetStreamRecords implements Records {
  readonly ttlSeconds: number | null;
  readonly #bucket: KV;
  readonly #name: string;
  readonly #manager: JetStreamManager;

  constructor(bucket: KV, name: string, manager: JetStreamManager, ttlSeconds: number | null) {
    this.#bucket = bucket;
    this.#name = name;
    this.#manager = manager;
    this.ttlSeconds = ttlSeconds;
  }

  async get(key: string): Promise<BrokerRecord | null> {
    const entry = await ask(`read the record "${key}"`, () => this.#bucket.get(key));
    if (entry === null || entry.operation !== "PUT") return null;
    return { value: entry.string(), revision: entry.revision };
  }

  async keys(): Promise<string[]> {
    const prefix = `$KV.${this.#name}.`;
    const keys = await ask("list records", () => subjectsOf(this.#manager, `KV_${this.#name}`, prefix));
    return keys.sort();
  }

  async put(key: string, value: string): Promise<number> {
    return await ask(`write the record "${key}"`, () => this.#bucket.put(key, value));
  }

  async create(key: string, value: string): Promise<number | null> {
    return await this.#writeIf(key, () => this.#bucket.create(key, value));
  }

  async update(key: string, value: string, revision: number): Promise<number | null> {
    return await this.#writeIf(key, () => this.#bucket.update(key, value, revision));
  }

  async #writeIf(key: string, write: () => Promise<number>): Promise<number | null> {
    try {
      return await write();
    } catch (error) {
      if (codeOf(error) === WRONG_LAST_SEQUENCE) return null;
      throw brokerError(`write the record "${key}"`, error);
    }
  }

  async remove(key: string): Promise<void> {
    const filter = `$KV.${this.#name}.${key}`;
    await ask(
      `remove the record "${key}"`,
      () => this.#manager.streams.purge(`KV_${this.#name}`, { filter }), // leaves no mark, which keys() would show
    );
  }
}

/**
 * A broker that is a NATS server with JetStream.
 *
 * @example
 * ```ts
 * import { JetStreamBroker } from "@peft/webgpu/distributed";
 *
 * // gives an evaluation to whichever machine takes it first
 * async function evaluateSomewhere(adapter: string): Promise<void> {
 *   const broker = await JetStreamBroker.connect({ url: "tls://broker.example.com:4222" });
 *   const queue = await broker.queue("evaluations");
 *   await queue.add(adapter, new TextEncoder().encode(JSON.stringify({ adapter })));
 *   await broker.close();
 * }
 * ```
 */
export class JetStreamBroker implements Broker {
  /** What messages call it. */
  readonly name: string;
  /** @internal The connection, for messages that are not kept. */
  readonly connection: NatsConnection;
  readonly #js: JetStreamClient;
  readonly #manager: JetStreamManager;
  readonly #presence: Presence;

  private constructor(connection: NatsConnection, manager: JetStreamManager, presence: Presence) {
    this.connection = connection;
    this.#presence = presence;
    this.name = `NATS at ${connection.getServer()}`;
    this.#js = jetstream(connection);
    this.#manager = manager;
  }

  /**
   * Connects.
   * @throws {BrokerError} as `connectNats`, and for a server without JetStream
   */
  static async connect(options: NatsOptions): Promise<JetStreamBroker> {
    const presence: Presence = { isAway: false, isEnding: false };
    const connection = await connectNats({
      ...options,
      onStatus(status) {
        presence.isAway = status === "disconnected";
        if (presence.isAway && presence.isEnding) void connection.close();
        options.onStatus?.(status);
      },
    });
    try {
      return new JetStreamBroker(connection, await jetstreamManager(connection), presence);
    } catch (cause) {
      await connection.close();
      const isOff = (cause as Error).name === "JetStreamNotEnabled" || codeOf(cause) === 10039;
      const wanted = isOff ? "use NATS with JetStream (start nats-server with -js)" : "use JetStream";
      throw brokerError(wanted, cause);
    }
  }

  /** A stream of jobs and its consumer. @throws {BrokerError} */
  async queue(
    name: string,
    { ackWaitMs = 30_000, mustExist = false }: QueueOptions = {},
  ): Promise<WorkQueue> {
    const stream = `${PREFIX}-jobs-${checkName("open a queue", name)}`;
    const prefix = `${PREFIX}.jobs.${name}.`;
    if (!mustExist) await ask("open a queue", () => this.#makeQueue(stream, prefix, ackWaitMs));
    const { config } = await ask("open a queue", () => this.#manager.consumers.info(stream, CONSUMER));
    const wait = (config.ack_wait ?? nanos(ackWaitMs)) / 1e6; // whoever opened it first has said it
    return new JetStreamQueue(this.connection, this.#js, this.#manager, stream, prefix, wait);
  }

  async #makeQueue(stream: string, prefix: string, ackWaitMs: number): Promise<void> {
    const { streams, consumers } = this.#manager;
    await streams.info(stream).catch((error) => {
      if (codeOf(error) !== STREAM_NOT_FOUND) throw error;
      return streams.add({
        name: stream,
        subjects: [`${prefix}>`],
        retention: RetentionPolicy.Workqueue,
        storage: StorageType.File,
        discard: DiscardPolicy.New, // a job is never dropped for a newer one
        discard_new_per_subject: true, // a job that waits is not added twice
        max_msgs_per_subject: 1,
      });
    });
    await consumers.info(stream, CONSUMER).catch((error) => {
      if (codeOf(error) !== CONSUMER_NOT_FOUND) throw error;
      return consumers.add(stream, {
        durable_name: CONSUMER,
        ack_policy: AckPolicy.Explicit,
        ack_wait: nanos(ackWaitMs),
        max_deliver: -1,
        max_ack_pending: 100_000,
      });
    });
  }

  /** An object store. @throws {BrokerError} */
  async objects(name: string, { mustExist = false }: OpenOptions = {}): Promise<ObjectStore> {
    const bucket = `${PREFIX}-${checkName("open a store", name)}`;
    const options = { storage: StorageType.File };
    const stores = new Objm(this.connection);
    const store = await ask(
      "open a store",
      () => mustExist ? stores.open(bucket) : stores.create(bucket, options),
    );
    return new JetStreamObjects(store, bucket, this.#manager);
  }

  /** A key-value bucket. @throws {BrokerError} */
  async records(name: string, { ttlSeconds, mustExist = false }: RecordsOptions = {}): Promise<Records> {
    const bucket = `${PREFIX}-${checkName("open records", name)}`;
    const options = { storage: StorageType.File, history: 1, ...ttlSeconds && { ttl: ttlSeconds * 1000 } };
    const buckets = new Kvm(this.connection);
    const kv = await ask("open records", async () => {
      if (!mustExist) return await buckets.create(bucket, options);
      await this.#manager.streams.info(`KV_${bucket}`); // the client opens what is not there, too
      return await buckets.open(bucket);
    });
    return new JetStreamRecords(kv, bucket, this.#manager, ttlSeconds ?? null);
  }

  /** Removes the three. @throws {BrokerError} */
  async remove(name: string): Promise<void> {
    checkName("remove from the broker", name);
    for (const stream of [`${PREFIX}-jobs-${name}`, `OBJ_${PREFIX}-${name}`, `KV_${PREFIX}-${name}`]) {
      await ask("remove from the broker", async () => {
        await this.#manager.streams.delete(stream).catch((error) => {
          if (codeOf(error) !== STREAM_NOT_FOUND) throw error;
        });
      });
    }
  }

  /** Ends the connection of a broker that is away, or silent, once `signal` aborts. */
  endWith(signal: AbortSignal): void {
    const end = async () => {
      this.#presence.isEnding = true;
      const answers = !this.#presence.isAway &&
        await deadline(this.connection.flush(), SILENCE_MS).then(() => true, () => false);
      if (!answers) await this.connection.close();
    };
    if (signal.aborted) void end();
    else signal.addEventListener("abort", () => void end(), { once: true });
  }

  /** Ends the connection. */
  async close(): Promise<void> {
    await this.connection.close();
  }
}
