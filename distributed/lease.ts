/**
 * A right that one process has at a time, for as long as it says that it lives: a record that the broker forgets unless it
 * is written again. The broker's clock alone decides, so that clocks of machines may differ.
 * @module
 */

import { BrokerError } from "./broker_error.ts";
import type { Records } from "./broker.ts";

/** Who has a lease already. */
export class LeaseTakenError extends Error {
  /** Its class. */
  override name = "LeaseTakenError";

  /** Says who. @param holder what the holder said of itself */
  constructor(message: string, readonly holder: string) {
    super(message);
  }
}

/** A lease that this process holds. */
export class Lease {
  readonly #records: Records;
  readonly #key: string;
  readonly #holder: string;
  readonly #lost = new AbortController();
  readonly #timer: ReturnType<typeof setInterval>;
  #revision: number;
  #renewal: Promise<void> = Promise.resolve();

  private constructor(records: Records, key: string, holder: string, revision: number) {
    this.#records = records;
    this.#key = key;
    this.#holder = holder;
    this.#revision = revision;
    const every = (records.ttlSeconds ?? 60) * 1000 / 3;
    this.#timer = setInterval(() => this.#renewal = this.#renew(), every);
  }

  /**
   * Takes a lease.
   * @param records such with `ttlSeconds`, or of one process
   * @param holder what others are told of this process
   * @throws {LeaseTakenError} where another holds it
   */
  static async take(records: Records, key: string, holder: string): Promise<Lease> {
    const revision = await records.create(key, holder);
    if (revision !== null) return new Lease(records, key, holder, revision);
    const other = (await records.get(key))?.value ?? "another process";
    throw new LeaseTakenError(
      `Cannot take the lease "${key}": a free one is required, received one that ${other} holds`,
      other,
    );
  }

  /** Aborts when another may have it: this process was silent for too long. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  async #renew(): Promise<void> {
    try {
      const next = await this.#records.update(this.#key, this.#holder, this.#revision) ??
        // forgotten, as after a long absence of the broker: ours again if nobody has taken it
        await this.#records.create(this.#key, this.#holder);
      if (next !== null) this.#revision = next;
      else this.#end();
    } catch (error) {
      if (!(error instanceof BrokerError)) throw error; // a broker that is away is asked again
    }
  }

  #end(): void {
    clearInterval(this.#timer);
    this.#lost.abort();
  }

  /** Gives it back. */
  async release(): Promise<void> {
    clearInterval(this.#timer);
    await this.#renewal;
    if (!this.#lost.signal.aborted) await this.#records.remove(this.#key);
  }
}
