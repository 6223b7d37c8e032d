/**
 * Parameter-efficient fine-tuning: adapters on any module tree.
 * @module
 */

import "./adapter_wrapper.ts";

export type { AdapterSwitch } from "./adapters/adapter_switch.ts";
export type {
  AdaptableModel,
  AdapterRows,
  CaptureInputsOf,
  ForwardInputs,
  Generate,
} from "./adaptable_model.ts";
export { MixedBatch } from "./adapters/mixed_batch.ts";
export type { AdapterHost, InjectOptions, LoadedKeys, MixedOption } from "./adapters/model_adapters.ts";
export { Tuner } from "./adapters/tuner.ts";
export { BottleneckAdapter } from "./bottleneck/bottleneck_adapter.ts";
export { BottleneckConfig, type BottleneckConfigFields } from "./bottleneck/bottleneck_config.ts";
export { BottleneckLayer } from "./bottleneck/bottleneck_layer.ts";
export type { BottleneckOrigin } from "./bottleneck/hub_config.ts";
export { describeConfig } from "./config/describe_config.ts";
export { type ConfigClass, MethodConfig } from "./config/method_config.ts";
export type { BlockwiseFields, PeftConfigFields, TargetedFields } from "./config/peft_config.ts";
export { extractLora, type ExtractLoraOptions } from "./extract_lora.ts";
export type { AdapterValues } from "./files/adapter_files.ts";
export type { AdapterInput, LoadAdapterOptions, SaveAdapterOptions } from "./files/adapter_folder.ts";
export { PeftConfig, type PeftConfigReader } from "./files/peft_config.ts";
export { AdaptedLinear } from "./layers/adapted_linear.ts";
export { type Layer, ModulesToSaveWrapper } from "./layers/modules_to_save.ts";
export type { TunerLayer } from "./layers/tuner_layer.ts";
export { DoraMagnitude } from "./lora/dora.ts";
export type { EvaConfig } from "./lora/eva_config.ts";
export {
  LoraConfig,
  type LoraConfigFields,
  type LoraConfigInput,
  type LoraInit,
  type TokenIndices,
} from "./lora/lora_config.ts";
export { LoraEmbedding } from "./lora/lora_embedding.ts";
export { LoraLayer, type LowRankLayer } from "./lora/low_rank.ts";
export { AdaLoraConfig, type AdaLoraConfigFields, type RankPattern } from "./methods/adalora_config.ts";
export { BitFitConfig, type BitFitConfigFields } from "./methods/bitfit_config.ts";
export { BOFTConfig, type BOFTConfigFields } from "./methods/boft_config.ts";
export { FourierFTConfig, type FourierFTConfigFields } from "./methods/fourierft_config.ts";
export { IA3Config, type IA3ConfigFields } from "./methods/ia3_config.ts";
export { LNTuningConfig, type LNTuningConfigFields } from "./methods/ln_tuning_config.ts";
export { LoHaConfig, type LoHaConfigFields } from "./methods/loha_config.ts";
export { LoKrConfig, type LoKrConfigFields, type LoKrInit } from "./methods/lokr_config.ts";
export type { LycorisFields } from "./methods/lycoris.ts";
export { OFTConfig, type OFTConfigFields } from "./methods/oft_config.ts";
export { VeraConfig, type VeraConfigFields } from "./methods/vera_config.ts";
export type { CombineRule, MajoritySignMethod } from "./operations/combine.ts";
export { type EvaBatch, initializeLoraEvaWeights } from "./operations/eva.ts";
export { type ReplaceLoftQOptions, replaceLoraWeightsLoftq } from "./operations/loftq.ts";
export type { LoftQConfig } from "./lora/loftq_config.ts";
export { bindAdapters, type BoundAdapters } from "./operations/bind_adapters.ts";
export { hotswapAdapter, type HotswapOptions } from "./operations/hotswap.ts";
export {
  deleteAdapter,
  injectAdapterInModel,
  setAdapter,
  setRequiresGrad,
} from "./operations/inject_adapter.ts";
export { rescaleAdapterScale } from "./operations/rescale_adapters.ts";
export {
  getPeftModelStateDict,
  setPeftModelStateDict,
  type SetStateDictOptions,
} from "./operations/state_dict.ts";
export {
  getLayerStatus,
  getModelStatus,
  type TrainingStatus,
  type TunerLayerStatus,
  type TunerModelStatus,
} from "./operations/status.ts";
export type { CombinationType, WeightedAdapterOptions } from "./operations/weighted_lora.ts";
export { getPeftModel, PeftModel } from "./peft_model.ts";
export { type AdapterCall, AdapterState } from "./state/adapter_state.ts";
export { LoraScaling } from "./state/lora_scaling.ts";
export type { FactoredLayer, LoraOffset, LowRankFactors } from "./state/low_rank_factors.ts";
export { NoMatchingModuleError } from "./targets/targets.ts";
export { TokenAdapter } from "./trainable_tokens/token_adapter.ts";
export {
  TrainableTokensConfig,
  type TrainableTokensConfigFields,
} from "./trainable_tokens/trainable_tokens_config.ts";
export { type TokenChoice, TrainableTokensLayer } from "./trainable_tokens/trainable_tokens_layer.ts";
export { BidirectionalLstm, type LstmOptions } from "./virtual_tokens/lstm.ts";
export { PrefixTuningConfig, type PrefixTuningConfigFields } from "./virtual_tokens/prefix_tuning_config.ts";
export { VirtualTokenEncoder } from "./virtual_tokens/prompt_encoder.ts";
export {
  PromptEncoderConfig,
  type PromptEncoderConfigFields,
} from "./virtual_tokens/prompt_encoder_config.ts";
export { PromptTuningConfig, type PromptTuningConfigFields } from "./virtual_tokens/prompt_tuning_config.ts";
export type { PromptLearningFields } from "./virtual_tokens/virtual_token_options.ts";
export type { PeftConfig as AdapterConfig } from "./config/peft_config.ts"; // the type behind PeftConfig
