/**
 * Training that outlives its device: a driver that crashes or resets, a GPU that is taken away.
 * @module
 */

import { DeviceLostError } from "../autograd/mod.ts";
import { checkpointPlace, isWhole } from "./checkpoint_place.ts";
import { checkOptions } from "../options/names.ts";
import { kindOf } from "../options/kinds.ts";
import type { TrainerCallback } from "./trainer_state.ts";
import type { Trainer, TrainOptions, TrainOutput } from "./trainer.ts";

/**
 * A device that was lost, and what happens next.
 *
 * @example
 * ```ts
 * import type { Restart } from "@peft/webgpu/train";
 *
 * // a line about a device that was lost, and what comes of it
 * const lineOf = ({ restart, error, checkpoint }: Restart) =>
 *   `loss ${restart} of the device (${error.message}): going on from ${checkpoint ?? "the beginning"}`;
 * ```
 */
export interface Restart {
  /** Its number, from 1. */
  readonly restart: number;
  /** What was lost. */
  readonly error: DeviceLostError;
  /** Where training goes on from; null: from the beginning. */
  readonly checkpoint: string | null;
}

/**
 * Options of `resilientTrain`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, Trainer } from "@peft/webgpu";
 * import { type ResilientOptions, resilientTrain } from "@peft/webgpu/train";
 *
 * const options: ResilientOptions = {
 *   async makeTrainer() {
 *     const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model"); // on a new device after a loss
 *     return new Trainer({ model, trainDataset: [{ inputIds: [1, 2, 3] }], args: { maxSteps: 1, reportTo: "none" } });
 *   },
 *   maxRestarts: 10,
 * };
 * console.log((await resilientTrain(options)).restarts); // 0
 * ```
 */
export interface ResilientOptions extends TrainOptions {
  /**
   * Makes model, data and Trainer: at first, and again on a new device after a loss (`defaultDevice()` gives one). Its
   * settings must be the same each time.
   */
  makeTrainer: () => Trainer | Promise<Trainer>;
  /** Losses after which it gives up; default 3. */
  maxRestarts?: number;
  /** Called before the Trainer is made again. */
  onRestart?: (restart: Restart) => void | Promise<void>;
}

/**
 * Result of `resilientTrain`.
 *
 * @example
 * ```ts
 * import type { ResilientOutput } from "@peft/webgpu/train";
 *
 * // keeps what a training made, and says how it went
 * async function finish({ trainer, restarts, trainingLoss }: ResilientOutput): Promise<void> {
 *   await trainer.saveModel();
 *   console.log(`mean loss ${trainingLoss.toFixed(3)}, the device was lost ${restarts} times`);
 * }
 * ```
 */
export interface ResilientOutput extends TrainOutput {
  /** How often the device was lost. */
  readonly restarts: number;
  /** The Trainer that finished, with its model. */
  readonly trainer: Trainer;
}

/** The last of some checkpoints that is whole; earlier ones may have been removed. */
async function newestWhole(trainer: Trainer | null, paths: readonly string[]): Promise<string | null> {
  const outputDir = trainer?.args.outputDir ?? null;
  if (outputDir === null) return null;
  const place = checkpointPlace(outputDir);
  for (const path of paths.toReversed()) if (await isWhole(place, path)) return path;
  return null;
}

/**
 * Trains, and after a lost device makes everything again and goes on from the newest checkpoint that this
 * run wrote to `outputDir`, or from where it began. The result is that of an undisturbed run, bit for bit.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, TextDataset, Trainer } from "@peft/webgpu";
 * import { resilientTrain } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const stories = "examples/demo/data/pirate.jsonl";
 * const trainDataset = await TextDataset.fromFile(stories, tokenizer, { blockSize: 64 });
 * const { trainer } = await resilientTrain({
 *   makeTrainer: async () => {
 *     const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 *     return new Trainer({ model, trainDataset, args: { outputDir: "out", maxSteps: 4, saveSteps: 2 } });
 *   },
 *   onRestart: ({ checkpoint }) => console.warn(`The device was lost; going on from ${checkpoint ?? "the beginning"}`),
 * });
 * await trainer.saveModel();
 * ```
 * @throws {TypeError} for a makeTrainer that is no function or makes no Trainer
 * @throws {DeviceLostError} the last one, after `maxRestarts` @throws what `makeTrainer` and `Trainer.train` throw else
 */
export async function resilientTrain(options: ResilientOptions): Promise<ResilientOutput> {
  checkOptions("train", options, [
    ...["makeTrainer", "maxRestarts", "onRestart", "resumeFromCheckpoint", "signal"],
  ]);
  if (typeof options?.makeTrainer !== "function") {
    throw new TypeError(
      `Cannot train: makeTrainer must be a function that makes a Trainer, received ${
        kindOf(options?.makeTrainer)
      }`,
    );
  }
  const { makeTrainer, maxRestarts = 3, onRestart, signal } = options;
  let { resumeFromCheckpoint = false } = options;
  const saved: string[] = []; // by this run: the folder may hold those of another
  const onSave: TrainerCallback["onSave"] = (_args, _state, _control, { checkpoint }) =>
    void saved.push(checkpoint!);
  let trainer: Trainer | null = null;
  for (let restarts = 0;; restarts++) {
    try {
      trainer = await makeTrainer();
      if (typeof trainer?.train !== "function" || typeof trainer.addCallback !== "function") {
        throw new TypeError(`Cannot train: makeTrainer must return a Trainer, received ${kindOf(trainer)}`);
      }
      trainer.addCallback({ onSave });
      const output = await trainer.train({ resumeFromCheckpoint, signal });
      return { ...output, restarts, trainer };
    } catch (error) {
      if (!(error instanceof DeviceLostError) || restarts >= maxRestarts) throw error;
      resumeFromCheckpoint = await newestWhole(trainer, saved) ?? resumeFromCheckpoint; // without one: as it began
      const checkpoint = typeof resumeFromCheckpoint === "string" ? resumeFromCheckpoint : null;
      await onRestart?.({ restart: restarts + 1, error, checkpoint });
    }
  }
}
