/**
 * Modules and the layers that are not a model's own.
 * @module
 */

export { type AdapterConfigLike, provideAdapterWrapper, wrapWithAdapter } from "./adapter_wrapper.ts";
export {
  ACTIVATION_NAMES,
  type ActivationName,
  activations,
  fusedActivation,
  gatedActivation,
} from "./activation.ts";
export { Conv1D } from "./conv1d.ts";
export { Dropout } from "./dropout.ts";
export { Embedding } from "./embedding.ts";
export { Initializer } from "./init.ts";
export { LayerNorm } from "./layer_norm.ts";
export { Linear } from "./linear.ts";
export { inEvalMode, isInEvalMode, Module, ModuleDict, ParameterDict } from "./module.ts";
export { Parameter } from "./parameter.ts";
export { forwardJoint, gatedForward } from "./joint_projection.ts";
export {
  Projection,
  type ProjectionCall,
  type ProjectionLike,
  type ProjectionOptions,
} from "./projection.ts";
export { replaceParameters } from "./replace_parameters.ts";
export { RMSNorm } from "./rms_norm.ts";
export { type LoadResult, mismatchError, type StateDict } from "./state_dict.ts";
export { type StreamNorm, SubBlock } from "./sub_block.ts";
export { type TrainingStateKeeper, trainingStateKeeper } from "./training_state.ts";
