/**
 * Parameter-efficient fine-tuning on WebGPU: GPT-2 with LoRA, trained in Deno, Node and browsers.
 *
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, getPeftModel, LoraConfig } from "@peft/webgpu";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("gpt2");
 * const model = await AutoModelForCausalLM.fromPretrained("gpt2");
 * const peftModel = getPeftModel(model, new LoraConfig({ r: 8, loraAlpha: 32, targetModules: ["c_attn"] }));
 * peftModel.printTrainableParameters();
 * const outputs = peftModel.forward(tokenizer("Hello, PEFT!"));
 * console.log(outputs.logits.shape); // [1, 5, 50257]
 * ```
 * @module
 */

// Models and tokenizers
export * from "./model/mod.ts";

// Adapters
export * from "./peft/mod.ts";
export { type AutoPeftModel, AutoPeftModelForCausalLM, type AutoPeftOptions } from "./auto_peft.ts";

// Training
export * from "./train/mod.ts";

// Tensors and modules, for models and training loops of one's own
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
  gelu,
  geluNew,
  HostRandom,
  layerNorm,
  type LayerNormOptions,
  linear,
  type LinearOptions,
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
  type WeightLayout,
} from "./autograd/mod.ts";
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
  type StateDict,
  SubBlock,
} from "./nn/mod.ts";

// The device
export {
  type BufferView,
  Device,
  type DeviceBuffer,
  DeviceLostError,
  type DeviceOptions,
  type DeviceStats,
  DisposedError,
  GpuError,
  initDevice,
  type MemoryReport,
  type NegotiatedLimit,
  NoAdapterError,
  OutOfDeviceMemoryError,
  ShaderCompileError,
} from "./gpu/mod.ts";

export type { BufferAccess, Grid, KernelSpec, ParamType } from "./kernels/kernel_spec.ts";

// Kernels picked by measurement
export {
  gpt2SmallShapes,
  loadTuning,
  saveTuning,
  type ShapeOptions,
  type Standing,
  tuneKernels,
  type TuneOptions,
  type TuningLoad,
  type TuningResult,
  type TuningShape,
} from "./tuning/mod.ts";
export { VERSION } from "./autograd/mod.ts";
export type { MatmulLayout, MatmulWeightFormat } from "./kernels/matmul.ts";
export { readTuning, tuningPath, writeTuning } from "./io/tuning_file.ts";

// Files
export {
  type Metadata,
  type Safetensors,
  safetensors,
  type SafetensorsDtype,
  type SafetensorsEntry,
  SafetensorsError,
  type SafetensorsFile,
  type SafetensorsInput,
  type SafetensorsInputs,
  type TensorInfo,
  type TensorReader,
} from "./io/safetensors.ts";
export { checkWritableFolder } from "./io/files.ts";
export type { FolderOutput, MemoryFolder } from "./io/folder_target.ts";
export { memoryFolder, urlFolder } from "./io/open_file.ts";
export type {
  Bytes,
  DirectoryHandle,
  FileInput,
  FileSource,
  FolderInput,
  FolderSource,
} from "./io/file_source.ts";
export { HubError, type HubFailure, type HubOptions, type HubProgress, type HubTimeouts } from "./io/hub.ts";
