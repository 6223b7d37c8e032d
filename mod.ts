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

// Tensors and modules, for models and training loops of one's own
export {
  add,
  cast,
  concat,
  crossEntropy,
  divide,
  dropout,
  type DType,
  embedding,
  gelu,
  geluNew,
  HostRandom,
  layerNorm,
  linear,
  matmul,
  max,
  mean,
  multiply,
  type NestedArray,
  noGrad,
  permute,
  RandomState,
  relu,
  reshape,
  scale,
  type Shape,
  sigmoid,
  silu,
  slice,
  softmax,
  subtract,
  sum,
  tanh,
  Tensor,
  type TensorData,
  type TensorOptions,
  tidy,
  transpose,
} from "./autograd/mod.ts";
export {
  Conv1D,
  Dropout,
  Embedding,
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
} from "./nn/mod.ts";

// The device
export {
  Device,
  DeviceLostError,
  type DeviceOptions,
  type DeviceStats,
  DisposedError,
  GpuError,
  initDevice,
  type MemoryReport,
  NoAdapterError,
  OutOfDeviceMemoryError,
  ShaderCompileError,
} from "./gpu/mod.ts";

// Files
export { safetensors, SafetensorsError } from "./io/safetensors.ts";
