/**
 * A right that one process has at a time, for as long as it says that it lives: a record that the broker forgets unless it
 * is written again. The broker's clock alone decides, so that clocks of machines may differ.
 * @module
 */

import { BrokerError } from "./broker_error.ts";
import type { Records } from "./broker.ts";

/**
 * Who has a lease already.
 *
 * @example
 * ```ts
 * import { Lease, LeaseTakenError, LocalBroker } from "@peft/webgpu/distributed";
 *
 * const records = await new LocalBroker().records("leases");
 * const lease = await Lease.take(records, "trial-1", "the first process");
 * try {
 *   await Lease.take(records, "trial-1", "the second process");
 * } catch (error) {
 *   if (!(error instanceof LeaseTakenError)) throw error;
 *   console.log(error.holder); // the first process
 * }
 * await lease.release();
 * ```
 */
export class LeaseTakenError extends Error {
  /** Its class. */
  override name = "LeaseTakenError";

  /** Says who. @param holder what the holder said of itself */
  constructor(message: string, readonly holder: string) {
    super(message);
  }
}

/** What the record of a lease says. */
interface Holding {
  readonly holder: string;
  /** Tells this lease from every other, of the same holder too. */
  readonly token: string;
}

function readHolding(value: string | undefined): Holding {
  try {
    const { holder, token } = JSON.parse(value ?? "");
    return { holder: String(holder), token: String(token) };
  } catch {
    return { holder: "another process", token: "" };
  }
}

/**
 * A lease that this process holds.
 *
 * @example
 * ```ts
 * import { Lease, LocalBroker } from "@peft/webgpu/distributed";
 *
 * const records = await new LocalBroker().records("leases", { ttlSeconds: 10 });
 * const lease = await Lease.take(records, "trial-1", "this process");
 * console.log(lease.lost.aborted); // false
 * await lease.release();
 * ```
 */
export class Lease {
  readonly #records: Records;
  readonly #key: string;
  readonly #own: Holding;
  readonly #lost = new AbortController();
  readonly #timer: ReturnType<typeof setInterval>;
  #revision: number;
  /** The renewal under way; a second one beside it would find the lease changed. */
  #renewal: Promise<void> | null = null;

  private constructor(records: Records, key: string, own: Holding, revision: number) {
    this.#records = records;
    this.#key = key;
    this.#own = own;
    this.#revision = revision;
    const every = (records.ttlSeconds ?? 60) * 1000 / 3;
    this.#timer = setInterval(
      () => this.#renewal ??= this.#renew().finally(() => this.#renewal = null),
      every,
    );
  }

  /**
   * Takes a lease.
   * @param records such with `ttlSeconds`, or of one process
   * @param holder what others are told of this process
   * @throws {LeaseTakenError} where another holds it
   */
  static async take(records: Records, key: string, holder: string): Promise<Lease> {
    const own = { holder, token: crypto.randomUUID() };
    const revision = await records.create(key, JSON.stringify(own));
    if (revision !== null) return new Lease(records, key, own, revision);
    const { holder: other } = readHolding((await records.get(key))?.value);
    throw new LeaseTakenError(
      `Cannot take the lease "${key}": a free one is required, received one that ${other} holds`,
      other,
    );
  }

  /** Aborts when another may have it: this process was silent for too long. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** The revision of a record that is ours: a write whose answer was lost was done all the same. */
  async #find(): Promise<number | null> {
    const found = await this.#records.get(this.#key);
    return found && readHolding(found.value).token === this.#own.token ? found.revision : null;
  }

  async #renew(): Promise<void> {
    const value = JSON.stringify(this.#own);
    try {
      const next = await this.#records.update(this.#key, value, this.#revision) ??
        await this.#find() ??
        // forgotten, as after a long absence of the broker: ours again if nobody has taken it
        await this.#records.create(this.#key, value) ??
        await this.#find();
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
