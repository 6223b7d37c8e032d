/**
 * Gradients of a training on several machines, by a broker: each process computes a share of every step and puts it into
 * the object store, and all take all shares from there. Who computes which share is a lease, so that the share of a process
 * that died is computed by another, to the same bits, and a step is never lost. Of two that compute one share, the first that
 * is stored stays, and both go on with that: all processes always add up the same bytes. Shares stay until a checkpoint is
 * newer, so that one who comes late goes through the steps that were done by reading. A broker that ends as a machine
 * without power does may have lost what it said it kept: whoever waits stores its own newest shares again.
 *
 * With compression, what rounding lost of a share is stored before the share itself, and whoever computes the same share of
 * the next step adds it. It is the share's, not the process's, so that who computes what still changes no bit.
 * @module
 */

import {
  type ComputedShare,
  GRADIENT_COMPRESSIONS,
  type GradientCompression,
  type GradientExchange,
} from "@peft/webgpu/train";
import { type ObjectStore, readObject, readRecords, type Records } from "./broker.ts";
import { withPatience } from "./broker_error.ts";
import { Lease, LeaseTakenError } from "./lease.ts";

/**
 * What the processes of one training share.
 *
 * @example
 * ```ts
 * import { LocalBroker, SharedGradients, type SharedGradientsOptions } from "@peft/webgpu/distributed";
 *
 * const broker = new LocalBroker(); // between machines a JetStreamBroker
 * const options: SharedGradientsOptions = {
 *   store: await broker.objects("pirate-gradients"),
 *   alive: await broker.records("pirate-alive", { ttlSeconds: 10 }),
 *   ...{ holder: "the machine under the desk", shares: 4, compression: "float16" },
 *   say: (line) => console.log(line),
 * };
 * console.log(new SharedGradients(options).compression); // float16
 * ```
 */
export interface SharedGradientsOptions {
  /** Holds the shares, and nothing else whose name begins with "gradients/" or "residuals/". */
  readonly store: ObjectStore;
  /** Holds who computes what; a process that is silent for its `ttlSeconds` is taken for dead. */
  readonly alive: Records;
  /** This process, as others are told of it. */
  readonly holder: string;
  /** Shares of a step. */
  readonly shares: number;
  /** How gradients travel; the same for all processes. Default "none". */
  readonly compression?: GradientCompression;
  /** Milliseconds that a broker may be away. Default 60,000. */
  readonly patienceMs?: number;
  /** Told what others may want to read: a share that was taken over, a broker that is away. */
  readonly say?: (line: string) => void;
}

/**
 * Traffic and work of one process.
 *
 * @example
 * ```ts
 * import type { SharedGradients, SharedGradientsCounts } from "@peft/webgpu/distributed";
 *
 * // how much of its time and traffic a process spends on the others
 * function costOf({ counts }: SharedGradients, elapsedMs: number): string {
 *   const { sent, received, waitedMs }: SharedGradientsCounts = counts;
 *   return `${((sent + received) / 1e6).toFixed(1)} MB, ${Math.round(100 * waitedMs / elapsedMs)}% waiting`;
 * }
 * ```
 */
export interface SharedGradientsCounts {
  /** Shares computed here. */
  computed: number;
  /** Bytes put into the store. */
  sent: number;
  /** Bytes read from it. */
  received: number;
  /** Objects put. */
  puts: number;
  /** Objects read. */
  reads: number;
  /** Looks for objects that were not there yet. */
  looks: number;
  /** Milliseconds spent waiting for others. */
  waitedMs: number;
}

const nameOf = (step: number, share: number) => `gradients/${step}/${share}`;
const residualOf = (step: number, share: number) => `residuals/${step}/${share}`;
/** Every step has this one. */
const FIRST_SHARE = 0;
const leaseOf = (share: number) => `share.${share}`;
const spareOf = (holder: string) => `spare.${holder.replaceAll(/[^A-Za-z0-9_-]/g, "-")}`;
/** Milliseconds between two looks for a share, at first and at most. */
const LOOK_MS = [5, 50] as const;
/** Objects that are removed at once. */
const REMOVED_TOGETHER = 64;
/** Milliseconds between two attempts to take a lease. */
const LEASE_MS = 500;
/** Milliseconds of waiting after which a process looks whether its own shares are still there. */
const RESTORE_MS = 2000;

/**
 * The shares of the step before are gone: this process fell behind, and has to begin from a checkpoint.
 *
 * @example
 * ```ts
 * import type { Trainer } from "@peft/webgpu";
 * import { ForgottenSharesError } from "@peft/webgpu/distributed";
 *
 * // trains; a process that the others have left behind begins again from the newest checkpoint
 * async function trainWithOthers(trainer: Trainer) {
 *   try {
 *     return await trainer.train();
 *   } catch (error) {
 *     if (!(error instanceof ForgottenSharesError)) throw error;
 *     return await trainer.train({ resumeFromCheckpoint: true });
 *   }
 * }
 * ```
 */
export class ForgottenSharesError extends Error {
  /** Its class. */
  override name = "ForgottenSharesError";
}

/** What a process keeps of a step for the next one. */
interface LastStep {
  readonly step: number;
  /** Those that had batches. */
  readonly shares: readonly number[];
  /** Those that this process computed. */
  readonly own: ReadonlyMap<number, ComputedShare>;
}

/**
 * A process's part in a training of several.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, TextDataset, Trainer } from "@peft/webgpu";
 * import { LocalBroker, SharedGradients } from "@peft/webgpu/distributed";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const trainDataset = TextDataset.fromTexts(["Ahoy, matey! The sea be calm, arr."], tokenizer, { blockSize: 8 });
 * const broker = new LocalBroker(); // between machines a JetStreamBroker, and each has the same data and settings
 * const [store, alive] = [await broker.objects("gradients"), await broker.records("alive", { ttlSeconds: 10 })];
 * const gradientExchange = new SharedGradients({ store, alive, holder: "machine-1", shares: 1 });
 * await new Trainer({ model, trainDataset, gradientExchange, args: { maxSteps: 1, reportTo: "none" } }).train();
 * await gradientExchange.leave();
 * ```
 */
export class SharedGradients implements GradientExchange {
  /** Shares of a step. */
  readonly shares: number;
  /** How gradients travel. */
  readonly compression: GradientCompression;
  /** What it did so far. */
  readonly counts: SharedGradientsCounts = {
    ...{ computed: 0, sent: 0, received: 0, puts: 0, reads: 0, looks: 0, waitedMs: 0 },
  };
  readonly #options: SharedGradientsOptions;
  readonly #held = new Map<number, Lease>();
  /** Milliseconds after which the share of a silent process is taken over. */
  readonly #silenceMs: number;
  #triedAt = -Infinity;
  #isSpare = false;
  #last: LastStep | null = null;

  /**
   * Takes part from the first `exchange` on.
   * @throws {RangeError} unless shares is a positive integer, and for a compression that does not exist
   */
  constructor(options: SharedGradientsOptions) {
    const { shares, alive, compression = "none" } = options;
    if (!Number.isInteger(shares) || shares < 1) {
      throw new RangeError(
        `Cannot share gradients: shares must be a positive integer, received ${shares}`,
      );
    }
    if (!GRADIENT_COMPRESSIONS.includes(compression)) {
      throw new RangeError(
        `Cannot share gradients: compression must be ${
          GRADIENT_COMPRESSIONS.map((name) => `"${name}"`).join(" or ")
        }, received ${JSON.stringify(compression)}`,
      );
    }
    this.shares = shares;
    this.compression = compression;
    this.#options = options;
    this.#silenceMs = (alive.ttlSeconds ?? 30) * 1000;
  }

  /** Shares that this process computes, ascending. */
  get held(): readonly number[] {
    return [...this.#held.keys()].sort((a, b) => a - b);
  }

  /** Whether it is the one that keeps checkpoints for all: that of share 0. */
  get leads(): boolean {
    return this.#held.has(FIRST_SHARE);
  }

  #patiently<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const { patienceMs = 60_000, say = () => {} } = this.#options;
    return withPatience(work, { patienceMs, signal, onWait: ({ message }) => say(message) });
  }

  /** An object that is there; null where it is not yet. */
  async #read(name: string, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer> | null> {
    const bytes = await this.#patiently(() => readObject(this.#options.store, name), signal);
    this.counts[bytes ? "reads" : "looks"]++;
    this.counts.received += bytes?.length ?? 0;
    return bytes;
  }

  /** Stores an object unless it is there. @returns whether it is this process's */
  async #create(name: string, bytes: Uint8Array, signal?: AbortSignal): Promise<boolean> {
    const isOwn = await this.#patiently(() => this.#options.store.create(name, bytes), signal);
    this.counts.puts++;
    this.counts.sent += bytes.length;
    return isOwn;
  }

  /**
   * With compression: a share of the step before; null where that had none.
   * @throws {ForgottenSharesError} where it is not there any more
   */
  async #previous(step: number, share: number, signal?: AbortSignal): Promise<ComputedShare | null> {
    if (this.compression === "none" || step === 1) return null;
    const before = step - 1;
    const last = this.#last?.step === before ? this.#last : null;
    if (last && !last.shares.includes(share)) return null;
    const own = last?.own.get(share);
    if (own) return own;
    const bytes = await this.#read(nameOf(before, share), signal);
    const residual = bytes && await this.#read(residualOf(before, share), signal);
    if (bytes && residual) return { bytes, residual };
    // the first share of a step is removed before the others: while it is there, one that is not never was
    const isWhole = async () => await this.#options.store.size(nameOf(before, FIRST_SHARE)) !== null;
    if (!last && !bytes && await this.#patiently(isWhole, signal)) return null;
    throw new ForgottenSharesError(
      `Cannot compute share ${share} of step ${step}: what rounding left of step ${before} is required, received a store that has it no more; begin from a newer checkpoint`,
    );
  }

  /** Computes a share and stores it. @returns its bytes; null where another process was faster */
  async #compute(
    compute: Parameters<GradientExchange["exchange"]>[2],
    { step, share, own }: { step: number; share: number; own: Map<number, ComputedShare> },
    signal?: AbortSignal,
  ): Promise<Uint8Array | null> {
    const computed = await compute(share, await this.#previous(step, share, signal));
    const { bytes, residual } = computed;
    this.counts.computed++;
    // first, so that it is there wherever the share is
    const isOwn = residual === null || await this.#create(residualOf(step, share), residual, signal);
    if (!await this.#create(nameOf(step, share), bytes, signal)) return null;
    if (isOwn) own.set(share, computed);
    return bytes;
  }

  /** Takes the lease of a share where nobody has it. */
  async #take(share: number, signal?: AbortSignal): Promise<boolean> {
    const { alive, holder } = this.#options;
    try {
      const lease = await this.#patiently(() => Lease.take(alive, leaseOf(share), holder), signal);
      lease.lost.addEventListener("abort", () => {
        if (this.#held.get(share) === lease) this.#held.delete(share);
      });
      this.#held.set(share, lease);
      return true;
    } catch (error) {
      if (error instanceof LeaseTakenError) return false;
      throw error;
    }
  }

  /**
   * Takes a share that nobody computes: the first one at once, others once nobody took them for long enough, one after
   * another as each is computed.
   * @param since when the step began
   */
  async #takeOver(missing: readonly number[], since: number, signal?: AbortSignal): Promise<void> {
    const now = performance.now();
    const isFirst = this.#held.size === 0;
    if (now - this.#triedAt < LEASE_MS || !isFirst && now - since < this.#silenceMs) return;
    this.#triedAt = now;
    const { alive, holder, say } = this.#options;
    for (const share of missing) {
      if (this.#held.has(share) || !await this.#take(share, signal)) continue;
      if (!isFirst) say?.(`share ${share} of the gradients is computed here too: no other process does it`);
      this.#triedAt = -Infinity; // the next one once this one is computed
      break;
    }
    if (this.#held.size === 0) await this.#patiently(() => alive.put(spareOf(holder), holder), signal);
    this.#isSpare = this.#held.size === 0;
  }

  /** Stores shares of this process again that others cannot read: a broker that crashed may have lost the newest. */
  async #restore(step: number, own: ReadonlyMap<number, ComputedShare>, signal?: AbortSignal): Promise<void> {
    for (const [share, { bytes, residual }] of own) {
      const isThere = async () => await this.#options.store.size(nameOf(step, share)) !== null;
      if (!this.#held.has(share) || await this.#patiently(isThere, signal)) continue;
      if (residual) await this.#create(residualOf(step, share), residual, signal);
      await this.#create(nameOf(step, share), bytes, signal);
    }
  }

  /** Gives a share that was taken over to a process that has none. */
  async #giveBack(signal?: AbortSignal): Promise<void> {
    const { alive, say } = this.#options;
    if (this.#held.size < 2) return;
    const spares = await this.#patiently(() => readRecords(alive, (key) => key.startsWith("spare.")), signal);
    if (spares.size === 0) return;
    const share = this.held.at(-1)!;
    const lease = this.#held.get(share)!;
    this.#held.delete(share);
    await lease.release();
    say?.(`share ${share} of the gradients is free for another process again`);
  }

  /**
   * All shares of a step, in order: those that are there are read, those of this process computed, and the others waited for.
   * @throws the signal's reason once it aborts @throws {BrokerError} where the broker is away for too long, or has no room
   * @throws {ForgottenSharesError} with compression, where this process fell behind
   */
  async exchange(
    step: number,
    shares: readonly number[],
    compute: (share: number, previous: ComputedShare | null) => Promise<ComputedShare>,
    signal?: AbortSignal,
  ): Promise<readonly Uint8Array[]> {
    const found = new Map<number, Uint8Array>();
    const computed = new Map<number, ComputedShare>();
    const missing = () => shares.filter((share) => !found.has(share));
    const since = performance.now();
    let restoredAt = since;
    for (let pauseMs: number = LOOK_MS[0];; pauseMs = Math.min(LOOK_MS[1], 2 * pauseMs)) {
      signal?.throwIfAborted();
      await Promise.all(
        missing().map(async (share) => { // each takes several ways to the broker and back
          const bytes = await this.#read(nameOf(step, share), signal);
          if (bytes === null) return;
          found.set(share, bytes);
        }),
      );
      if (missing().length === 0) break;
      await this.#takeOver(missing(), since, signal);
      const own = missing().filter((share) => this.#held.has(share));
      for (const share of own) {
        const bytes = await this.#compute(compute, { step, share, own: computed }, signal);
        if (bytes) found.set(share, bytes); // else it is read in the next turn
      }
      if (own.length === 0) {
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
        this.counts.waitedMs += pauseMs;
        if (performance.now() - restoredAt < RESTORE_MS) continue;
        if (this.#last?.step === step - 1) await this.#restore(step - 1, this.#last.own, signal);
        await this.#restore(step, computed, signal);
        restoredAt = performance.now();
      }
    }
    if (this.#isSpare && this.#held.size > 0) {
      this.#isSpare = false;
      await this.#patiently(() => this.#options.alive.remove(spareOf(this.#options.holder)), signal);
    }
    await this.#giveBack(signal);
    this.#last = { step, shares, own: computed };
    return shares.map((share) => found.get(share)!);
  }

  /** Removes the shares of steps up to one: a checkpoint that every process may begin from is newer. */
  async forget(step: number): Promise<void> {
    const { store } = this.#options;
    const names = await this.#patiently(() => store.list());
    const places = names.map((name) => ({
      name,
      place: /^(?:gradients|residuals)\/(\d+)\/(\d+)$/.exec(name)?.slice(1).map(Number),
    }));
    const old = places.filter(({ place }) => place !== undefined && place[0] <= step);
    for (const isFirst of [true, false]) { // the first share of a step before its others: see #previous
      const some = old.filter(({ place }) => (place![1] === FIRST_SHARE) === isFirst);
      while (some.length > 0) {
        const together = some.splice(0, REMOVED_TOGETHER);
        await Promise.all(together.map(({ name }) => this.#patiently(() => store.remove(name))));
      }
    }
  }

  /** Leaves: its shares are free for others at once. */
  async leave(): Promise<void> {
    const leases = [...this.#held.values()];
    this.#held.clear();
    for (const lease of leases) await lease.release();
    if (this.#isSpare) await this.#options.alive.remove(spareOf(this.#options.holder));
  }
}
