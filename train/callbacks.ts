/**
 * Callbacks as a caller gives them, and the moments at which they are called.
 * @module
 */

import { checkOptions } from "../options/names.ts";
import type { TrainerCallback } from "./trainer_state.ts";

/** Moments at which callbacks are called. */
export type Moment = Exclude<keyof TrainerCallback, "name" | "stateDict" | "loadStateDict">;

const MOMENTS: Readonly<Record<Moment, true>> = {
  ...{ onTrainBegin: true, onOptimizerStep: true, onStepEnd: true, onEpochEnd: true, onLog: true },
  ...{ onEvaluate: true, onSample: true, onSave: true, onTrainEnd: true },
};

/** Names of methods that are meant to be moments: `onStepEnd`, and `on_step_end` too. */
function momentsOf(callback: object): Record<string, true> {
  const found: Record<string, true> = {};
  for (let part = callback; part && part !== Object.prototype; part = Object.getPrototypeOf(part)) {
    for (const name of Object.getOwnPropertyNames(part)) {
      if (!/^on[A-Z_]/.test(name)) continue;
      const { value } = Object.getOwnPropertyDescriptor(part, name)!; // no getter is called
      if (typeof value === "function") found[name] = true;
    }
  }
  return found;
}

/**
 * A callback, or a class of callbacks without arguments, as in `transformers`.
 *
 * @example
 * ```ts
 * import type { TrainerCallback } from "@peft/webgpu";
 * import type { CallbackInput } from "@peft/webgpu/train";
 *
 * class Bell implements TrainerCallback {
 *   onTrainEnd = () => console.log("\x07");
 * }
 * const callbacks: CallbackInput[] = [Bell, { onSave: (_args, _state, _control, { checkpoint }) => console.log(checkpoint) }];
 * ```
 */
export type CallbackInput = TrainerCallback | (new () => TrainerCallback);

/**
 * A callback that was checked.
 * @throws {TypeError} for what is none, and for a method `on…` that is no moment of a run
 */
export function toCallback(action: string, given: CallbackInput): TrainerCallback {
  const isClass = typeof given === "function" && given.prototype !== undefined &&
    Object.hasOwn(given, "prototype") && /^class\b/.test(Function.prototype.toString.call(given));
  const callback: unknown = isClass ? new (given as new () => TrainerCallback)() : given;
  if (typeof callback !== "object" || callback === null) {
    throw new TypeError(
      `Cannot ${action}: a callback must be an object with methods such as onStepEnd, received ${
        typeof callback === "function" ? "a function" : String(callback)
      }`,
    );
  }
  checkOptions(action, momentsOf(callback), Object.keys(MOMENTS), "callback method");
  return callback as TrainerCallback;
}
