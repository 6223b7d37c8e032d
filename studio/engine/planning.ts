/**
 * Memory of a training before it starts, and settings that suit a model and its data.
 * @module
 */

import { type MemoryPlan as LibraryPlan, planAdapter, planMemory } from "@peft/webgpu";
import type { OptimizerName } from "@peft/webgpu/train";
import { learningRateOf } from "../../options/method_defaults.ts";
import type { MemoryPlan, MethodInfo, TrainingSettings } from "../protocol.ts";
import { Refusal, studioError } from "./errors.ts";
import { canExportAsGguf, canMix } from "./adapter_facts.ts";
import { checkMethod, configOf, METHODS, type StudioMethod, virtualTokensOf } from "./methods.ts";
import { optionsOf } from "./method_options.ts";
import type { OpenData } from "./open_data.ts";
import type { OpenModel } from "./open_model.ts";

/** The Trainer's names of optimizers. */
const OPTIMIZERS = {
  adamw: "adamw_torch",
  adamw_8bit: "adamw_8bit",
  lion: "lion_32bit",
  adafactor: "adafactor",
  sgd: "sgd",
} as const satisfies Record<TrainingSettings["optimizer"], OptimizerName>;

/** What a run's settings are to the Trainer, in the studio as in the script of the run. */
export function argumentsOf(settings: TrainingSettings) {
  return {
    maxSteps: settings.steps,
    perDeviceTrainBatchSize: settings.batchSize,
    gradientAccumulationSteps: settings.gradientAccumulation,
    learningRate: settings.learningRate,
    lrSchedulerType: settings.schedule,
    warmupSteps: settings.warmupSteps,
    optim: OPTIMIZERS[settings.optimizer],
    weightDecay: settings.weightDecay,
    maxGradNorm: settings.maxGradNorm,
    seed: settings.seed,
    gradientCheckpointing: settings.gradientCheckpointing,
    fp16: settings.halfActivations,
  };
}

/** What a rule of a setting says. */
type Check = readonly [
  name: keyof TrainingSettings,
  title: string,
  low: number,
  high: number,
  whole: boolean,
];

const CHECKS: readonly Check[] = [
  ["steps", "The number of steps", 1, 1e6, true],
  ["batchSize", "The batch size", 1, 4096, true],
  ["gradientAccumulation", "Batches per step", 1, 4096, true],
  ["learningRate", "The learning rate", 0, 10, false],
  ["warmupSteps", "Warmup", 0, 1e6, true],
  ["weightDecay", "Weight decay", 0, 10, false],
  ["maxGradNorm", "The gradient's largest norm", 0, 1e6, false],
  ["seed", "The seed", 0, Number.MAX_SAFE_INTEGER, true],
  ["evalEvery", "Steps between evaluations", 0, 1e6, true],
  ["sampleEvery", "Steps between samples", 0, 1e6, true],
  ["checkpointEvery", "Steps between checkpoints", 0, 1e6, true],
];

/** Fails for settings that no training has. @throws {Refusal} naming the first */
export function checkSettings(settings: TrainingSettings): void {
  for (const [name, title, low, high, whole] of CHECKS) {
    const value = settings[name] as number;
    if (typeof value === "number" && value >= low && value <= high && (!whole || Number.isInteger(value))) {
      continue;
    }
    throw new Refusal(
      "bad-settings",
      `${title} must be a${whole ? " whole" : ""} number from ${low} to ${high}.`,
      "Change it and try again.",
      `${name}: ${value}`,
    );
  }
  if (settings.name.trim() === "") {
    throw new Refusal("bad-settings", "The adapter has no name.", "Give it one: the shelf shows it.");
  }
  checkMethod(settings.method);
}

/** The configuration of the adapter that settings describe. */
export function adapterConfig(settings: TrainingSettings, { tokenizer }: OpenModel) {
  return configOf(settings.method, settings.options, {
    steps: settings.steps,
    encode: (text) => tokenizer.encode(text),
  });
}

/** The library's plan of a training. */
function planOf(settings: TrainingSettings, model: OpenModel, data: OpenData | null): LibraryPlan {
  const config = adapterConfig(settings, model);
  const { contextLength } = model.facts;
  const room = contextLength - virtualTokensOf(config);
  const isPacked = settings.packing || (data?.train.hasTexts ?? false);
  const longest = data === null || isPacked ? data?.facts.length ?? 512 : data.facts.tokens.longest;
  const length = Math.max(2, Math.min(room, longest));
  return planMemory(model.base, {
    batch: settings.batchSize,
    length,
    padded: !isPacked && settings.batchSize > 1,
    adapter: config,
    budget: Infinity,
    args: {
      gradientAccumulationSteps: settings.gradientAccumulation,
      gradientCheckpointing: settings.gradientCheckpointing,
      fp16: settings.halfActivations,
      optim: OPTIMIZERS[settings.optimizer],
    },
  });
}

/** Plans of smaller batches that are made at most: each runs the training without arithmetic. */
const MOST_PLANS = 4;

/** What settings that do not fit may become: the mildest change that does, if there is one. */
function adviceOf(
  settings: TrainingSettings,
  model: OpenModel,
  data: OpenData | null,
  budget: number,
  withCheckpointing: number,
): MemoryPlan["advice"] {
  const { batchSize, gradientAccumulation } = settings;
  const checkpointing = { gradientCheckpointing: true };
  if (withCheckpointing <= budget) {
    const text = "Gradient checkpointing: the same result, a third more time";
    return [{ text, settings: checkpointing, total: withCheckpointing }];
  }
  for (let half = 1; half <= MOST_PLANS; half++) {
    const batch = Math.floor(batchSize / 2 ** half);
    if (batch < 1) break;
    const perStep = Math.ceil(gradientAccumulation * batchSize / batch);
    const change = { batchSize: batch, gradientAccumulation: perStep, ...checkpointing };
    const { total } = planOf({ ...settings, ...change }, model, data);
    const text = `Batches of ${batch}, ${perStep} per step, with gradient checkpointing`;
    if (total <= budget) return [{ text, settings: change, total }];
  }
  return [];
}

/** What a training takes, and where it does not fit, what would. */
export function plan(
  settings: TrainingSettings,
  model: OpenModel,
  data: OpenData | null,
  budget: number,
): MemoryPlan {
  checkSettings(settings);
  const planned = planOf(settings, model, data);
  const { weights, adapter, optimizer, activations, head, total, trainableParameters } = planned;
  const gradients = Math.min(activations, 4 * trainableParameters);
  const advice = total <= budget
    ? []
    : adviceOf(settings, model, data, budget, planned.withCheckpointing.total);
  return {
    ...{ weights, adapter, gradients, optimizer, activations: activations - gradients, head, total },
    ...{ trainableParameters, budget, fits: total <= budget, advice },
  };
}

/** Fails for a training that does not fit. @throws {Refusal} with what would */
export function checkBudget(
  settings: TrainingSettings,
  model: OpenModel,
  data: OpenData,
  budget: number,
): void {
  const { fits, total, advice } = plan(settings, model, data, budget);
  if (fits) return;
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(2)} GB`;
  throw new Refusal(
    "out-of-memory",
    `This training takes ${gigabytes(total)}, and ${gigabytes(budget)} of device memory may be used.`,
    advice.length > 0
      ? `What fits: ${advice[0].text}.`
      : "Choose shorter rows, or a smaller model or one in fewer bits.",
  );
}

/** A gradient and AdamW's two moments of each parameter. */
const ADAMW_BYTES = 12;

/** Every method, with what it takes in a model. */
export function methodInfos(model: OpenModel): MethodInfo[] {
  return (Object.keys(METHODS) as StudioMethod[]).map((method): MethodInfo => {
    const spec = METHODS[method];
    const { title, purpose } = spec;
    const learningRate = learningRateOf(method);
    const options = optionsOf(method, spec);
    const info = { method, title, purpose, isRecommended: method === "lora", options, learningRate };
    const setting = { steps: 100, encode: () => [0] };
    try {
      const config = configOf(method, spec.defaults, setting);
      const { bytes, trainableParameters } = planAdapter(model.base, config);
      return {
        ...info,
        trainableParameters,
        deviceBytes: bytes + ADAMW_BYTES * trainableParameters,
        problem: null,
        canExportGguf: model.facts.ggufProblem === null && canExportAsGguf(config),
        canMix: canMix(config),
      };
    } catch (error) {
      return {
        ...info,
        ...{ trainableParameters: null, deviceBytes: null, canExportGguf: false, canMix: false },
        problem: studioError(error).detail,
      };
    }
  });
}

/** A round part of the steps, at least one. */
const every = (steps: number, parts: number) => Math.max(1, Math.round(steps / parts));

/** Settings that suit the open model and data. */
export function suggest(
  method: string,
  model: OpenModel,
  data: OpenData,
  budget: number,
  isSoftware: boolean,
): TrainingSettings {
  checkMethod(method);
  const spec = METHODS[method];
  const learningRate = learningRateOf(method);
  const rows = data.facts.trainExamples;
  const isBuiltIn = model.source.kind === "builtin";
  const batchSize = Math.min(rows, isSoftware ? 4 : 8);
  const epochs = rows <= 100 ? 8 : rows <= 1000 ? 3 : 1;
  const wanted = Math.max(20, Math.ceil(epochs * rows / batchSize));
  const steps = isBuiltIn ? 60 : Math.min(wanted, isSoftware ? 60 : 1000);
  // few rows in few steps take bold ones; a small model too
  const factor = isBuiltIn ? 50 : rows <= 100 ? 10 : 1;
  const first = data.facts.example.tokens;
  const prompts = data.form === "chat" ? [] : isBuiltIn ? ["Once upon a time", "Ahoy"] : [];
  const begin = first.slice(0, 12).map(({ text }) => text).join("").trim();
  const settings: TrainingSettings = {
    name: `${data.facts.name.replace(/ \(sample\)$/, "").replace(/\.[a-z]+$/, "")} (${spec.title})`,
    method,
    options: isBuiltIn && "loraAlpha" in spec.defaults && "r" in spec.defaults
      ? { r: 16, loraAlpha: 32 }
      : {},
    steps,
    batchSize,
    gradientAccumulation: 1,
    learningRate: Math.min(learningRate * factor, Math.max(learningRate, 1e-2)),
    schedule: "cosine",
    warmupSteps: Math.ceil(steps / 20),
    optimizer: "adamw",
    weightDecay: 0,
    maxGradNorm: 1,
    seed: 42,
    gradientCheckpointing: false,
    halfActivations: false,
    packing: false,
    evalEvery: data.facts.heldOutExamples > 0 ? every(steps, 6) : 0,
    sampleEvery: every(steps, 6),
    checkpointEvery: every(steps, 6),
    samplePrompts: prompts.length > 0 ? prompts : [questionOf(data) ?? begin],
  };
  try {
    const { fits, advice: [first] } = plan(settings, model, data, budget);
    return fits || !first ? settings : { ...settings, ...first.settings };
  } catch {
    return settings; // what is wrong with them, the plan says when it is asked for
  }
}

/** The first question of conversations. */
function questionOf({ train }: OpenData): string | null {
  const row = train.at(0);
  if (!row || row instanceof Promise || !("messages" in row)) return null;
  const question = row.messages.find(({ role }) => role === "user")?.content;
  return typeof question === "string" ? question : null;
}
