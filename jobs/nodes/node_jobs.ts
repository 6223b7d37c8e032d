/**
 * A worker's part in trainings on several machines: it looks which a broker has, and becomes a node of those it may.
 * @module
 */

import type { FolderStore } from "@peft/webgpu/io";
import { type Broker, BrokerError, type Delivery, readRecords, type Records } from "@peft/webgpu/distributed";
import type { Base } from "../base.ts";
import { fetchData } from "../data_files.ts";
import type { TrialWorker } from "../sweep/trial.ts";
import { checkTrial } from "../finetune/trial_flags.ts";
import { TrialStore } from "../trial_store.ts";
import { Attempts } from "../finetune/attempts.ts";
import { readTrainingRows } from "../finetune/data.ts";
import { keepsCheckpoints, NodeGradients, storedCheckpoints, trainAsNode } from "./node_gradients.ts";
import {
  nodeRefusalKey,
  openTraining,
  PROTOCOL,
  readTraining,
  readTrainingHead,
  type TrainingPlaces,
  type TrainingRecord,
  TRAININGS,
} from "./protocol.ts";

/** Milliseconds between two looks at the list of trainings. */
const LOOK_MS = 2000;
/** Milliseconds that a worker waits for a job of a training. */
const TURN_MS = 1000;
/** A step that no training reaches: checkpoints are asked for by the node that leads, and the flag only says that two are kept. */
const NEVER = 1e9;

/** A worker, as far as trainings need it. */
export interface NodeWorker extends Pick<TrialWorker, "name" | "say" | "watch" | "idle"> {
  readonly basesOf?: string;
  readonly version: string;
  readonly bases: readonly Base[];
}

/** A training that this worker may join. */
interface Joined extends TrainingPlaces {
  readonly record: TrainingRecord;
  readonly base: Base;
}

/** Why a worker may not take part in a training, or what it takes part in. */
export function judgeTraining<B extends Pick<Base, "name" | "hash">>(
  name: string,
  text: string,
  { version, bases, basesOf = "--allow-model" }: {
    readonly version: string;
    readonly bases: readonly B[];
    /** What messages call where they are from. */
    readonly basesOf?: string;
  },
): { readonly record: TrainingRecord; readonly base: B } | { readonly refusal: string } {
  const action = `Cannot join the training "${name}"`;
  try {
    const head = readTrainingHead(text); // the record of another protocol may have another form
    if (head.version !== version || head.protocol !== PROTOCOL) {
      const wanted = `@peft/webgpu ${head.version} (protocol ${head.protocol}), with which it was begun,`;
      return { refusal: `${action}: ${wanted} is required, received ${version} (protocol ${PROTOCOL})` };
    }
    const record = readTraining(text);
    const base = bases.find(({ hash }) => hash === record.base);
    if (base) return { record, base };
    const allowed = bases.map(({ name, hash }) => `"${name}" (SHA-256 ${hash.slice(0, 12)})`).join(", ");
    const wanted = `its base model "${record.model}" (SHA-256 ${record.base.slice(0, 12)})`;
    return { refusal: `${action}: ${wanted} must be one of ${basesOf}, received ${allowed}` };
  } catch (error) {
    return { refusal: `${action}: ${(error as Error).message}` };
  }
}

/** The trainings of a broker, for one worker. */
export class NodeJobs {
  readonly #broker: Broker;
  readonly #worker: NodeWorker;
  readonly #options: { readonly work: FolderStore; readonly signal: AbortSignal };
  readonly #joined = new Map<string, Joined>();
  /** Records of the trainings that were looked at. */
  readonly #texts = new Map<string, string>();
  #trainings: Records | null = null;
  #looked = -Infinity;

  constructor(
    broker: Broker,
    worker: NodeWorker,
    options: { readonly work: FolderStore; readonly signal: AbortSignal },
  ) {
    this.#broker = broker;
    this.#worker = worker;
    this.#options = options;
  }

  /** Looks which trainings there are. */
  async #look(): Promise<void> {
    if (Date.now() - this.#looked < LOOK_MS) return;
    this.#trainings ??= await this.#broker.records(TRAININGS);
    const entries = await readRecords(this.#trainings);
    this.#looked = Date.now();
    for (const name of this.#texts.keys()) {
      if (entries.has(name)) continue;
      this.#texts.delete(name);
      this.#joined.delete(name);
    }
    for (const [name, { value }] of entries) {
      if (this.#texts.get(name) === value) continue;
      this.#texts.set(name, value);
      this.#joined.delete(name);
      const found = judgeTraining(name, value, this.#worker);
      const places = await openTraining(this.#broker, name, null);
      if ("refusal" in found) await this.#refuse(places.alive, found.refusal);
      else this.#joined.set(name, { ...found, ...places });
    }
  }

  /** Says why this worker takes no part, here and to the one who began it. */
  async #refuse(alive: Records, refusal: string): Promise<void> {
    this.#worker.say(refusal);
    await alive.put(nodeRefusalKey(this.#worker.name), refusal);
  }

  /** Takes the place of a node, if one is free soon, and computes until the training is over. @returns whether it did */
  async work(): Promise<boolean> {
    await this.#look();
    for (const [name, joined] of this.#joined) {
      const delivery = await joined.queue.take(TURN_MS).catch((error) => {
        if (error instanceof BrokerError && error.failure === "other") this.#joined.delete(name); // it is over
        throw error;
      });
      if (delivery === null) continue;
      try {
        await this.#compute(delivery, joined);
      } catch (error) {
        await delivery.release(1000).catch(() => {});
        if (error instanceof BrokerError && error.failure !== "other") throw error;
        this.#joined.delete(name); // another machine may do better
        const refusal = `Cannot go on with the training "${name}": ${(error as Error).message}`;
        await this.#refuse(joined.alive, refusal.slice(0, 1000));
      } finally {
        this.#worker.idle?.();
      }
      return true;
    }
    return false;
  }

  /** Whether a training has ended, or another of its name has begun. */
  async #isOver({ id, name }: TrainingRecord): Promise<boolean> {
    const found = await this.#trainings!.get(name);
    return found === null || JSON.parse(found.value).id !== id;
  }

  /** Is a node until the training is over, or this worker ends. */
  async #compute(delivery: Delivery, joined: Joined): Promise<void> {
    const { record, store, alive, queue } = joined;
    const { name, say } = this.#worker;
    const over = new AbortController();
    const signal = AbortSignal.any([this.#options.signal, over.signal]);
    const look = async () => {
      if (await this.#isOver(record)) over.abort();
    };
    const timers = [
      setInterval(() => delivery.working(), queue.ackWaitMs / 3),
      setInterval(() => void look().catch(() => {}), LOOK_MS), // a broker that is away is asked again
    ];
    const place = `node-${record.id}`;
    const folder = this.#options.work.folder(place);
    const checkpoints = new TrialStore(store, 0);
    const gradients = new NodeGradients({
      ...{ store, alive, holder: name, shares: record.nodes, compression: record.compression },
      ...{ patienceMs: Infinity, say },
    }, checkpoints);
    try {
      say(`training "${record.name}": this worker is a node`);
      await this.#train(joined, { gradients, checkpoints, folder, signal });
      await gradients.leave();
      if (this.#options.signal.aborted && !over.signal.aborted) {
        await delivery.release();
        return say(`training "${record.name}": the place is given back`);
      }
      await delivery.ack();
    } catch (error) {
      await gradients.leave().catch(() => {});
      await look().catch(() => {});
      if (!over.signal.aborted) throw error; // else what it had on the broker is gone
    } finally {
      timers.forEach(clearInterval);
      await this.#options.work.remove(place).catch(() => {});
    }
    const { computed } = gradients.counts;
    say(`training "${record.name}" is over: ${computed} shares of gradients were computed here`);
  }

  async #train(
    { record, base, store }: Joined,
    { gradients, checkpoints, folder, signal }: {
      readonly gradients: NodeGradients;
      readonly checkpoints: TrialStore;
      readonly folder: FolderStore;
      readonly signal: AbortSignal;
    },
  ): Promise<void> {
    const outputDir = folder.folder("output");
    const local = storedCheckpoints(outputDir);
    const data = await fetchData(store, { data: record.data, evalData: null }, folder.folder("data"));
    const { values, problems } = checkTrial(record.given, {
      ...{ model: record.model, output: outputDir.name },
      ...data.places,
    });
    if (problems.length > 0) throw new TypeError(`Cannot be a node: ${problems.join("; ")}`);
    const { say, watch } = this.#worker;
    const kept = { ...values, "save-steps": NEVER };
    const tokenizer = await base.loadTokenizer();
    const computed = () => gradients.counts.computed;
    const job = { kind: "node", name: record.name, trial: null, computed } as const;
    const attempts = new Attempts(kept, tokenizer, await readTrainingRows(kept, data.open), {
      loadBase: () => base.loadModel(kept),
      callbacks: ({ base: { config } }) => {
        config.nameOrPath = record.model;
        const saveSteps = values["save-steps"];
        return [
          keepsCheckpoints({ gradients, checkpoints, local, saveSteps, say, signal }),
          ...watch ? [watch(job)] : [],
        ];
      },
      ...{ isQuiet: true, gradientExchange: gradients, outputDir },
    });
    let attempt: Awaited<ReturnType<Attempts["make"]>> | null = null;
    const dispose = () => {
      attempt?.model.dispose();
      attempt = null;
    };
    try {
      await trainAsNode({
        ...{ checkpoints, local, onBehind: dispose, signal },
        makeTrainer: async () => (attempt = await attempts.make()).trainer,
      });
    } finally {
      dispose();
    }
  }
}
