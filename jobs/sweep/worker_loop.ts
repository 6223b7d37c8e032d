/**
 * What a worker does: it looks which sweeps a broker has, joins those it may, and takes their jobs.
 * @module
 */

import type { FolderStore } from "@peft/webgpu/io";
import {
  type Broker,
  BrokerError,
  readRecords,
  type Records,
  type WorkQueue,
} from "@peft/webgpu/distributed";
import { NodeJobs } from "../nodes/node_jobs.ts";
import { UsageError } from "../usage_error.ts";
import type { Base } from "../base.ts";
import {
  leasesOf,
  placeOf,
  PROTOCOL,
  readJob,
  readSweepHead,
  readSweepRecord,
  refusalKey,
  resultKey,
  type SweepRecord,
  SWEEPS,
  type TrialResult,
} from "./protocol.ts";
import { type JoinedSweep, runTrial, type TrialWorker } from "./trial.ts";

/** Milliseconds between two looks at the list of sweeps. */
const LOOK_MS = 2000;
/** Milliseconds that a worker waits for a job of one of several sweeps before it asks the next. */
const TURN_MS = 1000;

/** A worker's own facts. */
export interface WorkerFacts extends TrialWorker {
  /** Version of this program. */
  readonly version: string;
  /** Bases that jobs may use. */
  readonly bases: readonly Base[];
  /** What messages call where they are from; default `--allow-model`. */
  readonly basesOf?: string;
}

/** Why a worker may not take part in a sweep, or null, and the sweep where it was understood. */
export function judgeSweep(
  name: string,
  text: string,
  { version, bases, basesOf = "--allow-model" }: {
    readonly basesOf?: string;
    readonly version: string;
    readonly bases: readonly Pick<Base, "name" | "hash">[];
  },
): { readonly record: SweepRecord | null; readonly refusal: string | null } {
  const action = `Cannot join the sweep "${name}"`;
  try {
    const head = readSweepHead(text); // the record of another protocol may have another form
    if (head.version !== version || head.protocol !== PROTOCOL) {
      const wanted = `@peft/webgpu ${head.version} (protocol ${head.protocol}), with which it was begun,`;
      const refusal = `${action}: ${wanted} is required, received ${version} (protocol ${PROTOCOL})`;
      return { record: null, refusal };
    }
    const record = readSweepRecord(text);
    if (bases.some(({ hash }) => hash === record.base)) return { record, refusal: null };
    const allowed = bases.map(({ name, hash }) => `"${name}" (SHA-256 ${hash.slice(0, 12)})`).join(", ");
    const wanted = `its base model "${record.model}" (SHA-256 ${record.base.slice(0, 12)})`;
    return { record, refusal: `${action}: ${wanted} must be one of ${basesOf}, received ${allowed}` };
  } catch (error) {
    return { record: null, refusal: `${action}: ${(error as Error).message}` };
  }
}

/** Opens what a sweep has on the broker. @param ackWaitMs makes what is not there; null: it must be there */
export async function openPlaces(broker: Broker, name: string, ackWaitMs: number | null) {
  const place = placeOf(name);
  const mustExist = ackWaitMs === null;
  const queue = await broker.queue(place, mustExist ? { mustExist } : { ackWaitMs });
  return {
    queue,
    store: await broker.objects(place, { mustExist }),
    records: await broker.records(place, { mustExist }),
    alive: await broker.records(leasesOf(name), { mustExist, ttlSeconds: Math.ceil(queue.ackWaitMs / 1000) }),
  };
}

/** A sweep that this worker takes part in, and where its jobs come from. */
interface Joined extends JoinedSweep {
  readonly queue: WorkQueue;
}

/** Name of the folder for a sweep's files. */
const workOf = (name: string, { plan }: SweepRecord) => `${name}-${plan.slice(0, 12)}`;

/** Settings of a loop. */
export interface LoopOptions {
  /** The one sweep to take part in; null for all. */
  readonly sweep: string | null;
  /** Place for files of jobs. */
  readonly work: FolderStore;
  /** Seconds without a job after which it ends; null for never. */
  readonly idleSeconds: number | null;
  readonly signal: AbortSignal;
}

/** A worker's view of the broker. */
class Worker {
  readonly #broker: Broker;
  readonly #worker: WorkerFacts;
  readonly #options: LoopOptions;
  readonly #joined = new Map<string, Joined>();
  /** Records of the sweeps that were looked at. */
  readonly #texts = new Map<string, string>();
  #sweeps: Records | null = null;
  #looked = -Infinity;
  readonly #nodes: NodeJobs;
  #turn = 0;
  #idleSince = Date.now();

  constructor(broker: Broker, worker: WorkerFacts, options: LoopOptions) {
    this.#broker = broker;
    this.#worker = worker;
    this.#options = options;
    this.#nodes = new NodeJobs(broker, worker, options);
  }

  /** Looks which sweeps there are. */
  async #look(): Promise<void> {
    if (Date.now() - this.#looked < LOOK_MS) return;
    const { sweep: only, work } = this.#options;
    this.#sweeps ??= await this.#broker.records(SWEEPS);
    const entries = await readRecords(this.#sweeps);
    this.#looked = Date.now();
    for (const name of this.#texts.keys()) {
      if (entries.has(name)) continue;
      const joined = this.#joined.get(name);
      if (joined) await work.remove(workOf(name, joined.record)).catch(() => {}); // its data
      this.#forget(name);
    }
    for (const [name, { value }] of entries) {
      if (only !== null && name !== only) continue;
      if (this.#texts.get(name) === value) continue;
      this.#texts.set(name, value);
      this.#joined.delete(name);
      const { record, refusal } = judgeSweep(name, value, this.#worker);
      if (record === null || refusal !== null) {
        await this.#refuse(name, refusal!);
        continue;
      }
      const base = this.#worker.bases.find(({ hash }) => hash === record.base)!;
      const { queue, ...places } = await openPlaces(this.#broker, name, null);
      const folder = work.folder(workOf(name, record));
      this.#joined.set(name, { record, base, folder, queue, ackWaitMs: queue.ackWaitMs, ...places });
      this.#worker.say(`joined the sweep "${name}"`);
    }
  }

  /** Forgets a sweep whose places are gone; the next look finds it if it did not end. */
  #forget(name: string): void {
    this.#texts.delete(name);
    this.#joined.delete(name);
    this.#looked = -Infinity;
  }

  /** Says why this worker takes no part, here and to the sweep. @throws {UsageError} where it is here for this sweep alone */
  async #refuse(name: string, refusal: string): Promise<void> {
    const { alive } = await openPlaces(this.#broker, name, null);
    await alive.put(refusalKey(this.#worker.name), refusal);
    if (this.#options.sweep !== null) throw new UsageError(refusal);
    this.#worker.say(refusal);
  }

  /** Takes a job, if one comes soon, and does it. */
  async #work(): Promise<void> {
    const sweeps = [...this.#joined.values()];
    if (sweeps.length === 0) return await new Promise((resolve) => setTimeout(resolve, TURN_MS));
    const sweep = sweeps[this.#turn++ % sweeps.length];
    const delivery = await sweep.queue.take(TURN_MS).catch((error) => {
      if (error instanceof BrokerError && error.failure === "other") this.#forget(sweep.record.name); // its queue is gone
      throw error;
    });
    if (delivery === null) return;
    this.#idleSince = Date.now();
    const { metrics, idle } = this.#worker;
    let job;
    try {
      job = readJob(delivery.body);
    } catch (error) {
      // nothing can be made of it by any worker
      const result: TrialResult = {
        ...{ trial: Number.parseInt(delivery.id) || 0, steps: 0, worker: this.#worker.name, metrics: {} },
        ...{ error: (error as Error).message, starts: delivery.attempt, seconds: 0 },
      };
      await sweep.records.create(resultKey(delivery.id), JSON.stringify(result));
      return await delivery.ack();
    }
    metrics?.begin();
    try {
      const isDone = await runTrial(delivery, job, sweep, this.#worker, this.#options.signal);
      metrics?.end(isDone ? "done" : "given back");
    } catch (error) {
      metrics?.end("error");
      throw error;
    } finally {
      idle?.();
    }
    this.#idleSince = Date.now();
  }

  async run(): Promise<void> {
    const { signal, idleSeconds } = this.#options;
    let isAway = false;
    while (!signal.aborted) {
      try {
        await this.#look();
        await this.#work();
        if (this.#options.sweep === null && await this.#nodes.work()) this.#idleSince = Date.now();
        isAway = false;
      } catch (error) {
        if (!(error instanceof BrokerError) || error.failure === "credentials") throw error;
        this.#worker.metrics?.brokerError(error.failure);
        if (signal.aborted) return;
        // where a sweep ended meanwhile, there is nothing to say
        if (!isAway && error.failure !== "other") this.#worker.say(error.message);
        isAway = error.failure !== "other";
        await new Promise((resolve) => setTimeout(resolve, TURN_MS));
      }
      if (idleSeconds !== null && Date.now() - this.#idleSince >= idleSeconds * 1000) {
        return this.#worker.say(`no job for ${idleSeconds} s`);
      }
    }
  }
}

/** Works until `signal` aborts, or there was no job for long enough. @throws {UsageError} where the one sweep refuses it */
export async function workOn(broker: Broker, worker: WorkerFacts, options: LoopOptions): Promise<void> {
  await new Worker(broker, worker, options).run();
}
