/**
 * The training: what it does now, and the curves so far.
 * @module
 */
import { computed, signal } from "@preact/signals";
import type {
  AdapterInfo,
  EngineEvent,
  NamedFile,
  ResumableRun,
  StudioError,
  TrainEvent,
  TrainingResult,
  TrainingSettings,
} from "../../protocol.ts";
import { call } from "../engine.ts";
import { announce } from "./announcement.ts";
import { showData } from "./data.ts";
import { settings } from "./method.ts";
import { model } from "./model.ts";
import { refreshShelf } from "./shelf.ts";
import { Task } from "./task.ts";

type Of<Type extends TrainEvent["type"]> = Extract<TrainEvent, { type: Type }>;

/** The training's life. */
export const status = signal<"idle" | "running" | "paused" | "ended" | "failed">("idle");
/** What it does now, in words. */
export const phase = signal<Of<"phase">["phase"] | null>(null);
export const phaseText = signal("");
/** What it was told at its beginning. */
export const begun = signal<Of<"begin"> | null>(null);
/** The newest step. */
export const latest = signal<Of<"step"> | null>(null);
/** Steps and evaluations so far; {@linkcode version} changes when they grow. */
export const steps: Of<"step">[] = [];
export const evaluations: Of<"evaluation">[] = [];
export const version = signal(0);
/** Samples so far; {@linkcode sampleVersion} changes when they grow. */
export const samples: Of<"sample">[] = [];
export const sampleVersion = signal(0);
/** The newest checkpoint, or why it could not be written. */
export const checkpoint = signal<Of<"checkpoint"> | null>(null);
export const checkpointError = signal<StudioError | null>(null);
/** How it ended. */
export const result = signal<TrainingResult | null>(null);
/** Running it. */
export const training = new Task();
/** Pausing, going on, stopping. */
export const steering = new Task();
/** Whether a training holds the device. */
export const isBusy = computed(() => status.value === "running");
/** Whether there is one that has not ended. */
export const isAlive = computed(() => isBusy.value || status.value === "paused");
/** Runs of earlier visits that can go on. */
export const resumable = signal<readonly ResumableRun[]>([]);

/** Phases that a screen reader is told of: samples and evaluations come too often. */
const ANNOUNCED: ReadonlySet<Of<"phase">["phase"]> = new Set(["compiling", "paused", "recovering"]);

/**
 * Shows what came, once per frame at most: a fast training has hundreds of steps a second.
 * @param frames after so many, so that what comes together is not drawn in one long task
 */
function drawSoon(show: () => void, frames: number): () => void {
  let waits = false;
  return () => {
    if (waits) return;
    waits = true;
    let left = frames;
    const next = () => {
      if (--left > 0) return void requestAnimationFrame(next);
      waits = false;
      show();
    };
    requestAnimationFrame(next);
  };
}

const drawSteps = drawSoon(() => {
  latest.value = steps.at(-1) ?? null;
  version.value++;
}, 1);
const drawSamples = drawSoon(() => sampleVersion.value++, 2);

function clear(): void {
  steps.length = evaluations.length = samples.length = 0;
  begun.value =
    latest.value =
    checkpoint.value =
    checkpointError.value =
    result.value =
      null;
  phase.value = null;
  phaseText.value = "";
  version.value++;
  sampleVersion.value++;
}

/** Drops what a training that goes on from a checkpoint does again. */
function dropAfter(step: number): void {
  for (const list of [steps, evaluations, samples] as { step: number }[][]) {
    while (list.length > 0 && list.at(-1)!.step > step) list.pop();
  }
}

function take(event: TrainEvent): void {
  switch (event.type) {
    case "begin":
      dropAfter(event.step);
      if (steps.length === 0) event.history.forEach(take);
      begun.value = event;
      settings.value ??= event.settings; // a run of an earlier visit brings its own
      status.value = "running";
      drawSteps();
      drawSamples();
      break;
    case "phase":
      if (ANNOUNCED.has(event.phase) && event.phase !== phase.value) announce(event.text);
      phase.value = event.phase;
      phaseText.value = event.text;
      if (event.phase === "paused") status.value = "paused";
      else if (status.value === "paused") status.value = "running";
      break;
    case "step":
      steps.push(event);
      drawSteps();
      break;
    case "evaluation":
      evaluations.push(event);
      drawSteps();
      break;
    case "sample":
      samples.push(event);
      drawSamples();
      break;
    case "checkpoint":
      checkpoint.value = event;
      checkpointError.value = null;
      break;
    case "checkpointFailed":
      checkpointError.value = event.error;
      break;
  }
}

const onEvent = (event: EngineEvent) => {
  if (event.event === "train") take(event.train);
  if (event.event === "opened") {
    model.value = event.model;
    showData(event.data);
  }
};

async function end(found: TrainingResult | undefined): Promise<void> {
  if (!found) {
    status.value = training.error.value ? "failed" : "idle";
    return;
  }
  result.value = found;
  status.value = "ended";
  announce(found.end === "done" ? "The training is done." : "The training was stopped.");
  await refreshShelf();
}

/** Trains; gives back when it has ended. */
export async function startTraining(settings: TrainingSettings): Promise<void> {
  clear();
  status.value = "running";
  await end(await training.run("Preparing the training", "train", { settings }, onEvent));
}

/** The chosen adapter of a list, else the one that was just trained, else the newest. */
export function pick(list: readonly AdapterInfo[], chosen: string | null): AdapterInfo | undefined {
  const byId = (id?: string | null) => list.find(({ adapterId }) => adapterId === id);
  return byId(chosen) ?? byId(result.value?.adapter?.adapterId) ?? list[0];
}

/** Looks for runs that ended early. */
export async function findResumable(): Promise<void> {
  resumable.value = await call("resumable", {}).catch(() => []);
}

/** Goes on with a run of an earlier visit. @param files the model's, where the run needs them again */
export async function resumeRun(run: ResumableRun, files?: readonly NamedFile[]): Promise<void> {
  clear();
  status.value = "running";
  resumable.value = resumable.value.filter(({ runId }) => runId !== run.runId);
  await end(
    await training.run("Opening the run's model and data", "resumeRun", { runId: run.runId, files }, onEvent),
  );
}

/** Deletes a run of an earlier visit. */
export async function discardRun(runId: string): Promise<void> {
  await steering.run("Deleting the run", "discardRun", { runId });
  await findResumable();
}

/** Pauses after the step that runs. */
export async function pause(): Promise<void> {
  if (await steering.run("Pausing after this step", "pause", {})) status.value = "paused";
}

/** Goes on after a pause. */
export async function goOn(): Promise<void> {
  if (await steering.run("Going on", "continue", {})) status.value = "running";
}

/** Ends it after the step that runs. @param keep whether the adapter so far goes on the shelf */
export async function stop(keep: boolean): Promise<void> {
  await steering.run("Stopping after this step", "stop", { keep });
}
