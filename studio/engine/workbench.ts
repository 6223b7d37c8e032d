/**
 * What lies open: the device, a model on it, and data for the model.
 * @module
 */

import { type Device, DeviceLostError } from "@peft/webgpu";
import type {
  EngineEvent,
  GpuFacts,
  OpenDataOptions,
  OpenModelOptions,
  Progress,
  StartOptions,
} from "../protocol.ts";
import { openDevice } from "./browser.ts";
import { CANCELLED, Refusal, studioError } from "./errors.ts";
import type { OpenContext } from "./open_context.ts";
import { type OpenData, openData } from "./open_data.ts";
import { findFiles, loadModel, type OpenModel } from "./open_model.ts";
import type { EngineStorage } from "./storage.ts";

const HUB = "https://huggingface.co";

/** A call, as far as opening needs it. */
export interface Call {
  readonly id: number;
  readonly signal: AbortSignal;
}

/** What the bench tells and asks. */
export interface WorkbenchHost {
  readonly send: (event: EngineEvent) => void;
  readonly progress: (id: number, progress: Progress) => void;
  /** Whether a call uses the device now, and finds out by itself that it is lost. */
  readonly isBusy: () => boolean;
}

/** The bench. */
export class Workbench {
  readonly #host: WorkbenchHost;
  readonly #options: StartOptions;
  readonly #storage: EngineStorage;
  #budget: number | null;
  #device: Device | null = null;
  #gpu: GpuFacts | null = null;
  #model: OpenModel | null = null;
  #data: OpenData | null = null;

  /** Nothing is open yet. */
  constructor(options: StartOptions, storage: EngineStorage, host: WorkbenchHost) {
    this.#options = { ...options, assetsUrl: options.assetsUrl.replace(/\/?$/, "/") };
    this.#budget = options.memoryBudget ?? null;
    this.#storage = storage;
    this.#host = host;
  }

  /** What is known of the device; null before there is one. */
  get gpu(): GpuFacts | null {
    return this.#gpu;
  }

  /** The open model; null where none is. */
  get openedModel(): OpenModel | null {
    return this.#model;
  }

  /** The open data; null where none are. */
  get openedData(): OpenData | null {
    return this.#data;
  }

  /** The open model. @throws {Refusal} where none is */
  get model(): OpenModel {
    if (this.#model) return this.#model;
    throw new Refusal("not-open", "No model is open.", "Choose a model first.");
  }

  /** The open data. @throws {Refusal} where none are */
  get data(): OpenData {
    if (this.#data) return this.#data;
    throw new Refusal("not-open", "No data are open.", "Choose data first.");
  }

  /** Device memory that may be used. */
  get budget(): number {
    return this.#gpu!.memoryBudget;
  }

  /** Changes how much device memory may be used. */
  setBudget(bytes: number): void {
    this.#budget = bytes;
    if (!this.#device || !this.#gpu) return;
    this.#device.memoryLimitBytes = bytes;
    this.#gpu = { ...this.#gpu, memoryBudget: bytes, isBudgetGuessed: false };
  }

  /** The device; a new one where the last one is lost. @throws {Refusal} where there is no WebGPU */
  async device(): Promise<Device> {
    if (this.#device && !this.#device.isLost) return this.#device;
    const { device, facts } = await openDevice(this.#budget);
    this.#device = device;
    this.#gpu = facts;
    void device.gpuDevice.lost.then(({ message }) => {
      // a call that uses it finds out by itself; while none does, nobody would
      if (this.#device !== device || this.#host.isBusy()) return;
      this.lose(new DeviceLostError(message), false);
    });
    return device;
  }

  /** What a call may use to find and open a model. The device must be there. */
  context({ id, signal }: Call): OpenContext {
    return {
      storage: this.#storage,
      assetsUrl: this.#options.assetsUrl,
      hubEndpoint: this.#options.hubEndpoint ?? HUB,
      memoryBudget: this.budget,
      progress: (progress) => this.#host.progress(id, progress),
      signal,
    };
  }

  /**
   * Opens a model in place of the open one, which stays where the new one's files are not found or not whole.
   * @param keepsData for the same model, opened again
   */
  async openModel(options: OpenModelOptions, call: Call, keepsData = false): Promise<OpenModel> {
    await this.device();
    const context = this.context(call);
    const files = await findFiles(options.source, context);
    const before = this.#model;
    this.closeModel(keepsData);
    const model = await loadModel(options, files, await this.device(), context);
    // how the open data are spoken of: their template came with them
    if (keepsData && before && !before.facts.hasChatTemplate) {
      model.tokenizer.chatTemplate = before.tokenizer.chatTemplate;
    }
    this.#model = model;
    return model;
  }

  /** Opens data for the open model, in place of the open data. */
  async openData(options: OpenDataOptions, { id, signal }: Call): Promise<OpenData> {
    const tell = (done: number, total: number | null) => {
      if (signal.aborted) throw CANCELLED;
      const what = { phase: "tokenize", text: "Reading the rows", file: null, unit: "rows" } as const;
      this.#host.progress(id, { ...what, done, total });
    };
    tell(0, null);
    const { tokenizer } = this.model;
    const template = tokenizer.chatTemplate;
    try {
      return this.#data = await openData(options, this.model, this.#options.assetsUrl, tell);
    } catch (error) {
      tokenizer.chatTemplate = template; // as the data that stay open have it
      throw error;
    }
  }

  /** Frees the open model. */
  closeModel(keepsData = false): void {
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

  /** Opens model and data again, on a new device where the last one is lost. */
  async reopen(call: Call): Promise<void> {
    const { source, storage } = this.model;
    const { options } = this.data;
    await this.openModel({ source, storage }, call);
    await this.openData(options, call);
  }

  /** Gives idle memory back. */
  trim(): void {
    this.#device?.trim();
  }

  /** Tells the page that the device is gone; where nothing goes on by itself, the model has to be opened again. */
  lose(error: Error, recovering: boolean): void {
    if (!recovering) {
      this.#model = null;
      this.#data = null;
    }
    this.#host.send({ event: "deviceLost", recovering, error: studioError(error) });
  }
}
