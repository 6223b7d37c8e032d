/**
 * Timing of kernel variants: what is timed, the race between variants, and the picks as text.
 * @module
 */

export type { Standing } from "./race.ts";
export { loadTuning, saveTuning, type TuningLoad } from "./saved_picks.ts";
export {
  modelShapes,
  type ModelSizes,
  recordShapes,
  type ShapeOptions,
  type TunableModel,
} from "./model_shapes.ts";
export type { TuningShape } from "./shapes.ts";
export { tuneKernels, type TuneOptions, type TuningResult } from "./tune_kernels.ts";
