/**
 * Training: optimizers, schedules, data, the Trainer.
 * @module
 */

export { AdamW, type AdamWGroup, type AdamWOptions } from "./optimizers/adamw.ts";
export { AdamW8bit } from "./optimizers/adamw_8bit.ts";
export { Adafactor, type AdafactorGroup, type AdafactorOptions } from "./optimizers/adafactor.ts";
export { Lion, type LionGroup, type LionOptions } from "./optimizers/lion.ts";
export { GroupedOptimizer } from "./optimizers/grouped_optimizer.ts";
export { type OptimArgs, OPTIMIZER_NAMES, type OptimizerName } from "./optimizers/table.ts";
export { createLoraplusOptimizer, type LoraplusOptions } from "./optimizers/loraplus.ts";
export { clipGradNorm } from "./optimizers/clip_grad_norm.ts";
export { type GradNorm, gradNorm } from "../autograd/ops/grad_norm.ts";
export { chatExample, type ChatExampleOptions, type ChatTokenizer } from "./data/chat_example.ts";
export { TextDataset, type TextDatasetOptions } from "./data/text_dataset.ts";
export type { Dataset, Example, ExampleList, TextTokenizer } from "./data/example.ts";
export { type DataInput, loadDataset, type LoadDatasetOptions } from "./data/load_dataset.ts";
export { type ExamplePiece, piecesOf } from "./data/pieces.ts";
export { RowDataset, type SkippedRow } from "./data/row_dataset.ts";
export type { FormatName } from "./data/files/formats.ts";
export type { StoppingStrategy } from "./data/mix.ts";
export type { LanguageRow, Message, PreferenceRow, Row, UnpairedRow, Words } from "./data/rows.ts";
export {
  type Batch,
  type DataCollator,
  DataLoader,
  type DataLoaderOptions,
  defaultDataCollator,
} from "./data/data_loader.ts";
export {
  getConstantSchedule,
  getConstantScheduleWithWarmup,
  getCosineScheduleWithWarmup,
  getLinearScheduleWithWarmup,
  getScheduler,
  LRScheduler,
  type LRSchedulerState,
  type SchedulerOptions,
} from "./optimizers/lr_scheduler.ts";
export {
  SCHEDULER_TYPES,
  type SchedulerSettings,
  type SchedulerType,
  type ScheduleShape,
} from "./optimizers/schedules.ts";
export type {
  GroupInput,
  GroupState,
  Optimizer,
  OptimizerGroup,
  OptimizerStateDict,
  ParameterState,
  Params,
  StepOptions,
} from "./optimizers/optimizer.ts";
export { SGD, type SGDGroup, type SGDOptions } from "./optimizers/sgd.ts";
export { packExamples } from "./data/pack.ts";
export { readRunLog, RUN_LOG, type RunEvent, RunLog, type RunLogOptions } from "./reports/run_log.ts";
export { type TokenLoss, tokenLosses, TokenLossSamples } from "./reports/token_losses.ts";
export { TENSORBOARD_FOLDER, TensorBoardLog } from "./reports/tensorboard.ts";
export type { ReportName } from "./reports/report_names.ts";
export { type TrainingFacts, writeTrainingCard } from "./reports/training_card.ts";
export type { TruncationMode } from "./data/truncation.ts";
export { formatProgress, type ProgressDetails } from "./reports/progress.ts";
export { getLastCheckpoint } from "./checkpoint_place.ts";
export { EarlyStoppingCallback, type EarlyStoppingOptions } from "./early_stopping.ts";
export type { ComputeMetrics, EvalPrediction, PreprocessLogits, RowPrediction } from "./metrics.ts";
export type { ModelOutput, TrainableModel } from "./trainable_model.ts";
export { type TrainingStateKeeper, trainingStateKeeper } from "../nn/mod.ts";
export { evaluatePerplexity, type PerplexityOptions, type PerplexityOutput } from "./perplexity.ts";
export { SampleCallback, type SampleOptions, type SampleTokenizer } from "./sample_callback.ts";
export type { EvalOutput } from "./evaluate.ts";
export {
  type ComputedShare,
  GRADIENT_COMPRESSIONS,
  type GradientCompression,
} from "./gradient_compression.ts";
export type { GradientExchange } from "./gradient_exchange.ts";
export { type BatchLoss, type CaptureInputs, MODEL_LOSS, type Objective } from "./objective.ts";
export { withTokenMeasures } from "./token_measures.ts";
export type { AdapterConfigLike } from "./adapter_option.ts";
export { SFTConfig, type SFTDataSettings, type SFTLossType } from "./sft/sft_config.ts";
export { SFTDataset, type SFTDatasetOptions, type SFTDataStats, type SFTRows } from "./sft/sft_dataset.ts";
export type { SFTTokenizer } from "./sft/sft_example.ts";
export { type SFTData, SFTTrainer, type SFTTrainerOptions } from "./sft/sft_trainer.ts";
export type { PackingStrategy } from "./data/pack_plan.ts";
export type { NamesTokenizer } from "./processing_class.ts";
export {
  type ResilientOptions,
  type ResilientOutput,
  resilientTrain,
  type Restart,
} from "./resilient_train.ts";
export type { CallbackInput } from "./callbacks.ts";
export {
  Trainer,
  type TrainerOptions,
  type TrainerTokenizer,
  type TrainOptions,
  type TrainOutput,
} from "./trainer.ts";
export type {
  CallbackExtra,
  CallbackMoment,
  LogEntry,
  Sample,
  TrainerCallback,
  TrainerControl,
  TrainerState,
} from "./trainer_state.ts";
export {
  type HubStrategy,
  type IntervalStrategy,
  type NonFiniteRule,
  type SamplingStrategy,
  TrainingArguments,
} from "./training_arguments.ts";
export * from "./preference/mod.ts";
