/**
 * A tab that works for others: it takes shares of trainings and trials of sweeps from a broker, as `./run worker` does, with
 * the base models that its user chose.
 * @module
 */

import {
  AutoModelForCausalLM,
  AutoTokenizer,
  type CausalLM,
  type FolderInput,
  type TrainerCallback,
  VERSION,
} from "@peft/webgpu";
import { JetStreamBroker } from "@peft/webgpu/distributed";
import { type FileSource, type FolderSource, memoryStore } from "@peft/webgpu/io";
import { type Base, baseFiles, hashOfBase } from "../../jobs/base.ts";
import { storageOf } from "../../jobs/finetune/model_flags.ts";
import type { RunningJob } from "../../jobs/sweep/trial.ts";
import { workOn } from "../../jobs/sweep/worker_loop.ts";
import type { ChosenBase, JoinEvent, JoinOptions, JoinResult, ModelSource } from "../protocol.ts";
import { Refusal } from "./errors.ts";
import { findModel } from "./model_source.ts";
import type { FoundModel } from "./open_context.ts";
import type { Call, Workbench } from "./workbench.ts";

/** Milliseconds between two words on how far a job is. */
const TOLD_MS = 200;

/** The files by which a model is known. */
async function filesOf({ input, ggufFile }: FoundModel): Promise<(FileSource | Blob)[]> {
  if (input instanceof Blob) return [input];
  const folder = input as FolderSource;
  const names = ggufFile === undefined ? baseFiles(await folder.list?.() ?? []) : [ggufFile];
  const files: FileSource[] = [];
  for (const name of names) files.push((await folder.open(name))!);
  return files;
}

/** What a tab did so far. */
class Tally {
  steps = 0;
  /** Trainings and trials, of which one may have been begun several times. */
  readonly #names = new Set<string>();
  /** Shares that were computed for each job. */
  readonly #shares = new Map<RunningJob, number>();

  /** Takes what a job has done so far. */
  note(job: RunningJob): void {
    this.#names.add(`${job.kind} ${job.trial} ${job.name}`);
    this.#shares.set(job, job.computed());
  }

  get jobs(): number {
    return this.#names.size;
  }

  get computed(): number {
    return [...this.#shares.values()].reduce((sum, shares) => sum + shares, 0);
  }
}

/** Tells how far a job is. */
function watcher(tally: Tally, send: (event: JoinEvent) => void): (job: RunningJob) => TrainerCallback {
  return (job) => {
    const { kind, name, trial } = job;
    let loss: number | null = null;
    let toldAt = -Infinity;
    const tell = ({ globalStep: step, maxSteps: steps }: { globalStep: number; maxSteps: number }) => {
      toldAt = performance.now();
      tally.note(job);
      send({ type: "job", job: { kind, name, trial, step, steps, computed: job.computed(), loss } });
    };
    return {
      onTrainBegin: (_args, state) => tell(state),
      onLog(_args, _state, _control, { logs }) {
        if (logs?.loss !== undefined) loss = logs.loss;
      },
      onStepEnd(_args, state) {
        tally.steps++;
        if (performance.now() - toldAt >= TOLD_MS) tell(state);
      },
      onTrainEnd: (_args, state) => tell(state),
    };
  };
}

/** What works for others. */
export class Helper {
  readonly #bench: Workbench;
  readonly #send: (id: number, event: JoinEvent) => void;
  readonly #bases: Base[] = [];

  /** @param send receives what a call of `join` tells */
  constructor(bench: Workbench, send: (id: number, event: JoinEvent) => void) {
    this.#bench = bench;
    this.#send = send;
  }

  /** Finds a base model, which jobs may use from then on. */
  async choose(source: ModelSource, call: Call): Promise<ChosenBase> {
    await this.#bench.device();
    const context = this.#bench.context(call);
    const found = await findModel(source, context);
    const { name, input, ggufFile } = found;
    const files = await filesOf(found);
    const total = files.reduce((sum, { size }) => sum + size, 0);
    const hash = await hashOfBase(files, (done) => {
      call.signal.throwIfAborted();
      const text = "Reading the files, to know the model by them";
      context.progress({ phase: "verify", text, file: null, done, total, unit: "bytes" });
    });
    const isKnown = this.#bases.some((base) => base.hash === hash);
    if (!isKnown) {
      this.#bases.push({
        ...{ name, hash },
        loadTokenizer: () => AutoTokenizer.fromPretrained(input as FolderInput, { ggufFile }),
        loadModel: async (storage) =>
          await AutoModelForCausalLM.fromPretrained<CausalLM>(input, {
            ...{ ...storageOf(storage), ggufFile },
            device: await this.#bench.device(),
          }),
      });
    }
    return { name, hash, bytes: total };
  }

  /** Works until the call is cancelled. */
  async join({ broker: url, ...credentials }: JoinOptions, { id, signal }: Call): Promise<JoinResult> {
    if (this.#bases.length === 0) {
      throw new Refusal("not-open", "No base model is chosen.", "Choose the one that the training names.");
    }
    const send = (event: JoinEvent) => this.#send(id, event);
    const worker = `tab-${crypto.randomUUID().slice(0, 8)}`;
    const tally = new Tally();
    this.#bench.closeModel(); // its memory is for the work
    const broker = await JetStreamBroker.connect({
      ...{ ...credentials, url, name: worker },
      onStatus: (status) => send({ type: "connection", isThere: status === "reconnected" }),
    });
    broker.endWith(signal);
    try {
      send({ type: "joined", worker });
      await workOn(broker, {
        ...{ name: worker, version: VERSION, bases: this.#bases, patienceMs: Infinity },
        basesOf: "those chosen in this tab",
        say: (text) => send({ type: "said", text }),
        watch: watcher(tally, send),
        idle: () => send({ type: "job", job: null }),
      }, { sweep: null, work: memoryStore(worker), idleSeconds: null, signal });
    } finally {
      await broker.close();
      this.#bench.trim();
    }
    const { jobs, steps, computed } = tally;
    return { worker, jobs, steps, computed };
  }
}
