/**
 * Preference tuning: DPO and its relatives, KTO, ORPO, CPO and SimPO.
 * @module
 */

export { DPOConfig, type DPOConfigOptions } from "./dpo_config.ts";
export type { DPOLossType, FDivergenceType } from "./dpo_losses.ts";
export { DPOTrainer, type DPOTrainerOptions } from "./dpo_trainer.ts";
export { CPOConfig, type CPOLossType } from "./cpo_config.ts";
export { CPOTrainer, type CPOTrainerOptions } from "./cpo_trainer.ts";
export { KTOConfig, type KTOLossType } from "./kto_config.ts";
export { KTOTrainer, type KTOTrainerOptions } from "./kto_trainer.ts";
export { ORPOConfig } from "./orpo_config.ts";
export { ORPOTrainer, type ORPOTrainerOptions } from "./orpo_trainer.ts";
export type { PreferenceRows, ReadAnswers } from "./answer_dataset.ts";
export type { AnswerExample } from "./answer_dataset.ts";
export { type PairExample, readPairs } from "./pairs.ts";
export { readUnpaired, type UnpairedExample } from "./unpaired.ts";
export type { PreferenceTokenizer, Truncation } from "./answers.ts";
export { PreferenceTrainer, type PreferenceTrainerOptions } from "./preference_trainer.ts";
