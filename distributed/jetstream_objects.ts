/**
 * A store of objects in NATS JetStream.
 * @module
 */

import type { JetStreamManager } from "@nats-io/jetstream";
import type { ObjectResult, ObjectStore as NatsObjects } from "@nats-io/obj";
import type { ObjectStore } from "./broker.ts";
import { ask, codeOf, subjectsOf, WRONG_LAST_SEQUENCE } from "./jetstream_calls.ts";
import { brokerError } from "./nats.ts";

/** Names as the client is given them: ASCII, since it writes others otherwise than the servers' own tools. */
const toName = (name: string) => encodeURI(name);
const fromName = (name: string) => decodeURI(name);

/** The end of an object's subject: its name in base64 for URLs, with padding. */
const encodeName = (name: string) => btoa(toName(name)).replaceAll("+", "-").replaceAll("/", "_");
const decodeName = (encoded: string) => fromName(atob(encoded.replaceAll("-", "+").replaceAll("_", "/")));

/** Bytes as a stream, as every browser makes one. */
const streamOf = (bytes: Uint8Array) => new Blob([bytes as Uint8Array<ArrayBuffer>]).stream();

/** The objects of one bucket. */
export class JetStreamObjects implements ObjectStore {
  readonly #store: NatsObjects;
  readonly #manager: JetStreamManager;
  readonly #stream: string;
  /** What subjects of objects begin with; their encoded names follow. Source: NATS ADR-20 */
  readonly #metaSubject: string;
  /** Objects whose `create` failed, and what tells each from those of others: it may be there all the same. */
  readonly #unanswered = new Map<string, string>();

  constructor(store: NatsObjects, bucket: string, manager: JetStreamManager) {
    this.#store = store;
    this.#manager = manager;
    this.#stream = `OBJ_${bucket}`;
    this.#metaSubject = `$O.${bucket}.M.`;
  }

  async put(name: string, content: Uint8Array | ReadableStream<Uint8Array>): Promise<void> {
    const stream = content instanceof Uint8Array ? streamOf(content) : content;
    await ask(`store "${name}"`, () => this.#store.put({ name: toName(name) }, stream), Infinity); // each chunk has its timeout
  }

  /** An object whose answer was lost is stored again: the client has removed its pieces. */
  async create(name: string, content: Uint8Array): Promise<boolean> {
    const token = this.#unanswered.get(name) ?? crypto.randomUUID();
    this.#unanswered.delete(name);
    const write = async (previousRevision: number) => {
      const meta = { name: toName(name), metadata: { token } };
      await this.#store.put(meta, streamOf(content), { previousRevision });
    };
    try {
      await write(0);
      return true;
    } catch (error) {
      try {
        if (codeOf(error) !== WRONG_LAST_SEQUENCE) throw error;
        const there = await this.#store.info(toName(name));
        if (there?.metadata?.token !== token) return false;
        await write(there.revision);
        return true;
      } catch (cause) {
        this.#unanswered.set(name, token);
        throw brokerError(`store "${name}"`, cause);
      }
    }
  }

  async size(name: string): Promise<number | null> {
    const info = await ask(`look for "${name}"`, () => this.#store.info(toName(name)));
    return info === null || info.deleted ? null : info.size;
  }

  async open(name: string): Promise<ReadableStream<Uint8Array> | null> {
    const found = await ask(`read "${name}"`, () => this.#store.get(toName(name)));
    if (found === null) return null;
    const pieces = this.#pieces(name, found);
    return new ReadableStream({ // not every browser makes one of an iterable
      async pull(controller) {
        const { done, value } = await pieces.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
    });
  }

  async *#pieces(name: string, { data, error }: ObjectResult): AsyncGenerator<Uint8Array> {
    error.catch(() => {}); // reading tells it too
    const reader = data.getReader();
    // a reader that stops early lets the rest come: the client cannot bear that its stream is cancelled
    for (;;) {
      const { done, value } = await ask(`read "${name}"`, () => reader.read());
      if (done) return;
      yield value;
    }
  }

  async list(): Promise<string[]> {
    const names = await ask("list objects", () => subjectsOf(this.#manager, this.#stream, this.#metaSubject));
    return names.map(decodeName).sort();
  }

  /** By purging alone: a store that is full would refuse the client's mark that an object is deleted. */
  async remove(name: string): Promise<void> {
    await ask(`remove "${name}"`, async () => {
      const info = await this.#store.info(toName(name));
      if (info === null) return;
      await this.#manager.streams.purge(this.#stream, { filter: `${this.#metaSubject}${encodeName(name)}` });
      await this.#manager.streams.purge(this.#stream, { filter: `$O.${info.bucket}.C.${info.nuid}` });
    });
  }
}
