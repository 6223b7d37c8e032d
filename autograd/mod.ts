/**
 * Tensors with gradients: the array type, the tape and the ops.
 * @module
 */

export { checkpoint, type Checkpointed } from "./checkpoint.ts";
export { type CapturedStep, type CaptureOptions, captureStep } from "./capture_step.ts";
export type { StepInput } from "./step_inputs.ts";
export {
  bytesOf,
  type DType,
  isPacked,
  loadHalfFormats,
  loadQuantizedFormats,
  storageRule,
  storageType,
  type TensorData,
  viewAs,
  weightFormat,
} from "./dtype.ts";
export { loadAttention } from "../kernels/attention.ts";
export type { FusedActivationName } from "../kernels/fused_activations.ts";
export {
  type BitsandbytesFormatName,
  type GgufFormatName,
  isQuantized,
  LOADED_TYPES,
  type QuantizedType,
  WEIGHT_TYPES,
  type WeightType,
} from "../kernels/weights/mod.ts";
export { withHalfActivations } from "./half_activations.ts";
export { defaultSeed, type RandomPlace, RandomState, setSeed } from "./random.ts";
export { HostRandom } from "./host_random.ts";
export { TorchGenerator } from "./torch_generator.ts";
export { keep, tidy, untracked } from "./scope.ts";
export { type NestedArray, sameShape, type Shape, showShape, sizeOf } from "./shape.ts";
export { type BackwardContext, record, type Recording } from "./record.ts";
export { isRecording, noGrad, wantsGrad } from "./tape.ts";
export { allocate, empty, full, readAndDispose, Tensor, type TensorOptions, unallocated } from "./tensor.ts";
export { VERSION } from "./version.ts";
export { flatWindows, rowWindows } from "./windows.ts";
export * from "./ops/mod.ts";
export {
  currentDevice,
  defaultDevice,
  Device,
  DeviceLostError,
  DisposedError,
  initDevice,
} from "../gpu/mod.ts";
