/**
 * What a model keeps for training besides its parameters, for checkpoints.
 * @module
 */

/**
 * Saves and restores it.
 *
 * @example
 * ```ts
 * import { type TrainingStateKeeper, trainingStateKeeper } from "@peft/webgpu/train";
 *
 * class Schedule {
 *   #seen = Float32Array.of(0);
 *   readonly [trainingStateKeeper]: TrainingStateKeeper = {
 *     save: () => Promise.resolve(new Map([["seen", this.#seen]])),
 *     load: (state) => this.#seen = state.get("seen")!,
 *   };
 * }
 * console.log(await new Schedule()[trainingStateKeeper].save()); // goes into every checkpoint of a model that has it
 * ```
 */
export interface TrainingStateKeeper {
  /** Numbers by name; empty where there are none. */
  save(): Promise<ReadonlyMap<string, Float32Array<ArrayBuffer>>>;
  /** Restores what `save` gave. */
  load(state: ReadonlyMap<string, Float32Array<ArrayBuffer>>): void;
}

/**
 * The property of a model that has such a state. A symbol, since it is for checkpoints and not for callers.
 *
 * @example
 * ```ts
 * import { AdaLoraConfig, AutoModelForCausalLM, getPeftModel } from "@peft/webgpu";
 * import { trainingStateKeeper } from "@peft/webgpu/train";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new AdaLoraConfig({ totalStep: 100, targetModules: ["c_attn"] }));
 * const state = await model[trainingStateKeeper].save(); // what AdaLoRA needs to go on where it was
 * model[trainingStateKeeper].load(state);
 * ```
 */
export const trainingStateKeeper: unique symbol = Symbol("trainingStateKeeper");
