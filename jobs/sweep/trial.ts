/**
 * One trial on this machine: from its newest checkpoint, wherever that was written, to where its job ends.
 * @module
 */

import type { TrainerCallback } from "@peft/webgpu";
import {
  BrokerError,
  type Delivery,
  type ObjectStore,
  type Records,
  withPatience,
} from "@peft/webgpu/distributed";
import { isUserError } from "../user_errors.ts";
import type { FolderStore } from "@peft/webgpu/io";
import type { Base } from "../base.ts";
import { fetchData } from "../data_files.ts";
import {
  type Claim,
  claimKey,
  jobId,
  progressKey,
  readClaim,
  resultKey,
  type SweepRecord,
  type TrialJob,
  type TrialResult,
} from "./protocol.ts";
import { finite, type Trained, trainTrial } from "./train_trial.ts";
import { checkTrial } from "../finetune/trial_flags.ts";
import { CHECKPOINT_PATIENCE_MS, TrialStore } from "../trial_store.ts";

/** Checkpoints of a trial, where its flags say nothing of them. */
const CHECKPOINTS = 10;
/** A step that no training reaches: checkpoints are asked for here, and the flag only says that two are kept. */
const NEVER = 1e9;
/** Milliseconds between two words on how far a trial is. */
const PROGRESS_MS = 1000;

/** A sweep as a worker takes part in it. */
export interface JoinedSweep {
  readonly record: SweepRecord;
  readonly store: ObjectStore;
  readonly records: Records;
  /** Records that forget. */
  readonly alive: Records;
  /** The base on this machine. */
  readonly base: Base;
  /** Folder for the sweep's files. */
  readonly folder: FolderStore;
  readonly ackWaitMs: number;
}

/** What a worker does now. */
export interface RunningJob {
  readonly kind: "node" | "trial";
  /** Of the training or the sweep. */
  readonly name: string;
  /** Number of the trial; null for a node. */
  readonly trial: number | null;
  /** Shares of gradients that a node computed so far. */
  computed(): number;
}

/** What counts a worker's jobs. */
export interface JobCounts {
  /** A job began. */
  begin(): void;
  /** It ended. */
  end(outcome: "done" | "given back" | "error"): void;
  /** An optimizer step was done. */
  step(): void;
  /** A checkpoint was kept. */
  checkpoint(): void;
  /** The broker failed. */
  brokerError(failure: string): void;
}

/** The worker that runs a trial. */
export interface TrialWorker {
  readonly name: string;
  readonly metrics?: JobCounts;
  /** Prints a line. */
  readonly say: (line: string) => void;
  /** Follows the training of a job, once more where it begins again on another device. */
  readonly watch?: (job: RunningJob) => TrainerCallback;
  /** Told when a job has ended here, in whatever way. */
  readonly idle?: () => void;
  /** Milliseconds to wait for a broker that is away with a result to be kept. */
  readonly patienceMs: number;
}

/** A job that is being worked on: says so, and ends when it is not ours any more. */
class Hold {
  readonly #stop = new AbortController();
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #sweep: JoinedSweep;
  readonly #key: string;
  readonly #claim: Claim;
  #wasTaken = false;

  constructor(sweep: JoinedSweep, delivery: Delivery, claim: Claim, signal: AbortSignal) {
    this.#sweep = sweep;
    this.#key = claimKey(delivery.id);
    this.#claim = claim;
    const beat = () => {
      delivery.working();
      void this.isOurs().catch(() => {}); // a broker that is away says nothing of it
    };
    this.#timer = setInterval(beat, sweep.ackWaitMs / 3);
    if (signal.aborted) this.#stop.abort();
    signal.addEventListener("abort", () => this.#stop.abort(), { signal: this.#stop.signal });
  }

  /** Aborts when the work is to end. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** Whether another worker has it. */
  get wasTaken(): boolean {
    return this.#wasTaken;
  }

  /** Asks whether the job is still this worker's, and ends the work if it is not. */
  async isOurs(): Promise<boolean> {
    const found = await this.#sweep.records.get(this.#key);
    const now = found && readClaim(found.value);
    const isOurs = now !== null && now.worker === this.#claim.worker && now.starts === this.#claim.starts;
    if (!isOurs) {
      this.#wasTaken = true;
      this.#stop.abort();
    }
    return isOurs;
  }

  end(): void {
    clearInterval(this.#timer);
  }
}

/** Notes that this worker begins a job. */
async function claim(sweep: JoinedSweep, id: string, worker: string, step: number): Promise<Claim> {
  const found = await sweep.records.get(claimKey(id));
  const before = found && readClaim(found.value);
  const startsHere = before?.step === step ? before.startsHere + 1 : 1;
  const own = { worker, step, starts: (before?.starts ?? 0) + 1, startsHere };
  await sweep.records.put(claimKey(id), JSON.stringify(own));
  return own;
}

/** What a training on the way does for the sweep: checkpoints, a word on how far it is, an end at a rung. */
function followers(
  sweep: JoinedSweep,
  job: TrialJob,
  { folder, objects, hold, worker, saveSteps }: {
    readonly folder: FolderStore;
    readonly objects: TrialStore;
    readonly hold: Hold;
    readonly worker: TrialWorker;
    readonly saveSteps: number;
  },
): TrainerCallback {
  let told = 0;
  return {
    onTrainBegin(_args, state, control) {
      if (job.until !== null && state.globalStep >= job.until) control.shouldTrainingStop = true;
    },
    onStepEnd(_args, state, control) {
      const every = saveSteps || Math.max(1, Math.ceil(state.maxSteps / CHECKPOINTS));
      const isRung = job.until !== null && state.globalStep >= job.until;
      if (isRung) control.shouldTrainingStop = true;
      if (isRung || (state.globalStep % every === 0 && state.globalStep < state.maxSteps)) {
        control.shouldSave = true;
      }
      worker.metrics?.step();
    },
    async onSave() {
      try {
        await withPatience(async () => {
          if (await hold.isOurs()) await objects.keepCheckpoints(folder);
        }, { patienceMs: CHECKPOINT_PATIENCE_MS, signal: hold.signal });
        worker.metrics?.checkpoint();
      } catch (error) {
        if (!(error instanceof BrokerError)) throw error;
        worker.metrics?.brokerError(error.failure);
        const outcome = hold.signal.aborted ? ": the broker does not get" : " goes on without";
        worker.say(`trial ${job.trial}${outcome} this checkpoint: ${error.message}`);
      }
    },
    onLog(_args, { globalStep, maxSteps }, _control, { logs }) {
      if (Date.now() - told < PROGRESS_MS) return;
      told = Date.now();
      const loss = logs?.loss === undefined ? null : finite(logs.loss);
      const progress = { worker: worker.name, step: globalStep, maxSteps, loss };
      // nobody waits for it, and the next one says more
      void sweep.alive.put(progressKey(job.trial), JSON.stringify(progress)).catch(() => {});
    },
  };
}

/** Keeps something for good: a broker that is away or full is waited for. */
async function keep(
  work: () => Promise<void>,
  job: TrialJob,
  hold: Hold,
  worker: TrialWorker,
): Promise<void> {
  for (;;) {
    try {
      const onWait = ({ message }: BrokerError) => worker.say(`trial ${job.trial} waits: ${message}`);
      return await withPatience(work, { patienceMs: worker.patienceMs, signal: hold.signal, onWait });
    } catch (error) {
      if (!(error instanceof BrokerError) || error.failure !== "full" || hold.signal.aborted) throw error;
      worker.metrics?.brokerError(error.failure);
      worker.say(`trial ${job.trial} is trained and waits for room: ${error.message}`);
      await new Promise((resolve) => setTimeout(resolve, Math.min(10_000, worker.patienceMs)));
    }
  }
}

/** Errors that say more of this machine than of the trial: another worker may do better. */
const isOfThisMachine = (error: unknown) =>
  error instanceof BrokerError || !(isUserError(error) || (error as Error).name === "OutOfDeviceMemoryError");

/**
 * Runs a job to its end, and ends it in the queue.
 * @returns whether it was done here; not where it was given back, is another worker's, or was done before
 * @throws what is wrong with this machine or the way to the broker; the job is given back then
 */
export async function runTrial(
  delivery: Delivery,
  job: TrialJob,
  sweep: JoinedSweep,
  worker: TrialWorker,
  signal: AbortSignal,
): Promise<boolean> {
  const id = jobId(job);
  if (await sweep.records.get(resultKey(id)) !== null) {
    await delivery.ack(); // its worker ended between result and acknowledgement
    return false;
  }
  const began = Date.now();
  const objects = new TrialStore(sweep.store, job.trial);
  const step = (await objects.steps()).at(-1) ?? 0;
  const own = await claim(sweep, id, worker.name, step);
  const hold = new Hold(sweep, delivery, own, signal);
  const place = `${worker.name}-trial-${job.trial}`;
  const folder = sweep.folder.folder(place);
  const result = (rest: Pick<TrialResult, "steps" | "metrics" | "error">): TrialResult => ({
    ...{ trial: job.trial, worker: worker.name, starts: own.starts, seconds: (Date.now() - began) / 1000 },
    ...rest,
  });
  const finish = async (found: TrialResult) => {
    const text = JSON.stringify(found);
    await keep(async () => void await sweep.records.create(resultKey(id), text), job, hold, worker); // the first stays
    await delivery.ack().catch((error) =>
      worker.say(`trial ${job.trial} is done, and comes again: ${error.message}`)
    );
  };
  try {
    if (own.startsHere > sweep.record.maxStarts) { // it ends its workers
      const error = `ended ${
        own.startsHere - 1
      } workers at step ${step}: see their messages, or the memory of their machines`;
      await finish(result({ steps: step, metrics: {}, error }));
      return true;
    }
    await sweep.folder.remove(place);
    const data = await fetchData(sweep.store, sweep.record, sweep.folder.folder("data"));
    await objects.fetchCheckpoints(folder);
    const { values, problems } = checkTrial(job.given, {
      ...{ model: sweep.record.model, output: folder.name },
      ...data.places,
    });
    const saveSteps = values["save-steps"];
    const watched = worker.watch?.({
      ...{ kind: "trial", name: sweep.record.name, trial: job.trial, computed: () => 0 },
    });
    const callbacks = [
      followers(sweep, job, { folder, objects, hold, worker, saveSteps }),
      ...watched ? [watched] : [],
    ];
    let trained: Trained | null;
    try {
      if (problems.length > 0) throw new TypeError(`Cannot run the trial: ${problems.join("; ")}`);
      worker.say(`trial ${job.trial}: ${step === 0 ? "begins" : `goes on from step ${step}`}`);
      const kept = { ...values, "save-steps": NEVER };
      trained = await trainTrial(kept, {
        ...{ base: sweep.base, modelName: sweep.record.model, openData: data.open, folder },
        ...{ callbacks, signal: hold.signal },
      });
    } catch (error) {
      if (hold.signal.aborted || isOfThisMachine(error)) throw error;
      await finish(result({ steps: 0, metrics: {}, error: (error as Error).message.slice(0, 2000) }));
      worker.say(`trial ${job.trial} failed: ${(error as Error).message}`);
      return true;
    }
    if (trained === null) {
      if (!hold.wasTaken) await delivery.release();
      worker.say(`trial ${job.trial}: ${hold.wasTaken ? "another worker has it" : "given back"}`);
      return false;
    }
    const { metrics, curves, steps, maxSteps } = trained;
    try {
      await trained.save(folder);
    } finally {
      trained.dispose();
    }
    const store = async () => {
      await objects.keepCurves(curves);
      if (steps >= maxSteps || job.until === null) await objects.keepTrained(folder);
    };
    await keep(store, job, hold, worker);
    await finish(result({ steps, metrics, error: null }));
    worker.say(
      `trial ${job.trial}: step ${steps}, ${
        Object.entries(metrics).map((entry) => entry.join(" ")).join(", ")
      }`,
    );
    return true;
  } catch (error) {
    if (!hold.wasTaken) await delivery.release(1000).catch(() => {});
    if (hold.signal.aborted) return false;
    throw error;
  } finally {
    hold.end();
    await sweep.folder.remove(place).catch(() => {});
  }
}
