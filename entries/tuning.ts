/**
 * `@peft/webgpu/tuning`: times kernel variants on the adapter at hand and keeps the picks.
 * @module
 */

export {
  loadTuning,
  modelShapes,
  type ModelSizes,
  recordShapes,
  saveTuning,
  type ShapeOptions,
  type Standing,
  type TunableModel,
  tuneKernels,
  type TuneOptions,
  type TuningLoad,
  type TuningResult,
  type TuningShape,
} from "../tuning/mod.ts";
export type { MatmulLayout, MatmulWeightFormat } from "../kernels/matmul.ts";
export type { WeightFormatName } from "../kernels/weights/mod.ts";
export { readTuning, tuningPath, writeTuning } from "../io/tuning_file.ts";
