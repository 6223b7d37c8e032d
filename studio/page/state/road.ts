/**
 * The road: its steps, where the reader is, and what each step has to show.
 * @module
 */
import { computed, effect, signal } from "@preact/signals";
import { showPlural } from "../format.ts";
import { announce } from "./announcement.ts";
import { comparison } from "./conversation.ts";
import { data, dataSource, openData, openingData } from "./data.ts";
import { savedFiles } from "./exports.ts";
import { forgetSettings, listMethods, method, settings, suggest, suggesting } from "./method.ts";
import { model, opening, openModel } from "./model.ts";
import { adapters, refreshShelf } from "./shelf.ts";
import { begun, latest, result, status } from "./training.ts";
import type { DataSource, ModelSource } from "../../protocol.ts";

/** The steps, in order; a step's id is also the address's part after `#`. */
export const STEPS = [
  { id: "model", title: "Model" },
  { id: "data", title: "Data" },
  { id: "method", title: "Method" },
  { id: "train", title: "Train" },
  { id: "compare", title: "Compare" },
  { id: "adapters", title: "Adapters" },
  { id: "home", title: "Take home" },
] as const;

/** A step's id. */
export type StepId = typeof STEPS[number]["id"];

const fromAddress = (): StepId => STEPS.find(({ id }) => `#${id}` === location.hash)?.id ?? "model";

/** Where the reader is. */
export const step = signal<StepId>(fromAddress());

addEventListener("hashchange", () => {
  step.value = fromAddress();
});

effect(() => {
  document.title = `${titleOf(step.value)} · Studio: teach a model in this tab`;
});

/** Goes to a step. */
export function go(id: StepId): void {
  if (step.value === id) return;
  step.value = id;
  history.pushState(null, "", `#${id}`);
  announce(`Step ${STEPS.findIndex((one) => one.id === id) + 1} of ${STEPS.length}: ${titleOf(id)}`);
}

/** A step's name. */
export function titleOf(id: StepId): string {
  return STEPS.find((one) => one.id === id)!.title;
}

/** What a step has to show: whether it is done, and one line. */
export interface StepState {
  readonly isDone: boolean;
  readonly isRunning: boolean;
  readonly line: string;
}

function trainLine(): string {
  const steps = begun.value?.steps ?? settings.value?.steps;
  switch (status.value) {
    case "running":
      return `step ${latest.value?.step ?? 0} of ${steps}`;
    case "paused":
      return `paused at ${latest.value?.step ?? 0} of ${steps}`;
    case "ended":
      return `${result.value?.step} steps done`;
    case "failed":
      return "ended early";
    case "idle":
      return "";
  }
}

/** What each step has to show. */
export const stepStates = computed((): Readonly<Record<StepId, StepState>> => {
  const state = (isDone: boolean, line = "", isRunning = false): StepState => ({ isDone, line, isRunning });
  const trained = status.value === "ended";
  return {
    model: state(model.value !== null, model.value?.name),
    data: state(data.value !== null, data.value ? showPlural(data.value.trainExamples, "example") : ""),
    method: state(settings.value !== null, method.value?.title ?? (settings.value ? "chosen for you" : "")),
    train: state(trained, trainLine(), status.value === "running"),
    compare: state(!comparison.isEmpty.value, comparison.isEmpty.value ? "" : "asked"),
    adapters: state(
      adapters.value.length > 0,
      adapters.value.length > 0 ? `${adapters.value.length} on the shelf` : "",
    ),
    home: state(savedFiles.value > 0, savedFiles.value > 0 ? showPlural(savedFiles.value, "file") : ""),
  };
});

/** Opens a model, and the data again that were open, which the new model reads in its own way. */
export async function chooseModel(source: ModelSource, name: string): Promise<boolean> {
  const kept = dataSource.value;
  const isOpen = await openModel(source, name);
  if (!isOpen && model.value) return false; // the one before, with its data
  comparison.clear();
  data.value = null;
  forgetSettings({ methods: true });
  if (!isOpen) return false;
  await refreshShelf();
  if (kept) await chooseData(kept);
  return true;
}

/** Opens data, and takes the settings that suit them. */
export async function chooseData(source: DataSource): Promise<boolean> {
  if (!await openData(source)) return false;
  const chosen = settings.value?.method;
  forgetSettings({ methods: false });
  if (!await suggest(chosen)) return false;
  await listMethods();
  return true;
}

/** Whether a model or data are being opened: nothing else can be opened or trained until then. */
export const isPreparing = computed(() =>
  [opening, openingData, suggesting].some(({ waitsFor }) => waitsFor.value !== null)
);

/** Whether the shortest road is being prepared. */
export const isTrying = signal(false);

/** The shortest road: the built-in model and its sample data, ready to train. */
export async function tryBuiltin(): Promise<void> {
  dataSource.value = null;
  isTrying.value = true;
  const isReady = await chooseModel({ kind: "builtin" }, "the built-in model") &&
    await chooseData({ kind: "sample" });
  isTrying.value = false;
  if (isReady) go("train");
}
