/**
 * Checkpoints of a run: `checkpoint-N/` with the model's own files, the optimizer's and the schedule's state, random
 * states and the place in the data, written so that a crash leaves a whole checkpoint or none. A resumed run has the
 * same losses and weights, bit for bit, as one that was never interrupted.
 * @module
 */

import type { FolderSource } from "../io/file_source.ts";
import { type FolderTarget, openTarget, writeJsonTo } from "../io/folder_target.ts";
import { type JsonObject, readJsonFrom } from "../io/json.ts";
import { openFolder } from "../io/open_file.ts";
import { openSafetensors, type SafetensorsInput, safetensorsPieces } from "../io/safetensors.ts";
import { type Parameter, trainingStateKeeper } from "../nn/mod.ts";
import { camelCase } from "../options/names.ts";
import { snakeCase } from "../options/table.ts";
import { type CheckpointPlace, newestCheckpoint } from "./checkpoint_place.ts";
import type { LRScheduler, LRSchedulerState } from "./optimizers/lr_scheduler.ts";
import type { GroupState, Optimizer, OptimizerStateDict } from "./optimizers/optimizer.ts";
import { randomStates, type TrainableModel, trainableParameters } from "./trainable_model.ts";
import type { LogEntry, Sample, TrainerCallback, TrainerState } from "./trainer_state.ts";
import type { SamplingStrategy, TrainingArguments } from "./training_arguments.ts";

/** What a checkpoint holds and a resumed run takes over. */
export interface RunParts {
  readonly model: TrainableModel;
  readonly optimizer: Optimizer;
  readonly scheduler: LRScheduler;
  readonly state: TrainerState;
  /** Sums since the last log, and of the whole run. */
  readonly losses: LossSums;
  /** What decides the order of the data. */
  readonly data: DataOrder;
  /** What the data are known again by. */
  fingerprint(): Promise<string>;
  /** Callbacks whose state is saved too. */
  readonly callbacks: readonly TrainerCallback[];
  /**
   * Which call of `train()` writes: one more than any that wrote to the folder before. Null until the first checkpoint.
   * Checkpoints of a later call are newer, whatever their steps: a folder may hold those of an earlier run.
   */
  session: number | null;
}

/** Sums of losses on the host. */
export interface LossSums {
  /** Since the last log. */
  sinceLog: number;
  /** The step of the last log. */
  loggedStep: number;
  /** Up to the last log. */
  total: number;
  /** Steps since the last log, and up to it, that were skipped: losses or gradients that were not finite. */
  skipped: number;
  totalSkipped: number;
  /** What the objective's measures are made of, since the last log. */
  sums: number[];
}

/** Everything that decides the order of the data. */
export interface DataOrder {
  readonly seed: number;
  readonly examples: number;
  readonly batchSize: number;
  readonly gradientAccumulationSteps: number;
  readonly dropLast: boolean;
  readonly trainSamplingStrategy: SamplingStrategy;
}

/** Examples by which the data are known again; of checkpoints of earlier versions not known. */
function checkExamples(path: string, now: string, then: string | undefined): void {
  if (then === undefined || then === now) return;
  throw new TypeError(
    `Cannot resume from "${path}": the same training data as before are required, received other examples`,
  );
}

/** What checkpoints of earlier versions do not say. */
const EARLIER_DATA = { trainSamplingStrategy: "random" } as const;

const OPTIMIZER = "optimizer.safetensors";
const TRAINABLE = "trainable.safetensors";
const MODEL_STATE = "model_state.safetensors";
/** Bytes that the log of a long run may have: it was checked against its hash. */
const MAX_STATE_BYTES = 512 * 2 ** 20;

const floats = (data: Uint8Array<ArrayBuffer>) =>
  new Float32Array(data.buffer, data.byteOffset, data.length / 4);

/** Parameters that train and that the model's own `model.safetensors` does not hold. */
async function missingParameters(
  folder: FolderSource,
  model: TrainableModel,
): Promise<Map<string, Parameter>> {
  const missing = trainableParameters(model);
  const source = await folder.open("model.safetensors");
  if (!source) return missing;
  const file = await openSafetensors(source);
  for (const name of [...missing.keys()]) {
    if (file.has(name) && file.info(name).dtype === "F32") missing.delete(name);
  }
  await file.close();
  return missing;
}

/** What the model keeps for training besides parameters; no file where there is nothing. */
async function saveModelState(target: FolderTarget, model: TrainableModel): Promise<void> {
  const state = await model[trainingStateKeeper]?.save() ?? new Map<string, Float32Array<ArrayBuffer>>();
  if (state.size === 0) return;
  const entries = [...state].map(([name, data]): [string, SafetensorsInput] => [
    name,
    { dtype: "F32", shape: [data.length], data },
  ]);
  await target.write(MODEL_STATE, safetensorsPieces(new Map(entries), {}));
}

async function loadModelState(folder: FolderSource, model: TrainableModel): Promise<void> {
  const state = new Map<string, Float32Array<ArrayBuffer>>();
  const source = await folder.open(MODEL_STATE);
  if (source) {
    const file = await openSafetensors(source);
    for (const name of file.names()) state.set(name, floats(await file.read(name)));
    await file.close();
  }
  model[trainingStateKeeper]?.load(state);
}

async function saveOptimizer(target: FolderTarget, optimizer: Optimizer): Promise<void> {
  const { state, paramGroups, optimizer: name } = await optimizer.stateDict();
  const entries = new Map<string, SafetensorsInput>();
  const steps: Record<number, number> = {};
  for (const [index, { step, buffers }] of state) {
    steps[index] = step;
    for (const [name, data] of Object.entries(buffers)) {
      entries.set(`${index}.${name}`, { dtype: "F32", shape: [data.length], data });
    }
  }
  const metadata = {
    steps: JSON.stringify(steps),
    param_groups: JSON.stringify(paramGroups),
    ...name !== undefined && { optimizer: name },
  };
  await target.write(OPTIMIZER, safetensorsPieces(entries, metadata));
}

async function loadOptimizer(path: string, folder: FolderSource, optimizer: Optimizer): Promise<void> {
  const file = await openSafetensors(await folder.open(OPTIMIZER) ?? refuseWithout(path, OPTIMIZER));
  try {
    const parse = (key: string) => JSON.parse(file.metadata.get(key) ?? "null");
    const state: OptimizerStateDict["state"] = new Map();
    for (const [index, step] of Object.entries(parse("steps") as Record<string, number>)) {
      state.set(Number(index), { step, buffers: {} });
    }
    for (const name of file.names()) {
      const [index, buffer] = name.split(".");
      state.get(Number(index))!.buffers[buffer] = floats(await file.read(name));
    }
    const name = file.metadata.get("optimizer"); // none in earlier versions
    optimizer.loadStateDict({
      ...{ state, paramGroups: parse("param_groups") as GroupState[] },
      ...name !== undefined && { optimizer: name },
    });
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new TypeError(`Cannot resume from "${path}": ${error.message}`, { cause: error });
  } finally {
    await file.close();
  }
}

/** Refuses a checkpoint without a file that every one has. */
function refuseWithout(path: string, name: string): never {
  throw new Error(`Cannot resume from "${path}": "${name}" is required, received a checkpoint without it`);
}

/** `trainer_state.json`, by Hugging Face's names. */
function stateFile(
  state: TrainerState,
  args: TrainingArguments,
  callbacks: readonly TrainerCallback[],
): Record<string, unknown> {
  return {
    best_global_step: state.bestGlobalStep,
    best_metric: state.bestMetric,
    best_model_checkpoint: state.bestModelCheckpoint,
    epoch: state.epoch,
    eval_steps: args.evalSteps ?? args.loggingSteps,
    global_step: state.globalStep,
    log_history: state.logHistory.map((entry) =>
      Object.fromEntries(Object.entries(entry).map(([name, value]) => [snakeCase(name), value]))
    ),
    logging_steps: args.loggingSteps,
    max_steps: state.maxSteps,
    num_input_tokens_seen: state.numInputTokensSeen,
    num_train_epochs: state.numTrainEpochs,
    samples: state.samples,
    save_steps: args.saveSteps,
    stateful_callbacks: Object.fromEntries(
      callbacks.flatMap(({ name }, i) => {
        const kept = callbacks[i].stateDict?.();
        return kept && name ? [[name, kept]] : [];
      }),
    ),
    train_batch_size: args.perDeviceTrainBatchSize,
  };
}

/**
 * Writes `checkpoint-N` to `place`, then removes the oldest ones beyond `saveTotalLimit`.
 * @returns its path
 */
export async function saveCheckpoint(
  place: CheckpointPlace,
  args: TrainingArguments,
  parts: RunParts,
): Promise<string> {
  const { model, optimizer, scheduler, state, losses, data } = parts;
  const path = await place.pathOf(state.globalStep);
  if (state.bestGlobalStep === state.globalStep) state.bestModelCheckpoint = path;
  const session = parts.session ??= 1 +
    Math.max(0, ...(await place.list()).map(({ session }) => session ?? 0));
  const about = { format: "@peft/webgpu checkpoint", version: 1, global_step: state.globalStep, session };
  await place.write(path, async (folder) => {
    const target = openTarget(folder, "save a checkpoint");
    await model.savePretrained?.(folder);
    const missing = await missingParameters(openFolder(folder), model);
    if (missing.size > 0) {
      const entries = [...missing].map(([name, parameter]): [string, SafetensorsInput] => [
        name,
        { dtype: "F32", shape: parameter.shape, data: () => parameter.data() },
      ]);
      await target.write(TRAINABLE, safetensorsPieces(new Map(entries), { format: "pt" }));
    }
    await saveModelState(target, model);
    await saveOptimizer(target, optimizer);
    await writeJsonTo(target, "scheduler.json", scheduler.stateDict());
    await writeJsonTo(target, "rng_state.json", {
      random: randomStates(model).map(({ seed, step }) => ({ seed, step })),
      data,
      examples: await parts.fingerprint(),
      losses,
    });
    await writeJsonTo(target, "trainer_state.json", stateFile(state, args, parts.callbacks));
    await writeJsonTo(target, "training_args.json", args.toJSON());
  }, about).catch((error) => explainFailure(place, error));
  if (args.saveTotalLimit !== null) {
    const steps = (await place.list()).filter(({ session }) => session !== null) // others are no checkpoints of ours
      .map(({ step }) => step);
    const kept = new Set([state.globalStep, ...args.loadBestModelAtEnd ? [state.bestGlobalStep] : []]);
    const surplus = steps.filter((step) => !kept.has(step)).slice(
      Math.max(0, args.saveTotalLimit - kept.size),
    );
    for (const step of surplus) await place.remove(await place.pathOf(step));
  }
  return path;
}

/** Fails with what can be done now that a checkpoint could not be written: those before it are whole. */
async function explainFailure(place: CheckpointPlace, cause: Error): Promise<never> {
  const newest = await newestCheckpoint(place).catch(() => null);
  const rest = newest === null
    ? "there is no checkpoint yet"
    : `training can go on from the newest whole checkpoint, "${newest}"`;
  throw new Error(`${cause.message}; ${rest}`, { cause });
}

function checkData(path: string, now: DataOrder, then: DataOrder): void {
  for (const name of Object.keys(now) as (keyof DataOrder)[]) {
    if (now[name] === then[name]) continue;
    throw new TypeError(
      `Cannot resume from "${path}": ${name} must be ${then[name]} as before, received ${now[name]}`,
    );
  }
}

/**
 * Restores a run from a checkpoint.
 * @throws {Error} if the checkpoint is damaged @throws {TypeError} if it is of another model, optimizer or data order
 */
export async function loadCheckpoint(place: CheckpointPlace, path: string, parts: RunParts): Promise<void> {
  const folder = await place.open(path);
  const { model, optimizer, scheduler, state, losses, data } = parts;
  const read = async (name: string): Promise<JsonObject> =>
    await readJsonFrom(folder, name, { maxBytes: MAX_STATE_BYTES }) ?? refuseWithout(path, name);
  const saved = await read("rng_state.json") as unknown as {
    random: { seed: number; step: number }[];
    data: DataOrder;
    examples?: string;
    losses: LossSums;
  };
  checkData(path, data, { ...EARLIER_DATA, ...saved.data });
  const randoms = randomStates(model);
  if (randoms.length !== saved.random.length) {
    throw new TypeError(
      `Cannot resume from "${path}": ${saved.random.length} random states are required, received ${randoms.length}`,
    );
  }
  checkExamples(path, await parts.fingerprint(), saved.examples);
  await checkParameters(path, folder, model); // all checks first: what is refused changes nothing
  await loadOptimizer(path, folder, optimizer);
  await restoreParameters(path, folder, model);
  await loadModelState(folder, model);
  scheduler.loadStateDict(await read("scheduler.json") as unknown as LRSchedulerState);
  randoms.forEach((random, i) => {
    random.seed = saved.random[i].seed;
    random.step = saved.random[i].step;
  });
  // checkpoints of earlier versions have other sums, or none, and no count of skipped steps
  const sums = saved.losses.sums?.length === losses.sums.length ? saved.losses.sums : losses.sums;
  Object.assign(losses, { skipped: 0, totalSkipped: 0 }, saved.losses, { sums });
  const progress = await read("trainer_state.json");
  state.globalStep = progress.global_step as number;
  state.epoch = progress.epoch as number;
  state.numInputTokensSeen = progress.num_input_tokens_seen as number;
  state.bestMetric = progress.best_metric as number | null ?? null;
  state.bestGlobalStep = progress.best_global_step as number | null ?? null;
  // beside this one, wherever the folder is now
  const best = progress.best_model_checkpoint === null ? null : state.bestGlobalStep;
  state.bestModelCheckpoint = best === null ? null : await place.pathOf(best, path);
  const kept = progress.stateful_callbacks as Record<string, Record<string, unknown>> | undefined;
  for (const callback of parts.callbacks) {
    const own = callback.name === undefined ? undefined : kept?.[callback.name];
    if (own) callback.loadStateDict?.(own);
  }
  state.samples.push(...(progress.samples ?? []) as unknown as Sample[]); // none in earlier versions
  state.logHistory = (progress.log_history as Record<string, number | null>[]).map((entry) =>
    Object.fromEntries(
      Object.entries(entry).map(([name, value]) => [camelCase(name), value ?? NaN]),
    ) as LogEntry
  );
}

/** Calls `visit` with each trainable parameter and where a checkpoint holds it. @throws {TypeError} as `loadParameters` */
async function visitParameters(
  path: string,
  folder: FolderSource,
  model: TrainableModel,
  visit: (parameter: Parameter, read: () => Promise<Float32Array<ArrayBuffer>>) => Promise<void>,
): Promise<void> {
  const parameters = trainableParameters(model);
  const left = new Set(parameters.keys());
  for (const name of ["model.safetensors", TRAINABLE]) {
    const source = await folder.open(name);
    if (!source) continue;
    const file = await openSafetensors(source);
    try {
      for (const key of file.names()) {
        const parameter = parameters.get(key);
        if (!parameter) continue;
        const shape = file.info(key).shape;
        if (shape.join() !== parameter.shape.join()) {
          throw new TypeError(
            `Cannot resume from "${path}": "${key}" must have shape [${parameter.shape}], received [${shape}]`,
          );
        }
        await visit(parameter, async () => floats(await file.read(key)));
        left.delete(key);
      }
    } finally {
      await file.close();
    }
  }
  if (left.size > 0) {
    throw new TypeError(
      `Cannot resume from "${path}": ${left.size} parameters are not in it, "${[...left][0]}" among them`,
    );
  }
}

function checkParameters(path: string, folder: FolderSource, model: TrainableModel): Promise<void> {
  return visitParameters(path, folder, model, () => Promise.resolve());
}

function restoreParameters(path: string, folder: FolderSource, model: TrainableModel): Promise<void> {
  return visitParameters(path, folder, model, async (parameter, read) => parameter.write(await read()));
}

/** Restores the trainable parameters from a checkpoint. @throws {TypeError} for one that is missing or does not fit */
export async function loadParameters(
  place: CheckpointPlace,
  path: string,
  model: TrainableModel,
): Promise<void> {
  await restoreParameters(path, await place.open(path), model);
}
