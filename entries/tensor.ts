/**
 * `@peft/webgpu/tensor`: tensors, the ops that autograd records, and modules, to write a model or a training loop with.
 *
 * ```ts
 * import { matmul, sum, Tensor } from "@peft/webgpu/tensor";
 *
 * const w = Tensor.from([[1, 2], [3, 4]], { requiresGrad: true });
 * sum(matmul(w, w)).backward();
 * console.log(await w.grad!.data()); // Float32Array [7, 11, 9, 13]
 * ```
 * @module
 */

export {
  add,
  type CapturedStep,
  type CaptureOptions,
  captureStep,
  cast,
  concat,
  crossEntropy,
  type CrossEntropyOptions,
  divide,
  dropout,
  type DType,
  embedding,
  type FusedActivationName,
  gelu,
  geluNew,
  HostRandom,
  layerNorm,
  type LayerNormOptions,
  linear,
  type LinearOptions,
  LOADED_TYPES,
  matmul,
  type MatmulOpOptions,
  max,
  mean,
  multiply,
  type NestedArray,
  noGrad,
  type Operand,
  permute,
  RandomState,
  type ReduceOptions,
  relu,
  reshape,
  scale,
  setSeed,
  type Shape,
  sigmoid,
  silu,
  slice,
  softcap,
  softmax,
  type StackedLora,
  type StepInput,
  subtract,
  sum,
  tanh,
  Tensor,
  type TensorData,
  type TensorOptions,
  tidy,
  transpose,
  WEIGHT_TYPES,
  type WeightLayout,
  type WeightType,
} from "../autograd/mod.ts";
export {
  type ActivationName,
  Conv1D,
  Dropout,
  Embedding,
  Initializer,
  LayerNorm,
  Linear,
  type LoadResult,
  Module,
  ModuleDict,
  Parameter,
  ParameterDict,
  Projection,
  type ProjectionOptions,
  RMSNorm,
  type StateDict,
  SubBlock,
} from "../nn/mod.ts";
