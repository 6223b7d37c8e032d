/**
 * A sweep's own part: it queues jobs, reads results, and says which trials go on. It computes nothing, and all that it
 * knows is on the broker: one that was killed goes on where it was.
 * @module
 */

import {
  type Broker,
  type BrokerError,
  forEachAtOnce,
  Lease,
  LeaseTakenError,
  readRecords,
  withPatience,
} from "@peft/webgpu/distributed";
import { UsageError } from "../../jobs/usage_error.ts";
import type { Base } from "../../jobs/base.ts";
import { findData, hashOf, storeData } from "./files.ts";
import {
  jobId,
  leasesOf,
  placeOf,
  PROTOCOL,
  readProgress,
  readResult,
  readSweepHead,
  readSweepRecord,
  resultKey,
  type SweepRecord,
  SWEEPS,
  type TrialJob,
  type TrialResult,
} from "../../jobs/sweep/protocol.ts";
import { ranked, survivorsOf } from "./search.ts";
import type { SweepPlan, Trial } from "./sweep_file.ts";
import { TrialStore } from "../../jobs/trial_store.ts";
import { openPlaces } from "../../jobs/sweep/worker_loop.ts";

/** Milliseconds between two looks at results. */
const LOOK_MS = 500;

/** How a trial stands. */
export interface TrialStatus {
  readonly trial: Trial;
  state: "waiting" | "running" | "trained" | "ended early" | "failed";
  step: number;
  maxSteps: number | null;
  /** Of the latest result, or of training as it goes. */
  measure: number | null;
  worker: string | null;
  result: TrialResult | null;
}

/** How a sweep is begun. */
export interface BeginOptions {
  readonly base: Base;
  readonly version: string;
  readonly ackWaitMs: number;
  /** Workers that a trial may end at one step before it counts as failed. */
  readonly maxStarts: number;
  /** Whether one of this name that did not end goes on. */
  readonly resume: boolean;
  /** Whether what one of this name left is removed. */
  readonly discard: boolean;
  /** What others are told of this process. */
  readonly holder: string;
}

/** A sweep that has begun. */
export interface BegunSweep {
  readonly plan: SweepPlan;
  readonly record: SweepRecord;
  readonly lease: Lease;
  /** Whether nothing of it was there. */
  readonly isNew: boolean;
  readonly places: Awaited<ReturnType<typeof openPlaces>>;
}

/** Removes all that a sweep has on the broker; its name is free then. */
export async function removeSweep(broker: Broker, name: string): Promise<void> {
  await (await broker.records(SWEEPS)).remove(name); // first, so that no worker joins any more
  await broker.remove(placeOf(name));
  await broker.remove(leasesOf(name));
}

/** Takes the right to run a sweep. @throws {UsageError} where another process has it */
async function takeLease(broker: Broker, name: string, ackWaitMs: number, holder: string): Promise<Lease> {
  const leases = await broker.records(leasesOf(name), { ttlSeconds: Math.ceil(ackWaitMs / 1000) });
  try {
    return await Lease.take(leases, "controller", holder);
  } catch (error) {
    if (!(error instanceof LeaseTakenError)) throw error;
    throw new UsageError(
      `Cannot run sweep: a name that no running sweep has is required, received "${name}", which ${error.holder} runs, or ran less than ${leases.ttlSeconds} s ago`,
    );
  }
}

/** The record of a sweep that did not end, if there is one and it may go on. @throws {UsageError} where it may not */
function checkUnfinished(
  text: string,
  name: string,
  plan: string,
  { version, resume }: BeginOptions,
): SweepRecord {
  const head = readSweepHead(text);
  const before = head.protocol === PROTOCOL ? readSweepRecord(text) : null;
  const rest = "give this one another name, or --discard to remove what that one left";
  if (before === null || head.version !== version) {
    throw new UsageError(
      `Cannot run sweep: the unfinished sweep "${name}" is of @peft/webgpu ${head.version}, received ${version}: go on with that version, or ${rest}`,
    );
  }
  if (before.plan !== plan) {
    throw new UsageError(
      `Cannot run sweep: a name that no other sweep has is required, received "${name}", of which an unfinished sweep with another file, other data or another base is there: ${rest}`,
    );
  }
  if (!resume) {
    throw new UsageError(
      `Cannot run sweep: an unfinished sweep "${name}" of the same file is there: --resume goes on with it, --discard removes it`,
    );
  }
  return before;
}

/** Begins a sweep, or goes on with it: its data and its record are on the broker afterwards. */
export async function beginSweep(
  broker: Broker,
  plan: SweepPlan,
  options: BeginOptions,
): Promise<BegunSweep> {
  const { base, version, ackWaitMs, maxStarts, holder, discard } = options;
  const { name, ggufFile: _, ...rest } = plan;
  const data = await findData("data", plan.data);
  const evalData = plan.evalData === undefined ? null : await findData("eval-data", plan.evalData);
  const entries = [...data, ...evalData ?? []];
  const hash = hashOf({
    ...{ ...rest, model: base.hash, data: "", evalData: "" },
    files: entries.map(({ path, files }) => ({ path, files })),
  });
  let lease = await takeLease(broker, name, ackWaitMs, holder);
  try {
    const sweeps = await broker.records(SWEEPS);
    let there = await sweeps.get(name);
    if (there && discard) {
      await lease.release();
      await removeSweep(broker, name);
      lease = await takeLease(broker, name, ackWaitMs, holder);
      there = null;
    }
    const before = there && checkUnfinished(there.value, name, hash, options);
    const places = await openPlaces(broker, name, ackWaitMs);
    await storeData(places.store, entries);
    const plain = (found: typeof data) => found.map(({ path, files }) => ({ path, files }));
    const record: SweepRecord = before ?? {
      ...{ protocol: PROTOCOL, version, name, model: plan.model, base: base.hash, maxStarts, plan: hash },
      ...{ data: plain(data), evalData: evalData && plain(evalData), begun: Date.now() },
    };
    if (!before && await sweeps.create(name, JSON.stringify(record)) === null) {
      throw new UsageError(`Cannot run sweep: "${name}" was begun by another process just now`);
    }
    return { plan, record, lease, isNew: before === null, places };
  } catch (error) {
    await lease.release().catch(() => {});
    throw error;
  }
}

/** What a controller tells on its way. */
export interface ControllerEvents {
  /** A trial stands otherwise than before. */
  changed(trials: readonly TrialStatus[]): void;
  /** A line for the user. */
  say(line: string): void;
}

/** Runs a sweep to its end. */
export class Controller {
  readonly #sweep: BegunSweep;
  readonly #events: ControllerEvents;
  readonly #signal: AbortSignal;
  readonly #told = new Set<string>();
  /** Trials whose adapters were removed. */
  readonly #dropped = new Set<number>();
  /** How every trial stands, by its number. */
  readonly trials: readonly TrialStatus[];

  constructor(sweep: BegunSweep, events: ControllerEvents, signal: AbortSignal) {
    this.#sweep = sweep;
    this.#events = events;
    this.#signal = AbortSignal.any([signal, sweep.lease.lost]);
    this.trials = sweep.plan.trials.map((trial): TrialStatus => ({
      ...{ trial, state: "waiting", step: 0, maxSteps: null, measure: null, worker: null, result: null },
    }));
  }

  /** Asks the broker, however long it is away. */
  async #ask<T>(work: () => Promise<T>): Promise<T> {
    const onWait = ({ message }: BrokerError) => this.#events.say(`waiting: ${message}`);
    return await withPatience(work, { patienceMs: Infinity, signal: this.#signal, onWait });
  }

  #checkAlive(): void {
    if (this.#sweep.lease.lost.aborted) {
      throw new UsageError(
        `Cannot go on with the sweep "${this.#sweep.plan.name}": another process runs it, since this one was silent for too long`,
      );
    }
    this.#signal.throwIfAborted();
  }

  /** A trial's measure. @throws {UsageError} where its results have none of that name */
  #measureOf(result: TrialResult): number | null {
    if (result.error !== null) return null;
    const { name } = this.#sweep.plan.metric;
    if (Object.hasOwn(result.metrics, name)) return result.metrics[name];
    throw new UsageError(
      `Cannot compare trials: metric.name must be one of ${
        Object.keys(result.metrics).join(", ")
      }, received "${name}"`,
    );
  }

  #note(status: TrialStatus, result: TrialResult): void {
    const measure = this.#measureOf(result);
    Object.assign(status, {
      ...{ state: result.error === null ? "trained" : "failed", step: result.steps, measure, result },
      worker: result.worker,
    });
  }

  /** What workers say of themselves: how far they are, and why some take no part. */
  async #listen(running: ReadonlySet<number>): Promise<void> {
    const isNews = (key: string) =>
      key.startsWith("progress.") || key.startsWith("refusal.") && !this.#told.has(key);
    for (const [key, { value }] of await readRecords(this.#sweep.places.alive, isNews)) {
      if (key.startsWith("refusal.")) {
        this.#told.add(key);
        this.#events.say(`worker ${key.slice("refusal.".length)}: ${value.slice(0, 1000)}`);
      }
      const [, number] = /^progress\.(\d+)$/.exec(key) ?? [];
      const status = number === undefined ? undefined : this.trials[Number(number)];
      if (!status || !running.has(status.trial.id)) continue;
      const { worker, step, maxSteps } = readProgress(value);
      if (step >= status.step) Object.assign(status, { state: "running", worker, step, maxSteps });
    }
  }

  /** Drops what was trained by trials than which another is better: the store keeps the best alone. */
  async #dropWorse(): Promise<void> {
    const ended = this.trials.filter(({ trial, state }) =>
      state === "trained" && !this.#dropped.has(trial.id)
    );
    const [, ...worse] = ranked(
      new Map(ended.map(({ trial, measure }) => [trial.id, measure])),
      this.#sweep.plan.metric.goal,
    );
    for (const trial of worse) {
      await this.#ask(() => this.#store(trial).removeTrained());
      this.#dropped.add(trial);
    }
  }

  /** Has jobs done; returns when all have results. @param isLast whether they train to the end */
  async #run(jobs: readonly TrialJob[], isLast: boolean): Promise<void> {
    const { queue, records } = this.#sweep.places;
    const waiting = new Map(jobs.map((job) => [jobId(job), job]));
    const collect = async () => {
      const isAwaited = (key: string) =>
        key.startsWith("result.") && waiting.has(key.slice("result.".length));
      for (const [key, { value }] of await this.#ask(() => readRecords(records, isAwaited))) {
        const id = key.slice("result.".length);
        this.#note(this.trials[waiting.get(id)!.trial], readResult(value));
        waiting.delete(id);
      }
    };
    await collect();
    this.#checkAlive();
    await forEachAtOnce([...waiting], async ([id, job]) => {
      this.trials[job.trial].state = "waiting";
      await this.#ask(() => queue.add(id, new TextEncoder().encode(JSON.stringify(job))));
    });
    this.#events.changed(this.trials);
    while (waiting.size > 0) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      this.#checkAlive();
      await collect();
      if (isLast) await this.#dropWorse();
      await this.#ask(() => this.#listen(new Set([...waiting.values()].map(({ trial }) => trial))));
      this.#events.changed(this.trials);
    }
  }

  #store(trial: number): TrialStore {
    return new TrialStore(this.#sweep.places.store, trial);
  }

  /**
   * Runs every trial.
   * @returns the best one
   * @throws {UsageError} where every trial failed, or their results have no such metric
   */
  async run(): Promise<TrialStatus> {
    const { plan } = this.#sweep;
    const rungs = plan.rungs ?? [];
    let going = plan.trials.map(({ id }) => id);
    for (let rung = 0;; rung++) {
      const isLast = rung >= rungs.length - 1 || going.length === 1;
      const until = isLast ? null : rungs[rung];
      await this.#run(going.map((trial) => ({ trial, until, given: plan.trials[trial].given })), isLast);
      const order = ranked(
        new Map(going.map((trial) => [trial, this.trials[trial].measure])),
        plan.metric.goal,
      );
      const fine = order.filter((trial) => Number.isFinite(this.trials[trial].measure ?? NaN));
      if (fine.length === 0) this.#failed();
      const kept = isLast ? [] : fine.slice(0, survivorsOf(going.length, plan.reductionFactor));
      for (const trial of going) {
        if (!isLast && fine.includes(trial) && !kept.includes(trial)) {
          this.trials[trial].state = "ended early";
        }
        if (!kept.includes(trial)) await this.#ask(() => this.#store(trial).removeCheckpoints());
      }
      this.#events.changed(this.trials);
      if (isLast) return this.trials[fine[0]];
      going = kept.sort((a, b) => a - b);
    }
  }

  #failed(): never {
    const reasons = new Set(this.trials.map(({ result }) => result?.error ?? "its measure is not finite"));
    throw new UsageError(
      `Cannot choose a trial of the sweep "${this.#sweep.plan.name}": one that is trained is required, received none: ${
        [...reasons].slice(0, 3).join("; ")
      }`,
    );
  }
}

/** A result's key, for tests and programs that look at a sweep. */
export const keyOfResult = (trial: number, until: number | null): string =>
  resultKey(jobId({ trial, until }));
