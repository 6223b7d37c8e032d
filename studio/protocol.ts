/**
 * The messages between the studio's page and its engine, a Web Worker. All of it is plain data (structured clone).
 *
 * The page posts a {@linkcode Request} and gets one {@linkcode Reply} with the same id; {@linkcode EngineEvent}s come
 * in between, those of a request with its id. `{ cancel: id }` ends a request that runs, whose reply is then an error
 * of kind "cancelled"; a cancelled `chat` replies with what it has, a cancelled `train` stops and keeps the adapter, a
 * cancelled `join` leaves.
 * Requests that need the device wait for each other in the order in which they came, with one exception: while a training
 * runs and is not paused, `chat`, `plan` and whatever else needs the device fails with kind "busy".
 * All sizes are bytes, all times milliseconds, all ids made by the engine.
 *
 * @module
 */

import type {
  AdapterInfo,
  ChatOptions,
  ChatResult,
  ExportedFile,
  ExportOptions,
  MixOptions,
} from "./protocol/adapters.ts";
import type { NamedFile, Progress, StudioError } from "./protocol/basics.ts";
import type { Environment, StartOptions, StorageReport } from "./protocol/browser.ts";
import type { DataFacts, MaskedExample, OpenDataOptions } from "./protocol/data.ts";
import type {
  ChooseBaseOptions,
  ChosenBase,
  JoinEvent,
  JoinOptions,
  JoinResult,
} from "./protocol/joining.ts";
import type { ModelFacts, OpenModelOptions } from "./protocol/model.ts";
import type { MemoryPlan, MethodInfo, TrainingSettings } from "./protocol/settings.ts";
import type { ResumableRun, TrainEvent, TrainingResult } from "./protocol/training.ts";

export * from "./protocol/basics.ts";
export * from "./protocol/browser.ts";
export * from "./protocol/model.ts";
export * from "./protocol/data.ts";
export * from "./protocol/settings.ts";
export * from "./protocol/training.ts";
export * from "./protocol/adapters.ts";
export * from "./protocol/joining.ts";

/** Every call: what it takes and what it gives. */
export interface Calls {
  /**
   * The first call: looks at the browser. It never fails for want of WebGPU: the answer says so. Called again, it looks
   * again where there was a problem, and else takes another `memoryBudget`.
   */
  start: { params: StartOptions; result: Environment };
  /** Opens a model in place of the open one. Events: `progress`. */
  openModel: { params: OpenModelOptions; result: ModelFacts };
  /** Frees the open model; its adapters stay on the shelf. */
  closeModel: { params: Record<string, never>; result: null };
  /** Opens data for the open model's tokenizer, in place of the open data. Events: `progress`. */
  openData: { params: OpenDataOptions; result: DataFacts };
  /** One row as the model sees it. */
  dataExample: { params: { index: number }; result: MaskedExample };
  /** Every method, with parameters and memory for the open model. */
  methods: { params: Record<string, never>; result: readonly MethodInfo[] };
  /** Settings that suit the open model and data; what a first visitor trains with. */
  suggest: { params: { method?: string }; result: TrainingSettings };
  /** What a training with these settings takes of the device's memory. */
  plan: { params: { settings: TrainingSettings }; result: MemoryPlan };
  /** Trains to the end; events `train`. The reply comes at its end, whether it is done or stopped. */
  train: { params: { settings: TrainingSettings }; result: TrainingResult };
  /** Goes on from a run's newest checkpoint: opens its model and data again. Events `progress`, `opened` and `train`. */
  resumeRun: { params: { runId: string; files?: readonly NamedFile[] }; result: TrainingResult };
  /** Writes a checkpoint after the step that runs, and waits; the device is free for `chat` then. */
  pause: { params: Record<string, never>; result: { step: number } };
  /** Goes on after `pause`. */
  continue: { params: Record<string, never>; result: { step: number } };
  /** Ends the training after the step that runs; with `keep`, the adapter so far goes on the shelf. */
  stop: { params: { keep: boolean }; result: { step: number } };
  /** Runs that ended before they were done, newest first. */
  resumable: { params: Record<string, never>; result: readonly ResumableRun[] };
  /** Deletes a run's checkpoints. */
  discardRun: { params: { runId: string }; result: null };
  /** Answers, or continues a text. Events: `piece`. */
  chat: { params: ChatOptions; result: ChatResult };
  /** The shelf. */
  adapters: { params: Record<string, never>; result: readonly AdapterInfo[] };
  /** Loads an adapter (a PEFT folder, a .zip of one, or a GGUF adapter) on to the shelf. */
  loadAdapter: { params: { files: readonly NamedFile[]; name?: string }; result: AdapterInfo };
  /** Which adapter `chat` uses where it names none; null: the base. */
  activate: { params: { adapterId: string | null }; result: readonly AdapterInfo[] };
  /** Makes one adapter of several, by weights. */
  mix: { params: MixOptions; result: AdapterInfo };
  rename: { params: { adapterId: string; name: string }; result: AdapterInfo };
  /** Deletes an adapter from the shelf and from storage. */
  deleteAdapter: { params: { adapterId: string }; result: readonly AdapterInfo[] };
  /** Makes files to take home. Events: `progress`. */
  export: { params: ExportOptions; result: ExportedFile };
  /** What lies in the browser's storage: models from the hub, runs, adapters. */
  storage: { params: Record<string, never>; result: StorageReport };
  /** Deletes an entry of `storage`. */
  deleteStored: { params: { entryId: string }; result: StorageReport };
  /** Finds a base model's files, and their hash: jobs of `join` may use it from then on. Events: `progress`. */
  chooseBase: { params: ChooseBaseOptions; result: ChosenBase };
  /** Works for trainings and sweeps of a broker until it is cancelled, and replies then. Events: `join`. */
  join: { params: JoinOptions; result: JoinResult };
}

/** A call's name. */
export type CallName = keyof Calls;

/** Page to engine. */
export type Request<Name extends CallName = CallName> = {
  [N in Name]: { readonly id: number; readonly call: N; readonly params: Calls[N]["params"] };
}[Name];

/** Page to engine: ends the request of that id, if it still runs. */
export interface Cancel {
  readonly cancel: number;
}

/** Engine to page: the end of a request. */
export type Reply<Name extends CallName = CallName> =
  | { readonly id: number; readonly ok: true; readonly result: Calls[Name]["result"] }
  | { readonly id: number; readonly ok: false; readonly error: StudioError };

/** Engine to page: something happened. `id` is the request it belongs to. */
export type EngineEvent =
  | { readonly event: "progress"; readonly id: number; readonly progress: Progress }
  | { readonly event: "train"; readonly id: number; readonly train: TrainEvent }
  | { readonly event: "join"; readonly id: number; readonly join: JoinEvent }
  | { readonly event: "piece"; readonly id: number; readonly text: string; readonly tokens: number }
  /** What `resumeRun` opened, before it trains. */
  | { readonly event: "opened"; readonly id: number; readonly model: ModelFacts; readonly data: DataFacts }
  /** The device was lost; `recovering` where the engine goes on by itself (a training does, from its checkpoint). */
  | { readonly event: "deviceLost"; readonly recovering: boolean; readonly error: StudioError };

/** Anything from page to engine. */
export type ToEngine = Request | Cancel;
/** Anything from engine to page. */
export type FromEngine = Reply | EngineEvent;
