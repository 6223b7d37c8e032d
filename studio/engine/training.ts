/**
 * One training: from settings to an adapter on the shelf, with pause, stop, and recovery from a lost device.
 * @module
 */

import {
  AdaLoraConfig,
  type CausalLM,
  getPeftModel,
  type PeftModel,
  type Tokenizer,
  Trainer,
  type TrainerCallback,
} from "@peft/webgpu";
import { resilientTrain, SampleCallback, writeTrainingCard } from "@peft/webgpu/train";
import type { FolderStore } from "@peft/webgpu/io";
import type { TrainEvent, TrainingResult, TrainingSettings } from "../protocol.ts";
import { CANCELLED, Refusal, studioError } from "./errors.ts";
import { virtualTokensOf } from "./methods.ts";
import { examplesOf, type OpenData } from "./open_data.ts";
import type { OpenModel } from "./open_model.ts";
import { adapterConfig, argumentsOf, checkSettings } from "./planning.ts";
import { publicSource, type RunStore, tolerant } from "./run_store.ts";
import type { NewAdapter, Shelf } from "./shelf.ts";
import { bytesOf } from "./storage.ts";
import { TrainFollower } from "./train_follower.ts";

/** Tokens of a sample. */
const SAMPLE_TOKENS = 48;

/** What a training is made with. */
export interface TrainingParts {
  readonly runId: string;
  readonly settings: TrainingSettings;
  readonly runs: RunStore;
  readonly shelf: Shelf;
  /** Whether it goes on from the run's newest checkpoint. */
  readonly resumes: boolean;
  /** Model and data, on a new device where the last one was lost. */
  readonly ready: () => Promise<{ model: OpenModel; data: OpenData }>;
  readonly emit: (event: TrainEvent) => void;
  /** Tells of a lost device. */
  readonly onDeviceLost: (error: Error) => void;
}

/** How prompts of samples are encoded: as questions, where the model was taught turns. */
function samplePrompts({ tokenizer }: OpenModel, { form }: OpenData) {
  const asks = form === "chat";
  return {
    encode: (text: string) =>
      asks
        ? tokenizer.applyChatTemplate([{ role: "user", content: text }], { addGenerationPrompt: true })
        : tokenizer.encode(text),
    decode: (ids: readonly number[]) => tokenizer.decode([...ids], { skipSpecialTokens: true }),
  };
}

/** A training that runs, is paused, or has ended. */
export class Training {
  readonly #parts: TrainingParts;
  readonly #abort = new AbortController();
  #keeps = true;
  #pause: {
    readonly asked: PromiseWithResolvers<{ step: number }>;
    readonly over: PromiseWithResolvers<void>;
  } | null = null;
  #isPaused = false;
  #step = 0;
  #peft: PeftModel<CausalLM> | null = null;
  #follower: TrainFollower | null = null;
  #ready: { model: OpenModel; data: OpenData } | null = null;

  /** Does not begin yet. @throws {Refusal} for settings that no training has */
  constructor(parts: TrainingParts) {
    checkSettings(parts.settings);
    this.#parts = parts;
  }

  /** The run's id. */
  get runId(): string {
    return this.#parts.runId;
  }

  /** Whether the device is free because of a pause. */
  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** The model with the adapter in training; null before the first step. */
  get peft(): PeftModel<CausalLM> | null {
    return this.#peft;
  }

  /** Pauses after the step that runs, once its checkpoint is written. */
  pause(): Promise<{ step: number }> {
    this.#pause ??= { asked: Promise.withResolvers(), over: Promise.withResolvers() };
    return this.#pause.asked.promise;
  }

  /** Goes on. */
  continue(): { step: number } {
    this.#pause?.asked.resolve({ step: this.#step });
    this.#pause?.over.resolve();
    this.#pause = null;
    return { step: this.#step };
  }

  /** Ends after the step that runs. */
  stop(keep: boolean): { step: number } {
    this.#keeps = keep;
    this.#abort.abort();
    this.continue();
    return { step: this.#step };
  }

  /** Runs to the end. */
  async run(): Promise<TrainingResult> {
    const { runId, runs, shelf, resumes, onDeviceLost, emit } = this.#parts;
    const begin = performance.now();
    emit({ type: "phase", phase: "preparing", text: "Preparing the data" });
    try {
      const output = await resilientTrain({
        makeTrainer: () => this.#makeTrainer(),
        resumeFromCheckpoint: resumes,
        signal: this.#abort.signal,
        onRestart: ({ error, checkpoint }) => {
          this.#peft = null; // went with its device
          onDeviceLost(error);
          const from = checkpoint
            ? `from ${checkpoint.replace("checkpoint-", "step ")}`
            : "from the beginning";
          emit({ type: "phase", phase: "recovering", text: `The device was lost: going on ${from}` });
        },
      });
      const loss = this.#follower?.loss ?? output.trainingLoss;
      const evalLoss = this.#follower?.evalLoss ?? null;
      const isKept = !output.aborted || this.#keeps;
      const step = output.globalStep;
      const adapterId = isKept && step > 0 ? await this.#shelve(step, loss, evalLoss) : null;
      this.#unload();
      if (!output.aborted || !this.#keeps) await runs.remove(runId);
      return {
        ...{ runId, step, loss, evalLoss, end: output.aborted ? "stopped" : "done" },
        takenMs: performance.now() - begin,
        adapter: adapterId === null ? null : await shelf.info(adapterId, this.#ready!.model),
      };
    } catch (error) {
      this.#unload();
      if (this.#abort.signal.aborted && error === this.#abort.signal.reason) throw CANCELLED;
      throw error;
    } finally {
      this.#pause?.asked.resolve({ step: this.#step });
    }
  }

  /** Takes the adapter off the model: the base is as it was. */
  #unload(): void {
    try {
      this.#peft?.unload();
    } catch {
      // its device is lost
    }
    this.#peft = null;
  }

  async #makeTrainer(): Promise<Trainer> {
    const { settings, runs, runId, emit } = this.#parts;
    const ready = this.#ready = await this.#parts.ready();
    const { model, data } = ready;
    model.seat.clear();
    const config = adapterConfig(settings, model);
    const { length, heldOutExamples } = data.facts;
    const { learnPrompts = false } = data.options;
    const rows = { length, learnPrompts, virtualTokens: virtualTokensOf(config) };
    const trainDataset = examplesOf(data.train, model, { ...rows, packing: settings.packing });
    await trainDataset.prepare();
    const evalDataset = data.heldOut && heldOutExamples > 0
      ? examplesOf(data.heldOut, model, rows)
      : undefined;
    await evalDataset?.prepare();
    const peft = getPeftModel(model.base, config);
    this.#peft = peft;
    const [trainableParameters, parameters] = peft.getNbTrainableParameters();
    let failed: unknown = null;
    const follower = new TrainFollower({
      ...{ runId, settings, emit, parameters, trainableParameters },
      device: model.base.device,
      tokenizer: model.tokenizer,
      example: (await (evalDataset ?? trainDataset).at(0))!,
      wantsPause: () => this.#pause !== null,
      waitWhilePaused: (step) => this.#waitWhilePaused(step),
      onCheckpoint: async (step, loss, takenMs) => {
        if (failed === null) await this.#noteCheckpoint(step, loss, takenMs);
        else emit({ type: "checkpointFailed", step, error: studioError(failed) });
        failed = null;
      },
    });
    this.#follower = follower;
    return new Trainer({
      model: peft,
      args: this.#args(evalDataset !== undefined, tolerant(runs.folder(runId), (error) => failed = error)),
      trainDataset,
      evalDataset,
      tokenizer: model.tokenizer as Tokenizer,
      callbacks: this.#callbacks(follower, ready, config instanceof AdaLoraConfig ? peft : null),
    });
  }

  #callbacks(
    follower: TrainFollower,
    { model, data }: { model: OpenModel; data: OpenData },
    adalora: PeftModel<CausalLM> | null,
  ): TrainerCallback[] {
    const { sampleEvery, samplePrompts: prompts } = this.#parts.settings;
    const counter: TrainerCallback = {
      onStepEnd: (_args, { globalStep }) => void (this.#step = globalStep),
      ...adalora && {
        onOptimizerStep: (_args, { globalStep }) => adalora.updateAndAllocate(globalStep + 1),
      },
    };
    const wanted = prompts.filter((prompt) => prompt.trim() !== "");
    if (sampleEvery <= 0 || wanted.length === 0) return [counter, follower];
    const { eosTokenIds } = model.base.facts;
    const samples = new SampleCallback({
      prompts: wanted,
      tokenizer: samplePrompts(model, data),
      everySteps: sampleEvery,
      atStart: true,
      generation: {
        maxNewTokens: SAMPLE_TOKENS,
        doSample: false,
        ...eosTokenIds.length > 0 && { eosTokenId: eosTokenIds },
      },
    });
    return [counter, follower, samples];
  }

  #args(isEvaluated: boolean, outputDir: FolderStore): ConstructorParameters<typeof Trainer>[0]["args"] {
    const { settings } = this.#parts;
    const { evalEvery, checkpointEvery } = settings;
    return {
      outputDir,
      ...argumentsOf(settings),
      perDeviceEvalBatchSize: settings.batchSize,
      loggingSteps: 1,
      reportTo: "none",
      ...isEvaluated && evalEvery > 0
        ? { evalStrategy: "steps" as const, evalSteps: evalEvery, evalOnStart: true }
        : {},
      ...checkpointEvery > 0
        ? { saveStrategy: "steps" as const, saveSteps: checkpointEvery, saveTotalLimit: 2 }
        : { saveStrategy: "no" as const, saveTotalLimit: 2 },
    };
  }

  async #noteCheckpoint(step: number, loss: number | null, takenMs: number): Promise<void> {
    const { runs, runId, emit } = this.#parts;
    const bytes = await bytesOf(runs.folder(runId).folder(`checkpoint-${step}`));
    await runs.note(runId, { step, loss, savedAt: Date.now() }).catch(() => {}); // the checkpoint itself is there
    emit({ type: "checkpoint", step, bytes, takenMs });
  }

  async #waitWhilePaused(step: number): Promise<void> {
    const pause = this.#pause;
    if (!pause) return;
    this.#isPaused = true;
    pause.asked.resolve({ step });
    await pause.over.promise;
    this.#isPaused = false;
  }

  async #shelve(step: number, loss: number, evalLoss: number | null): Promise<string> {
    const { settings, shelf } = this.#parts;
    const { model, data } = this.#ready!;
    const { facts, options } = data;
    const held = evalLoss === null ? "" : `, held out ${evalLoss.toFixed(2)}`;
    const about: NewAdapter = {
      name: settings.name.trim(),
      origin: "trained",
      note: `${step} steps on ${facts.name}, loss ${loss.toFixed(2)}${held}`,
      form: data.form,
      trained: {
        ...{ settings, steps: step, loss, evalLoss },
        source: publicSource(model.source),
        storage: model.storage,
        dataName: facts.name,
        dataFiles: facts.files.map(({ name }) => name),
        length: facts.length,
        learnPrompts: options.learnPrompts ?? false,
        heldOut: facts.heldOutExamples / Math.max(1, facts.heldOutExamples + facts.trainExamples),
      },
    };
    const peft = this.#peft;
    if (!peft) throw new Refusal("internal", "The adapter is gone.", "Train it again.");
    return await shelf.add(about, model, async (folder) => {
      await peft.savePretrained(folder);
      await writeTrainingCard(folder, {
        data: `${facts.name} (${facts.rows} rows)`,
        rows: [
          ["base model", model.facts.name],
          ["method", settings.method],
          [
            "steps",
            `${step} of ${
              settings.batchSize * settings.gradientAccumulation
            } rows of up to ${facts.length} tokens`,
          ],
          [
            "learning rate",
            `${settings.learningRate}, ${settings.schedule}, warmup ${settings.warmupSteps} steps`,
          ],
          ["loss", loss.toFixed(4)],
          ...evalLoss === null ? [] : [["held-out loss", evalLoss.toFixed(4)] as const],
          ["seed", settings.seed],
          ["device", model.base.device.adapterName],
        ],
      });
    });
  }
}
