/**
 * What a model keeps for training besides its parameters, for checkpoints.
 * @module
 */

/** Saves and restores it. */
export interface TrainingStateKeeper {
  /** Numbers by name; empty where there are none. */
  save(): Promise<ReadonlyMap<string, Float32Array<ArrayBuffer>>>;
  /** Restores what `save` gave. */
  load(state: ReadonlyMap<string, Float32Array<ArrayBuffer>>): void;
}

/** The property of a model that has such a state. A symbol, since it is for checkpoints and not for callers. */
export const trainingStateKeeper: unique symbol = Symbol("trainingStateKeeper");
