/**
 * The engine: what each call does, and which calls may run at once.
 * @module
 */

import { type Device, DeviceLostError, VERSION } from "@peft/webgpu";
import type {
  AdapterInfo,
  CallName,
  Calls,
  ChatOptions,
  ChatResult,
  EngineEvent,
  Environment,
  GpuFacts,
  MixOptions,
  OpenModelOptions,
  StartOptions,
  StudioError,
  TrainingResult,
  TrainingSettings,
} from "../protocol.ts";
import { shelveFiles } from "./adapter_files.ts";
import { type BrowserLocks, openDevice, takeStorage } from "./browser.ts";
import { CANCELLED, Refusal, studioError } from "./errors.ts";
import { exportFiles } from "./exports.ts";
import { maskedExample, type OpenData, openData } from "./open_data.ts";
import { type OpenModel, openModel } from "./open_model.ts";
import { checkBudget, methodInfos, plan, suggest } from "./planning.ts";
import { progressTeller } from "./progress.ts";
import { RunStore } from "./run_store.ts";
import { Shelf } from "./shelf.ts";
import { fitting, Speakers } from "./speakers.ts";
import { type BrowserStorage, EngineStorage } from "./storage.ts";
import { Training } from "./training.ts";

const HUB = "https://huggingface.co";

/** What the engine needs of the browser. */
export interface EngineHost {
  readonly storage: BrowserStorage;
  readonly locks: BrowserLocks | undefined;
}

/** What a call is given beside its parameters. */
interface Call {
  readonly id: number;
  readonly signal: AbortSignal;
}

type Handlers = {
  readonly [Name in CallName]: (params: Calls[Name]["params"], call: Call) => Promise<Calls[Name]["result"]>;
};

/** Calls that may run beside anything: they ask nothing of the device. */
const FREE: ReadonlySet<CallName> = new Set([
  ...["start", "pause", "continue", "stop", "resumable", "discardRun", "adapters", "activate"] as const,
  ...["rename", "deleteAdapter", "storage", "deleteStored", "dataExample"] as const,
]);

/** Calls that a paused training leaves room for. */
const DURING_PAUSE: ReadonlySet<CallName> = new Set(["chat", "plan", "methods", "suggest"]);

/** One engine, for one page. */
export class Engine {
  readonly #host: EngineHost;
  readonly #send: (event: EngineEvent) => void;
  #options: StartOptions = { assetsUrl: "" };
  #problem: StudioError | null = null;
  #holdsStorage = false;
  #storage: EngineStorage | null = null;
  #device: Device | null = null;
  #gpu: GpuFacts | null = null;
  #model: OpenModel | null = null;
  #data: OpenData | null = null;
  #shelf: Shelf | null = null;
  #training: Training | null = null;
  readonly #progress: ReturnType<typeof progressTeller>;
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
    if (FREE.has(name)) return await handler(params, call);
    if (this.#training) {
      if (DURING_PAUSE.has(name) && this.#training.isPaused) return await this.#queued(handler, params, call);
      throw new Refusal("busy", "A training is running.", "Pause it or stop it first.");
    }
    return await this.#queued(handler, params, call);
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
      if (error instanceof DeviceLostError) this.#loseDevice(error, false);
      throw error;
    } finally {
      resolve();
    }
  }

  readonly #handlers: Handlers = {
    start: (options) => this.#start(options),
    openModel: async (options, call) => (await this.#openModel(options, call)).facts,
    closeModel: () => {
      this.#closeModel();
      return Promise.resolve(null);
    },
    openData: async (options, { id }) => {
      const model = this.#needModel();
      this.#progress(id, {
        phase: "tokenize",
        text: "Reading the data",
        file: null,
        done: 0,
        total: null,
        unit: "rows",
      });
      this.#data = null;
      this.#data = await openData(options, model, this.#assetsUrl);
      return this.#data.facts;
    },
    dataExample: async ({ index }) => {
      const { examples } = this.#needData();
      const example = await examples.at(index);
      if (example) return maskedExample(index, example, this.#needModel().tokenizer);
      throw new Refusal("bad-settings", "There is no such row.", `Choose one from 1 to ${examples.length}.`);
    },
    methods: () => Promise.resolve(methodInfos(this.#needModel())),
    suggest: ({ method = "lora" }) => {
      const { memoryBudget, isSoftware } = this.#gpu!;
      return Promise.resolve(suggest(method, this.#needModel(), this.#needData(), memoryBudget, isSoftware));
    },
    plan: ({ settings }) =>
      Promise.resolve(plan(settings, this.#needModel(), this.#data, this.#gpu!.memoryBudget)),
    train: async ({ settings }, call) => {
      const [model, data] = [this.#needModel(), this.#needData()];
      checkBudget(settings, model, data, this.#gpu!.memoryBudget);
      await this.#storage!.persist();
      const runId = await this.#runs.begin(settings, model, data);
      return await this.#train(runId, settings, false, call);
    },
    resumeRun: async ({ runId, files = [] }, call) => {
      const record = await this.#runs.read(runId);
      const source = this.#runs.modelSource(record, files);
      const isOpen = this.#model && JSON.stringify(this.#model.source) === JSON.stringify(source) &&
        source.kind !== "files" && this.#model.storage === record.storage;
      const model = isOpen ? this.#model! : await this.#openModel({ source, storage: record.storage }, call);
      this.#data = await openData(await this.#runs.dataOptions(runId, record, files), model, this.#assetsUrl);
      this.#send({ event: "opened", id: call.id, model: model.facts, data: this.#data.facts });
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
    adapters: () => this.#shelf!.list(this.#model),
    loadAdapter: async ({ files, name }) => {
      const model = this.#needModel();
      const adapterId = await shelveFiles(files, name, model, this.#shelf!);
      return await this.#shelf!.info(adapterId, model);
    },
    activate: async ({ adapterId }) => {
      if (adapterId !== null) await this.#shelf!.find(adapterId);
      this.#shelf!.active = adapterId;
      return await this.#shelf!.list(this.#model);
    },
    mix: (options) => this.#mix(options),
    rename: async ({ adapterId, name }) => {
      await this.#shelf!.rename(adapterId, name);
      return await this.#shelf!.info(adapterId, this.#model);
    },
    deleteAdapter: async ({ adapterId }) => {
      await this.#shelf!.delete(adapterId);
      if (!this.#training) this.#model?.seat.remove(adapterId);
      return await this.#shelf!.list(this.#model);
    },
    export: (options, { id, signal }) =>
      exportFiles(options, {
        shelf: this.#shelf!,
        signal,
        progress: (progress) => this.#progress(id, progress),
        modelFor: (record) => fitting(this.#needModel(), record),
        reopen: () =>
          this.#openModel({ source: this.#model!.source, storage: this.#model!.storage }, {
            id,
            signal: new AbortController().signal,
          }, true),
      }),
    storage: () => this.#storage!.report(this.#inUse()),
    deleteStored: async ({ entryId }) => {
      await this.#storage!.delete(entryId, this.#inUse());
      return await this.#storage!.report(this.#inUse());
    },
  };

  get #assetsUrl(): string {
    return this.#options.assetsUrl;
  }

  get #runs(): RunStore {
    return new RunStore(this.#storage!);
  }

  async #start(options: StartOptions): Promise<Environment> {
    this.#options = { ...options, assetsUrl: options.assetsUrl.replace(/\/?$/, "/") };
    this.#problem = this.#holdsStorage ? null : await takeStorage(this.#host.locks);
    this.#holdsStorage ||= this.#problem === null;
    this.#storage ??= await EngineStorage.open(this.#holdsStorage ? this.#host.storage : {});
    this.#shelf ??= new Shelf(this.#storage);
    if (this.#problem === null) {
      try {
        await this.#ensureDevice();
      } catch (error) {
        this.#problem = studioError(error);
      }
    }
    return { problem: this.#problem, gpu: this.#gpu, storage: await this.#storage.facts(), version: VERSION };
  }

  /** The device; a new one where the last one is lost. */
  async #ensureDevice(): Promise<Device> {
    if (this.#device && !this.#device.isLost) return this.#device;
    const { device, facts } = await openDevice(this.#options.memoryBudget ?? null);
    this.#device = device;
    this.#gpu = facts;
    void device.gpuDevice.lost.then(({ message }) => {
      // a call that uses it finds out by itself; while none does, nobody would
      if (this.#device === device && this.#running === 0) {
        this.#loseDevice(new DeviceLostError(message), false);
      }
    });
    return device;
  }

  async #openModel(options: OpenModelOptions, { id, signal }: Call, keepsData = false): Promise<OpenModel> {
    this.#closeModel(keepsData);
    const device = await this.#ensureDevice();
    const model = await openModel(options, device, {
      storage: this.#storage!,
      assetsUrl: this.#assetsUrl,
      hubEndpoint: (this.#options.hubEndpoint ?? HUB).replace(/\/+$/, ""),
      memoryBudget: this.#gpu!.memoryBudget,
      progress: (progress) => this.#progress(id, progress),
      signal,
    });
    this.#model = model;
    return model;
  }

  #closeModel(keepsData = false): void {
    const model = this.#model;
    this.#model = null;
    if (!keepsData) this.#data = null;
    try {
      model?.seat.clear();
      model?.base.dispose();
      this.#device?.trim();
    } catch {
      // its device is lost, and with it the memory
    }
  }

  /** Tells the page that the device is gone; where nothing goes on by itself, the model has to be opened again. */
  #loseDevice(error: Error, recovering: boolean): void {
    if (!recovering) {
      this.#model = null;
      this.#data = null;
    }
    this.#send({ event: "deviceLost", recovering, error: studioError(error) });
  }

  async #train(
    runId: string,
    settings: TrainingSettings,
    resumes: boolean,
    call: Call,
  ): Promise<TrainingResult> {
    let isLost = false;
    const training = new Training({
      ...{ runId, settings, resumes, runs: this.#runs, shelf: this.#shelf! },
      emit: (train) => this.#send({ event: "train", id: call.id, train }),
      onDeviceLost: (error) => {
        isLost = true;
        this.#loseDevice(error, true);
      },
      ready: async () => {
        if (isLost) {
          const { source, storage } = this.#model!;
          const { options } = this.#data!;
          const model = await this.#openModel({ source, storage }, call);
          this.#data = await openData(options, model, this.#assetsUrl);
          isLost = false;
        }
        return { model: this.#needModel(), data: this.#needData() };
      },
    });
    this.#training = training;
    const outer = this.#queue;
    this.#queue = Promise.resolve(); // what a pause leaves room for
    const stop = () => void training.stop(true);
    call.signal.addEventListener("abort", stop, { once: true });
    try {
      return await training.run();
    } finally {
      this.#training = null;
      this.#queue = Promise.all([outer, this.#queue]);
      call.signal.removeEventListener("abort", stop);
      this.#device?.trim();
    }
  }

  async #chat(options: ChatOptions, { id, signal }: Call): Promise<ChatResult> {
    const model = this.#needModel();
    const onPiece = (text: string, tokens: number) => this.#send({ event: "piece", id, text, tokens });
    const peft = this.#training?.peft;
    const paused = peft ? { peft, form: this.#needData().form } : null;
    return await new Speakers(model, this.#shelf!).chat(options, paused, onPiece, signal);
  }

  async #mix(options: MixOptions): Promise<AdapterInfo> {
    const model = this.#needModel();
    const adapterId = await new Speakers(model, this.#shelf!).mix(options);
    return await this.#shelf!.info(adapterId, model);
  }

  #needModel(): OpenModel {
    if (this.#model) return this.#model;
    throw new Refusal("not-open", "No model is open.", "Choose a model first.");
  }

  #needData(): OpenData {
    if (this.#data) return this.#data;
    throw new Refusal("not-open", "No data are open.", "Choose data first.");
  }

  #needTraining(): Training {
    if (this.#training) return this.#training;
    throw new Refusal("not-open", "No training is running.", "Start one first.");
  }

  #inUse(): Set<string> {
    const { found } = this.#model ?? {};
    return new Set([...found?.entryId ? [found.entryId] : []]);
  }
}
