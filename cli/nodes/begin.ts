/**
 * The process that begins a training on several machines: it tells workers of it, computes its share, and removes
 * everything at the end.
 * @module
 */

import { join } from "@std/path";
import { VERSION } from "@peft/webgpu";
import { type Broker, Lease, LeaseTakenError, readRecords } from "@peft/webgpu/distributed";
import { diskStore } from "@peft/webgpu/io";
import type { ResilientOutput } from "@peft/webgpu/train";
import { openBroker } from "../broker_flags.ts";
import { InterruptedError, interruptible } from "../interrupt.ts";
import { joinLink } from "../join_link.ts";
import type { Flag } from "../../jobs/flags.ts";
import { findBase, findData, hashOf, storeData } from "../sweep/files.ts";
import { TRIAL_FLAGS } from "../../jobs/finetune/trial_flags.ts";
import { TrialStore } from "../../jobs/trial_store.ts";
import { workerName } from "../sweep/worker.ts";
import { type FinetuneValues, furtherSettings } from "../../jobs/finetune/finetune_flags.ts";
import { UsageError } from "../../jobs/usage_error.ts";
import { runName } from "../../jobs/finetune/node_flags.ts";
import {
  keepsCheckpoints,
  type LocalCheckpoints,
  NodeGradients,
  type NodeTraining,
  trainAsNode,
} from "../../jobs/nodes/node_gradients.ts";
import {
  aliveOf,
  openTraining,
  PROTOCOL,
  readTraining,
  readTrainingHead,
  removeTraining,
  type TrainingPlaces,
  type TrainingRecord,
  TRAININGS,
} from "../../jobs/nodes/protocol.ts";

/** Milliseconds between two looks at who computes. */
const LOOK_MS = 2000;
/** Settings of the Trainer that concern the beginner alone: it evaluates, and writes files. */
const OF_BEGINNER = /^(?:eval|save|logging|loadBest|metricForBest|greaterIsBetter|earlyStopping|report)/;

/** The flags that say what is trained, as every node has them. */
function givenOf(values: FinetuneValues): TrainingRecord["given"] {
  const settings = Object.entries(furtherSettings(values["training-options"]));
  const further = Object.fromEntries(settings.filter(([name]) => !OF_BEGINNER.test(name)));
  const shared: Record<string, unknown> = {
    ...values,
    accumulation: values.accumulation * values.nodes,
    "eval-steps": undefined,
    "training-options": settings.length > 0 ? JSON.stringify(further) : undefined,
  };
  const isSaid = ([name, flag]: [string, Flag]) =>
    shared[name] !== undefined && shared[name] !== (flag.default ?? false);
  const said = Object.entries(TRIAL_FLAGS).filter(isSaid);
  return Object.fromEntries(said.map(([name]) => [name, shared[name]])) as TrainingRecord["given"];
}

/**
 * Takes the right to run a training. @param waits whether one that just died may have it still: a silent one is forgotten
 * @throws {UsageError} where another process has it
 */
async function takeLease(
  broker: Broker,
  name: string,
  { ttlSeconds, holder, waits }: { ttlSeconds: number; holder: string; waits: boolean },
): Promise<Lease> {
  const leases = await broker.records(aliveOf(name), { ttlSeconds });
  for (const end = Date.now() + (ttlSeconds + 2) * 1000;;) {
    try {
      return await Lease.take(leases, "beginner", holder);
    } catch (error) {
      if (!(error instanceof LeaseTakenError)) throw error;
      if (!waits || Date.now() > end) {
        throw new UsageError(
          `Cannot run finetune: a --run-name that no running training has is required, received "${name}", which ${error.holder} runs, or ran less than ${ttlSeconds} s ago`,
        );
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

/** The record of a training that did not end, if it may go on. @throws {UsageError} where it may not */
function checkUnfinished(text: string, name: string, plan: string, resume: boolean): TrainingRecord {
  const { protocol, version } = readTrainingHead(text);
  const rest = "give another --run-name, or --discard to remove what that one left";
  if (protocol !== PROTOCOL || version !== VERSION) {
    throw new UsageError(
      `Cannot run finetune: the unfinished training "${name}" is of @peft/webgpu ${version}, received ${VERSION}: go on with that version, or ${rest}`,
    );
  }
  const before = readTraining(text);
  if (before.plan !== plan) {
    throw new UsageError(
      `Cannot run finetune: a --run-name that no other training has is required, received "${name}", of which an unfinished training with other settings, other data or another base is there: ${rest}`,
    );
  }
  if (resume) return before;
  throw new UsageError(
    `Cannot run finetune: an unfinished training "${name}" of the same settings is there: --resume goes on with it, --discard removes it`,
  );
}

/** A training that this process began. */
export class BegunTraining {
  /** Flags of this process: with the batches of all nodes. */
  readonly values: FinetuneValues;
  readonly gradients: NodeGradients;
  readonly checkpoints: TrialStore;
  /** Folder for checkpoints of others. */
  readonly folder: string;
  readonly #broker: Broker;
  readonly #record: TrainingRecord;
  readonly #lease: Lease;
  readonly #places: TrainingPlaces;
  readonly #data: Awaited<ReturnType<typeof findData>>;
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #told = new Set<string>();
  /** Aborts when the user ends this process's part. */
  readonly #stopping = new AbortController();
  #computing = 1;
  /** Where a browser's tab takes part. */
  readonly #link: string | null;
  /** Whether the broker's list of trainings has it. */
  #isListed: boolean;
  /** Whether it was there before, or may go on: the user ended this process's part. */
  #isKept: boolean;

  private constructor(
    values: FinetuneValues,
    parts: {
      broker: Broker;
      record: TrainingRecord;
      lease: Lease;
      places: TrainingPlaces;
      data: Awaited<ReturnType<typeof findData>>;
      link: string | null;
      isListed: boolean;
      folder: string;
      holder: string;
    },
  ) {
    const { broker, record, lease, places, folder, holder } = parts;
    const { data, link, isListed } = parts;
    [this.#data, this.#link, this.#isListed, this.#isKept] = [data, link, isListed, isListed];
    this.values = { ...values, accumulation: values.accumulation * record.nodes };
    [this.#broker, this.#record, this.#lease, this.#places, this.folder] = [
      broker,
      record,
      lease,
      places,
      folder,
    ];
    const { store, alive } = places;
    this.checkpoints = new TrialStore(store, 0);
    this.gradients = new NodeGradients({
      ...{ store, alive, holder, shares: record.nodes, compression: record.compression },
      patienceMs: Infinity,
      say: (line) => console.log(line),
    }, this.checkpoints);
    broker.endWith(this.#stopping.signal);
    this.#timer = setInterval(() => void this.#look().catch(() => {}), LOOK_MS); // a broker that is away is asked again
  }

  /**
   * Takes the right to a training that is new, or goes on. Workers know of it once it is published.
   * @throws {UsageError} for a name that is taken, or an unfinished training that is another
   */
  static async begin(values: FinetuneValues): Promise<BegunTraining> {
    const name = runName(values);
    const ackWaitMs = values["ack-wait"] * 1000;
    const base = await findBase(values.model, values["gguf-file"]);
    const data = await findData("data", values.data);
    const files = data.map(({ path, files }) => ({ path, files }));
    const given = givenOf(values);
    const { nodes, "gradient-compression": compression } = values;
    const plan = hashOf({ base: base.hash, files, given, nodes, compression });
    const holder = workerName();
    const broker = await openBroker("finetune", values, `finetune ${name}`);
    let lease: Lease | null = null;
    let isNew = false;
    try {
      const leaseOf = { ttlSeconds: Math.ceil(values["ack-wait"]), holder, waits: values.resume };
      const trainings = await broker.records(TRAININGS);
      lease = await takeLease(broker, name, leaseOf);
      let there = await trainings.get(name);
      if (there && values.discard) {
        await lease.release();
        await removeTraining(broker, name);
        lease = await takeLease(broker, name, leaseOf);
        there = null;
      }
      const before = there && checkUnfinished(there.value, name, plan, values.resume);
      if (values.resume && !before) {
        console.log(`no unfinished training "${name}" is on the broker: it starts from the beginning`);
      }
      isNew = before === null;
      const places = await openTraining(broker, name, ackWaitMs);
      const record: TrainingRecord = before ?? {
        ...{ protocol: PROTOCOL, version: VERSION, id: crypto.randomUUID(), name, model: values.model },
        ...{
          base: base.hash,
          plan,
          nodes,
          compression,
          data: files,
          given,
        },
      };
      const folder = await Deno.makeTempDir({ prefix: "peft_nodes_" });
      const link = joinLink(values, name, base);
      const parts = { broker, record, lease, places, data, link, isListed: !isNew, folder, holder };
      return new BegunTraining(values, parts);
    } catch (error) {
      await lease?.release().catch(() => {});
      if (isNew) await removeTraining(broker, name).catch(() => {}); // of places some may have been made
      await broker.close();
      throw error;
    }
  }

  /**
   * Lets `load` make what trains, and then tells workers of the training: of one that cannot be made nobody hears.
   * @throws {InterruptedError} on Ctrl-C meanwhile
   * @throws {UsageError} where another process runs this training now
   */
  async publish<T>(load: () => Promise<T>): Promise<T> {
    const loaded = await this.stoppable(load);
    if (this.#lease.lost.aborted) throw this.#isLost();
    const { name, nodes, model } = this.#record;
    const { store, queue } = this.#places;
    await storeData(store, this.#data);
    for (let i = 1; i < nodes; i++) await queue.add(`node.${i}`, new Uint8Array());
    if (!this.#isListed) {
      await (await this.#broker.records(TRAININGS)).put(name, JSON.stringify(this.#record));
    }
    this.#isListed = true;
    console.log(`training "${name}" by ${nodes} nodes over ${this.#broker.name}: this one, and workers:`);
    console.log(`  ./run worker --queue … --allow-model ${JSON.stringify(model)}, on any machine`);
    if (this.#link !== null) console.log(`  or a browser's tab: ${this.#link}`);
    return loaded;
  }

  /** Does what cannot end in its middle, unless Ctrl-C ends this process. @throws {InterruptedError} then */
  async stoppable<T>(work: () => Promise<T>): Promise<T> {
    const what = this.#isListed ? this.outlook : "nothing stays on the broker";
    return await interruptible(`stopping; ${what}`, (signal) => {
      const stopped = Promise.withResolvers<never>();
      signal.addEventListener("abort", () => {
        this.#isKept = this.#isListed;
        this.#stopping.abort();
        stopped.reject(new InterruptedError());
      });
      return Promise.race([work(), stopped.promise]);
    });
  }

  #isLost(): UsageError {
    return new UsageError(
      `Cannot go on with the training "${this.#record.name}": another process runs it, since this one was silent for too long`,
    );
  }

  /** Whether it stays on the broker where this process ends. */
  get stays(): boolean {
    const { computed, reads } = this.gradients.counts;
    return this.#isKept || computed + reads > 0;
  }

  /** What becomes of it without this process. */
  get outlook(): string {
    return `the training "${this.#record.name}" stays on the broker, where workers go on; give the same command with --resume to go on, or with --discard to begin anew`;
  }

  /** How many nodes compute, for progress lines. */
  get progress(): string {
    return `${this.#computing} of ${this.#record.nodes} nodes`;
  }

  /** Keeps checkpoints while this node leads. */
  get callback() {
    const { gradients, checkpoints, values } = this;
    const saveSteps = values["save-steps"];
    const say = (line: string) => console.log(line);
    const discard = saveSteps === 0 ? (path: string) => Deno.remove(path, { recursive: true }) : undefined;
    const { signal } = this.#stopping;
    return keepsCheckpoints({ gradients, checkpoints, local: this.#local, saveSteps, discard, say, signal });
  }

  get #local(): LocalCheckpoints {
    const newest = join(this.folder, "newest");
    return { fetched: diskStore(newest), pathOf: (name) => join(newest, name), written: diskStore };
  }

  /** Looks who computes, and who refused to. */
  async #look(): Promise<void> {
    const { alive } = this.#places;
    const holders = new Set<string>();
    for (const [key, { value }] of await readRecords(alive, (key) => !this.#told.has(key))) {
      if (key.startsWith("share.")) holders.add(JSON.parse(value).holder);
      if (!key.startsWith("refusal.")) continue;
      this.#told.add(key);
      console.log(`worker ${key.slice("refusal.".length)}: ${value.slice(0, 1000)}`);
    }
    this.#computing = Math.max(1, holders.size); // this one reads shares where all are computed
  }

  /** Trains this node's part. @throws {UsageError} where another process runs this training now */
  async train(run: Omit<NodeTraining, "checkpoints" | "local" | "onBegin">): Promise<ResilientOutput> {
    const { checkpoints } = this;
    const onBegin = (checkpoint: string | null) => {
      if (checkpoint) console.log(`continuing from ${checkpoint} of the broker`);
    };
    run.signal.addEventListener("abort", () => this.#stopping.abort(), { once: true });
    const signal = AbortSignal.any([run.signal, this.#lease.lost]);
    const result = await trainAsNode({ ...run, checkpoints, local: this.#local, onBegin, signal });
    this.#isKept = true;
    if (!result.aborted || run.signal.aborted) return result;
    throw this.#isLost();
  }

  /** Removes everything from the broker: what was trained is written. */
  async end(): Promise<void> {
    clearInterval(this.#timer);
    await this.gradients.leave();
    await this.#lease.release();
    await removeTraining(this.#broker, this.#record.name);
  }

  /** Ends this process's part; the others go on. Of a training that failed before its first step nothing stays. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.gradients.leave().catch(() => {});
    await this.#lease.release().catch(() => {});
    const isOwn = !this.#lease.lost.aborted; // else another process may have begun one of this name
    if (isOwn && !this.stays) await removeTraining(this.#broker, this.#record.name).catch(() => {});
    await this.#broker.close();
    await Deno.remove(this.folder, { recursive: true }).catch(() => {});
  }
}
