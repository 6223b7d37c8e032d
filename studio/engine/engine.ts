/**
 * The engine: what each call does, and which calls may run at once.
 * @module
 */

import { DeviceLostError, VERSION } from "@peft/webgpu";
import type {
  AdapterInfo,
  CallName,
  Calls,
  ChatOptions,
  ChatResult,
  EngineEvent,
  Environment,
  JoinEvent,
  MixOptions,
  StartOptions,
  StudioError,
  TrainingResult,
  TrainingSettings,
} from "../protocol.ts";
import { shelveFiles } from "./adapter_files.ts";
import { type BrowserLocks, takeStorage } from "./browser.ts";
import { CANCELLED, Refusal, studioError } from "./errors.ts";
import { exportFiles } from "./exports.ts";
import type { Helper } from "./helper.ts";
import { maskedExample } from "./open_data.ts";
import { checkBudget, methodInfos, plan, suggest } from "./planning.ts";
import { progressTeller } from "./progress.ts";
import { RunStore } from "./run_store.ts";
import { Shelf } from "./shelf.ts";
import { fitting, Speakers } from "./speakers.ts";
import { type BrowserStorage, EngineStorage } from "./storage.ts";
import { Training } from "./training.ts";
import { type Call, Workbench } from "./workbench.ts";

/** What the engine needs of the browser. */
export interface EngineHost {
  readonly storage: BrowserStorage;
  readonly locks: BrowserLocks | undefined;
  /** What works for others over a broker; absent where the page does not offer it. */
  readonly makeHelper?: (bench: Workbench, send: (id: number, event: JoinEvent) => void) => Helper;
}

type Handlers = {
  readonly [Name in CallName]: (params: Calls[Name]["params"], call: Call) => Promise<Calls[Name]["result"]>;
};

/** Calls that may run beside anything: they ask nothing of the device. */
const FREE: ReadonlySet<CallName> = new Set([
  ...["start", "pause", "continue", "stop", "resumable", "discardRun", "adapters", "activate"] as const,
  ...["rename", "deleteAdapter", "storage", "deleteStored", "dataExample"] as const,
]);

/** Those of them that take adapters off the open model. */
const TOUCHES_ADAPTERS: ReadonlySet<CallName> = new Set(["deleteAdapter", "deleteStored"]);

/** Calls that a paused training leaves room for. */
const DURING_PAUSE: ReadonlySet<CallName> = new Set(["chat", "plan", "methods", "suggest"]);

/** One engine, for one page. */
export class Engine {
  readonly #host: EngineHost;
  readonly #send: (event: EngineEvent) => void;
  #problem: StudioError | null = null;
  #holdsStorage = false;
  #storage: EngineStorage | null = null;
  #bench: Workbench | null = null;
  #shelf: Shelf | null = null;
  #training: Training | null = null;
  #helper: Helper | null = null;
  readonly #progress: ReturnType<typeof progressTeller>;
  /** Whether a training runs or waits for its turn. */
  #isAsked = false;
  /** Calls that use the device now. */
  #running = 0;
  /** The last of the calls that need the device. */
  #queue: Promise<unknown> = Promise.resolve();

  /** @param send receives events */
  constructor(host: EngineHost, send: (event: EngineEvent) => void) {
    this.#host = host;
    this.#send = send;
    this.#progress = progressTeller(send);
  }

  /** Runs a call, after those before it that need the device. @throws what the page is told by `studioError` */
  async call<Name extends CallName>(
    name: Name,
    params: Calls[Name]["params"],
    call: Call,
  ): Promise<Calls[Name]["result"]> {
    const handler = this.#handlers[name] as Handlers[Name] | undefined;
    if (!handler) throw new Refusal("internal", `The engine knows no call "${name}".`, "Reload the page.");
    if (name !== "start" && !this.#storage) {
      throw new Refusal("not-open", "The engine is not started.", "Reload the page.");
    }
    if (name !== "start" && this.#problem?.kind === "other-tab") {
      throw new Refusal("other-tab", this.#problem.title, this.#problem.whatToDo);
    }
    // an adapter may be answering while nothing trains
    const isFree = FREE.has(name) && (this.#training !== null || !TOUCHES_ADAPTERS.has(name));
    if (isFree) return await handler(params, call);
    const trains = name === "train" || name === "resumeRun";
    if (trains && this.#isAsked) throw new Refusal("busy", "A training is about to start.", "Wait for it.");
    if (this.#training) {
      if (DURING_PAUSE.has(name) && this.#training.isPaused) return await this.#queued(handler, params, call);
      throw new Refusal("busy", "A training is running.", "Pause it or stop it first.");
    }
    this.#isAsked ||= trains;
    try {
      return await this.#queued(handler, params, call);
    } finally {
      if (trains) this.#isAsked = false;
    }
  }

  async #queued<Params, Result>(
    handler: (params: Params, call: Call) => Promise<Result>,
    params: Params,
    call: Call,
  ): Promise<Result> {
    const before = this.#queue;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#queue = promise;
    try {
      await before;
      if (call.signal.aborted) throw CANCELLED;
      this.#running++;
      return await handler(params, call).finally(() => this.#running--);
    } catch (error) {
      if (error instanceof DeviceLostError) this.#bench?.lose(error, false);
      throw error;
    } finally {
      resolve();
    }
  }

  readonly #handlers: Handlers = {
    start: (options) => this.#start(options),
    openModel: async (options, call) => (await this.#bench!.openModel(options, call)).facts,
    closeModel: () => {
      this.#bench!.closeModel();
      return Promise.resolve(null);
    },
    openData: async (options, call) => (await this.#bench!.openData(options, call)).facts,
    dataExample: async ({ index }) => {
      const { examples } = this.#bench!.data;
      const example = await examples.at(index);
      if (example) return maskedExample(index, example, this.#bench!.model.tokenizer);
      throw new Refusal("bad-settings", "There is no such row.", `Choose one from 1 to ${examples.length}.`);
    },
    methods: () => Promise.resolve(methodInfos(this.#bench!.model)),
    suggest: ({ method = "lora" }) => {
      const { memoryBudget, isSoftware } = this.#bench!.gpu!;
      return Promise.resolve(
        suggest(method, this.#bench!.model, this.#bench!.data, memoryBudget, isSoftware),
      );
    },
    plan: ({ settings }) =>
      Promise.resolve(plan(settings, this.#bench!.model, this.#bench!.openedData, this.#bench!.budget)),
    train: async ({ settings }, call) => {
      const [model, data] = [this.#bench!.model, this.#bench!.data];
      checkBudget(settings, model, data, this.#bench!.budget);
      const runId = await this.#runs.begin(settings, model, data);
      return await this.#train(runId, settings, false, call);
    },
    resumeRun: async ({ runId, files = [] }, call) => {
      const record = await this.#runs.read(runId);
      const source = this.#runs.modelSource(record, files);
      const bench = this.#bench!;
      const { openedModel } = bench;
      const isOpen = openedModel && JSON.stringify(openedModel.source) === JSON.stringify(source) &&
        source.kind !== "files" && openedModel.storage === record.storage;
      const model = isOpen ? openedModel : await bench.openModel({ source, storage: record.storage }, call);
      const data = await bench.openData(await this.#runs.dataOptions(runId, record, files), call);
      this.#send({ event: "opened", id: call.id, model: model.facts, data: data.facts });
      return await this.#train(runId, record.settings, true, call);
    },
    pause: () => this.#needTraining().pause(),
    continue: async () => {
      const training = this.#needTraining();
      await this.#queue; // an answer that is under way has other adapters on
      return training.continue();
    },
    stop: async ({ keep }) => {
      const training = this.#needTraining();
      await this.#queue;
      return training.stop(keep);
    },
    resumable: async () => this.#training ? [] : await this.#runs.resumable(),
    discardRun: async ({ runId }) => {
      if (this.#training) throw new Refusal("busy", "A training is running.", "Stop it first.");
      await this.#runs.remove(runId);
      return null;
    },
    chat: (options, call) => this.#chat(options, call),
    adapters: () => this.#shelf!.list(this.#bench!.openedModel),
    loadAdapter: async ({ files, name }) => {
      const model = this.#bench!.model;
      const adapterId = await shelveFiles(files, name, model, this.#shelf!);
      return await this.#shelf!.info(adapterId, model);
    },
    activate: async ({ adapterId }) => {
      if (adapterId !== null) await this.#shelf!.find(adapterId);
      this.#shelf!.active = adapterId;
      return await this.#shelf!.list(this.#bench!.openedModel);
    },
    mix: (options) => this.#mix(options),
    rename: async ({ adapterId, name }) => {
      await this.#shelf!.rename(adapterId, name);
      return await this.#shelf!.info(adapterId, this.#bench!.openedModel);
    },
    deleteAdapter: async ({ adapterId }) => {
      await this.#deleteAdapter(adapterId);
      return await this.#shelf!.list(this.#bench!.openedModel);
    },
    export: (options, { id, signal }) =>
      exportFiles(options, {
        shelf: this.#shelf!,
        signal,
        progress: (progress) => this.#progress(id, progress),
        modelFor: (record) => fitting(this.#bench!.model, record),
        reopen: () => {
          const { source, storage } = this.#bench!.model;
          return this.#bench!.openModel(
            { source, storage },
            { id, signal: new AbortController().signal },
            true,
          );
        },
      }),
    storage: () => this.#storage!.report(this.#inUse()),
    deleteStored: async ({ entryId }) => {
      const [kind, id] = entryId.split("/");
      if (kind === "adapters") await this.#deleteAdapter(id);
      else await this.#storage!.delete(entryId, this.#inUse());
      return await this.#storage!.report(this.#inUse());
    },
    chooseBase: ({ source }, call) => this.#needHelper().choose(source, call),
    join: (options, call) => this.#needHelper().join(options, call),
  };

  get #runs(): RunStore {
    return new RunStore(this.#storage!);
  }

  async #start(options: StartOptions): Promise<Environment> {
    const open = this.#bench;
    if (open && this.#problem === null) { // a page that asks again
      if (options.memoryBudget !== undefined) open.setBudget(options.memoryBudget);
      return await this.#environment(open);
    }
    const problem = this.#holdsStorage ? null : await takeStorage(this.#host.locks);
    this.#holdsStorage ||= problem === null;
    this.#problem = options.worksBesideOthers ? null : problem;
    this.#storage = await EngineStorage.open(this.#holdsStorage ? this.#host.storage : {});
    this.#shelf = new Shelf(this.#storage);
    const bench = this.#bench = new Workbench(options, this.#storage, {
      send: this.#send,
      progress: this.#progress,
      isBusy: () => this.#running > 0,
    });
    if (this.#problem === null) {
      try {
        await bench.device();
      } catch (error) {
        this.#problem = studioError(error);
      }
    }
    return await this.#environment(bench);
  }

  async #environment({ gpu }: Workbench): Promise<Environment> {
    return { problem: this.#problem, gpu, storage: await this.#storage!.facts(), version: VERSION };
  }

  async #train(
    runId: string,
    settings: TrainingSettings,
    resumes: boolean,
    call: Call,
  ): Promise<TrainingResult> {
    const bench = this.#bench!;
    let isLost = false;
    const training = new Training({
      ...{ runId, settings, resumes, runs: this.#runs, shelf: this.#shelf! },
      emit: (train) => this.#send({ event: "train", id: call.id, train }),
      onDeviceLost: (error) => {
        isLost = true;
        bench.lose(error, true);
      },
      ready: async () => {
        if (isLost) await bench.reopen(call);
        isLost = false;
        return { model: bench.model, data: bench.data };
      },
    });
    this.#training = training;
    const outer = this.#queue;
    this.#queue = Promise.resolve(); // what a pause leaves room for
    if (call.signal.aborted) training.stop(false);
    const stop = () => void training.stop(true);
    call.signal.addEventListener("abort", stop, { once: true });
    try {
      return await training.run();
    } finally {
      this.#training = null;
      this.#queue = Promise.all([outer, this.#queue]);
      call.signal.removeEventListener("abort", stop);
      bench.trim();
    }
  }

  async #chat(options: ChatOptions, { id, signal }: Call): Promise<ChatResult> {
    const model = this.#bench!.model;
    const onPiece = (text: string, tokens: number) => this.#send({ event: "piece", id, text, tokens });
    const peft = this.#training?.peft;
    const paused = peft ? { peft, form: this.#bench!.data.form } : null;
    return await new Speakers(model, this.#shelf!).chat(options, paused, onPiece, signal);
  }

  async #mix(options: MixOptions): Promise<AdapterInfo> {
    const model = this.#bench!.model;
    const adapterId = await new Speakers(model, this.#shelf!).mix(options);
    return await this.#shelf!.info(adapterId, model);
  }

  async #deleteAdapter(adapterId: string): Promise<void> {
    await this.#shelf!.delete(adapterId);
    if (!this.#training) this.#bench?.openedModel?.seat.remove(adapterId);
  }

  #needHelper(): Helper {
    const send = (id: number, join: JoinEvent) => this.#send({ event: "join", id, join });
    this.#helper ??= this.#host.makeHelper?.(this.#bench!, send) ?? null;
    if (this.#helper) return this.#helper;
    throw new Refusal("internal", "This page does not work for others.", "Open the link to join once more.");
  }

  #needTraining(): Training {
    if (this.#training) return this.#training;
    throw new Refusal("not-open", "No training is running.", "Start one first.");
  }

  #inUse(): Set<string> {
    const { found } = this.#bench?.openedModel ?? {};
    const runId = this.#training?.runId;
    return new Set([...found?.entryId ? [found.entryId] : [], ...runId ? [`runs/${runId}`] : []]);
  }
}
