/**
 * Timing of kernel variants: what is timed, the race between variants, and the picks as text.
 * @module
 */

export type { Standing } from "./race.ts";
export { loadTuning, saveTuning, type TuningLoad } from "./saved_picks.ts";
export {
  gpt2SmallShapes,
  modelShapes,
  type ModelSizes,
  type ShapeOptions,
  type TunableModel,
  type TuningShape,
} from "./shapes.ts";
export { tuneKernels, type TuneOptions, type TuningResult } from "./tune_kernels.ts";
