/**
 * Parameter-efficient fine-tuning of language models on WebGPU, such as GPT-2 with LoRA, trained in Deno, Node and browsers. This entry holds what users
 * of `transformers` and `peft` need; the rest has entries by area: `@peft/webgpu/tensor`, `/train`, `/model`, `/peft`, `/gpu`,
 * `/tuning` and `/io`.
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
export { AutoModelForCausalLM, type CausalLM, type FromPretrainedOptions } from "./model/mod.ts";
export { type GenerateOptions, GPT2Config, GPT2LMHeadModel, type WeightDType } from "./model/mod.ts";
export { AutoTokenizer, type Encoding, TextStreamer, type Tokenizer } from "./model/mod.ts";
export { type ChatMessage, ChatTemplateError, exportGguf, type ExportGgufOptions } from "./model/mod.ts";

// Adapters
export {
  AdaLoraConfig,
  BitFitConfig,
  BOFTConfig,
  BottleneckConfig,
  FourierFTConfig,
  IA3Config,
  LNTuningConfig,
  LoHaConfig,
  LoKrConfig,
  LoraConfig,
  OFTConfig,
  PrefixTuningConfig,
  PromptEncoderConfig,
  PromptTuningConfig,
  TrainableTokensConfig,
  VeraConfig,
} from "./peft/mod.ts";
export {
  deleteAdapter,
  describeConfig,
  extractLora,
  getLayerStatus,
  getModelStatus,
  getPeftModel,
  getPeftModelStateDict,
  hotswapAdapter,
  initializeLoraEvaWeights,
  injectAdapterInModel,
  NoMatchingModuleError,
  PeftConfig,
  PeftModel,
  replaceLoraWeightsLoftq,
  rescaleAdapterScale,
  setAdapter,
  setPeftModelStateDict,
  setRequiresGrad,
} from "./peft/mod.ts";
export { AutoPeftModelForCausalLM } from "./auto_peft.ts";

// Memory
export {
  type AdapterSize,
  findLargestBatch,
  MemoryBudgetError,
  type MemoryBytes,
  type MemoryPlan,
  planAdapter,
  planMemory,
  type PlannedModel,
  type PlanOptions,
} from "./plan/mod.ts";

// Training
export {
  AdamW,
  AdamW8bit,
  chatExample,
  clipGradNorm,
  CPOConfig,
  CPOTrainer,
  createLoraplusOptimizer,
  DataLoader,
  type Dataset,
  defaultDataCollator,
  DPOConfig,
  DPOTrainer,
  EarlyStoppingCallback,
  formatProgress,
  getConstantSchedule,
  getConstantScheduleWithWarmup,
  getCosineScheduleWithWarmup,
  getLastCheckpoint,
  getLinearScheduleWithWarmup,
  getScheduler,
  KTOConfig,
  KTOTrainer,
  loadDataset,
  ORPOConfig,
  ORPOTrainer,
  packExamples,
  RowDataset,
  type SchedulerType,
  SFTConfig,
  SFTTrainer,
  SGD,
  TextDataset,
  Trainer,
  type TrainerCallback,
  TrainingArguments,
} from "./train/mod.ts";

// Tensors and modules
export { captureStep, type DType, noGrad, setSeed, Tensor, tidy } from "./autograd/mod.ts";
export { Module, Parameter } from "./nn/mod.ts";

// The device
export {
  Device,
  DeviceLostError,
  type DeviceOptions,
  GpuError,
  initDevice,
  NoAdapterError,
  OutOfDeviceMemoryError,
  ShaderCompileError,
} from "./gpu/mod.ts";

// Files
export { safetensors, SafetensorsError } from "./io/safetensors.ts";
export { checkWritableFolder } from "./io/files.ts";
export type { FolderOutput } from "./io/folder_target.ts";
export { memoryFolder, urlFolder } from "./io/open_file.ts";
export type { FolderInput, MemoryFolder } from "./io/file_source.ts";
export { HubError, type HubProgress } from "./io/hub.ts";

export { VERSION } from "./autograd/mod.ts";
