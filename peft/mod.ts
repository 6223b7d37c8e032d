/**
 * Parameter-efficient fine-tuning: adapters on any module tree.
 * @module
 */

export { AdaLoraConfig, type AdaLoraConfigFields, type RankPattern } from "./adalora.ts";
export { AdaptedLinear } from "./adapted_linear.ts";
export { PeftConfig, type PeftConfigFields, type PeftConfigReader } from "./config.ts";
export { LoraConfig, type LoraConfigFields, type LoraConfigInput } from "./lora_config.ts";
export { type EvaBatch, initializeLoraEvaWeights } from "./eva.ts";
export type { EvaConfig } from "./eva_config.ts";
export type { LoraInit } from "./lora_init.ts";
export { getPeftModel, type MixedOption, PeftModel } from "./peft_model.ts";
export type { AdaptableModel, AdapterRows, ForwardInputs, Generate } from "./adaptable_model.ts";
export type { LoadAdapterOptions, SaveAdapterOptions } from "./adapter_folder.ts";
export { LoraEmbedding } from "./lora_embedding.ts";
export type { LoraOffset } from "./lora_factors.ts";
export { LoraLayer } from "./lora_layer.ts";
export { LoraScaling } from "./lora_scaling.ts";
export type { LowRankFactors, LowRankLayer } from "./low_rank.ts";
export { MixedBatch } from "./mixed_batch.ts";
export {
  type AdapterCompanion,
  AdapterState,
  type InjectionContext,
  type TrainingState,
  type TunerLayer,
} from "./method.ts";
export { type Layer, ModulesToSaveWrapper } from "./modules_to_save.ts";
export type { AdapterHost, InjectOptions, LoadedKeys } from "./adapter_host.ts";
export type { AdapterValues } from "./adapter_files.ts";
export { BidirectionalLstm, type LstmOptions } from "./lstm.ts";
export { VirtualTokenEncoder } from "./prompt_encoder.ts";
export {
  PrefixTuningConfig,
  type PrefixTuningConfigFields,
  PromptEncoderConfig,
  type PromptEncoderConfigFields,
  type PromptLearningFields,
  PromptTuningConfig,
  type PromptTuningConfigFields,
} from "./prompt_learning.ts";
export { Tuner } from "./tuner.ts";
export { NoMatchingModuleError } from "./targets.ts";
export { IA3Config, type IA3ConfigFields } from "./ia3.ts";
export { LNTuningConfig, type LNTuningConfigFields } from "./ln_tuning.ts";
export { DoraMagnitude } from "./dora.ts";
export type { CombinationType, WeightedAdapterOptions } from "./weighted_lora.ts";
export type { CombineRule, MajoritySignMethod } from "./combine.ts";
export { VeraConfig, type VeraConfigFields } from "./vera.ts";
export { LoHaConfig, type LoHaConfigFields } from "./loha.ts";
export { LoKrConfig, type LoKrConfigFields, type LoKrInit } from "./lokr.ts";
export type { LycorisFields } from "./lycoris.ts";
export { OFTConfig, type OFTConfigFields } from "./oft.ts";
export { BOFTConfig, type BOFTConfigFields } from "./boft.ts";
export { FourierFTConfig, type FourierFTConfigFields } from "./fourierft.ts";
export { BitFitConfig, type BitFitConfigFields } from "./bitfit.ts";
export { BottleneckConfig, type BottleneckConfigFields } from "./bottleneck.ts";
export { BottleneckAdapter } from "./bottleneck_adapter.ts";
export type { BottleneckOrigin } from "./bottleneck_format.ts";
export { BottleneckLayer } from "./bottleneck_layer.ts";
export { deleteAdapter, injectAdapterInModel, setAdapter, setRequiresGrad } from "./functional.ts";
export { rescaleAdapterScale } from "./scale_adapters.ts";
export { getPeftModelStateDict, setPeftModelStateDict, type SetStateDictOptions } from "./state_dict.ts";
export {
  getLayerStatus,
  getModelStatus,
  type TrainingStatus,
  type TunerLayerStatus,
  type TunerModelStatus,
} from "./status.ts";
export { hotswapAdapter, type HotswapOptions } from "./hotswap.ts";
export { extractLora, type ExtractLoraOptions } from "./extract_lora.ts";
export { TrainableTokensConfig, type TrainableTokensConfigFields } from "./trainable_tokens.ts";
export { type TokenChoice, TrainableTokensLayer } from "./trainable_tokens_layer.ts";
export { TokenAdapter, type TokenIndices } from "./token_adapter.ts";
