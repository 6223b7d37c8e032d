/**
 * Settings of supervised fine-tuning, by TRL's names in camelCase.
 * @module
 */

import { choice, flag, integer, orNull, text } from "../../options/rules.ts";
import { option, type OptionTable } from "../../options/table.ts";
import type { PackingStrategy } from "../data/pack_plan.ts";
import type { TruncationMode } from "../data/truncation.ts";
import { SETTINGS, type SettingsTable, TrainingArguments } from "../training_arguments.ts";

/**
 * The loss of supervised fine-tuning.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, SFTTrainer } from "@peft/webgpu";
 * import type { SFTLossType } from "@peft/webgpu/train";
 *
 * const processingClass = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const trainDataset = [{ text: "Once upon a time there was a dog." }];
 * for (const lossType of ["nll", "dft"] satisfies SFTLossType[]) {
 *   const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 *   const args = { lossType, maxSteps: 1, saveStrategy: "no", reportTo: "none" } as const;
 *   const { trainingLoss } = await new SFTTrainer({ model, processingClass, trainDataset, args }).train();
 *   console.log(lossType, trainingLoss.toFixed(2)); // dft is smaller: each token counts by its probability
 * }
 * ```
 */
export type SFTLossType = "nll" | "dft";

/**
 * What decides how rows become tokens.
 *
 * @example
 * ```ts
 * import { SFTConfig } from "@peft/webgpu";
 * import type { SFTDataSettings } from "@peft/webgpu/train";
 *
 * const rows: Partial<SFTDataSettings> = { datasetTextField: "story", maxLength: 256, packing: true, shuffleDataset: true };
 * const short = new SFTConfig({ ...rows, numTrainEpochs: 1 }), long = new SFTConfig({ ...rows, numTrainEpochs: 3 });
 * console.log(short.maxLength === long.maxLength); // true: both read the rows alike
 * ```
 */
export interface SFTDataSettings {
  /** The column of texts, for rows in memory. Default "text". */
  datasetTextField: string;
  /** Text of the token that ends texts and completions; null: the tokenizer's own. Default null. */
  eosToken: string | null;
  /** Text of the token that fills short rows; null: the tokenizer's own, else the one that ends texts. Default null. */
  padToken: string | null;
  /** Tokens of a row, at most (and no more than the model has positions for); null: no other limit. Default 1024. */
  maxLength: number | null;
  /** Which end of a longer row is kept. Default "keep_start". */
  truncationMode: TruncationMode;
  /** Mix the rows once before they are packed. Default false. */
  shuffleDataset: boolean;
  /** Put several examples into one row of `maxLength` tokens. Default false. */
  packing: boolean;
  /** How: see `PackingStrategy`. Default "bfd". */
  packingStrategy: PackingStrategy;
  /** Whether evaluation rows are packed; null: as `packing` says. Default null. */
  evalPacking: boolean | null;
  /** Rows are padded to a multiple of this; null: to the longest of their batch. Default null. */
  padToMultipleOf: number | null;
  /** Whether prompts are read alone; null: where rows have a prompt and a completion. Default null. */
  completionOnlyLoss: boolean | null;
  /**
   * Learn what the assistant says alone, with the token that ends it: as the chat template marks it with
   * `{% generation %}`, else as rendering the conversation up to each answer shows. null (not one of TRL's): so in
   * conversations, where true refuses rows that are none. Default false.
   */
  assistantOnlyLoss: boolean | null;
  /**
   * Put texts one after another into rows of `maxLength` tokens, cut where a row is full, as language modelling has them
   * (`run_clm.py`); rows of other forms are as without it. (Not one of TRL's.) Default false.
   */
  textBlocks: boolean;
}

/** @internal The settings beside those of `TrainingArguments`. */
export const SFT_DATA_SETTINGS: OptionTable<SFTDataSettings> = {
  datasetTextField: option("text", text),
  eosToken: option<string | null>(null, orNull(text)),
  padToken: option<string | null>(null, orNull(text)),
  maxLength: option<number | null>(1024, orNull(integer(2))),
  truncationMode: option<TruncationMode>("keep_start", choice("keep_start", "keep_end")),
  shuffleDataset: option(false, flag),
  packing: option(false, flag),
  packingStrategy: option<PackingStrategy>("bfd", choice("bfd", "bfd_split", "wrapped")),
  evalPacking: option<boolean | null>(null, orNull(flag)),
  padToMultipleOf: option<number | null>(null, orNull(integer(1))),
  completionOnlyLoss: option<boolean | null>(null, orNull(flag)),
  assistantOnlyLoss: option<boolean | null>(false, orNull(flag)),
  textBlocks: option(false, flag),
};

/** @internal Every setting of `SFTConfig`: TRL's, with its defaults. */
export const SFT_SETTINGS: SettingsTable & OptionTable<SFTDataSettings> & {
  readonly lossType: OptionTable<{ lossType: SFTLossType }>["lossType"];
} = {
  ...SETTINGS,
  learningRate: { ...SETTINGS.learningRate, default: 2e-5 },
  loggingSteps: { ...SETTINGS.loggingSteps, default: 10 },
  gradientCheckpointing: { ...SETTINGS.gradientCheckpointing, default: true },
  ...SFT_DATA_SETTINGS,
  lossType: option<SFTLossType>("nll", choice("nll", "dft")),
};

/**
 * Settings of `SFTTrainer`: those of `TrainingArguments`, where `learningRate` is 2e-5, `loggingSteps` 10 and
 * `gradientCheckpointing` true by default, and TRL 1.16's own.
 *
 * @example
 * ```ts
 * import { SFTConfig } from "@peft/webgpu";
 *
 * const args = new SFTConfig({ outputDir: "out/sft", maxLength: 512, packing: true, numTrainEpochs: 2 });
 * console.log(args.learningRate); // 2e-5
 * ```
 */
export class SFTConfig extends TrainingArguments implements SFTDataSettings {
  /** The column of texts, for rows in memory. Default "text". */
  declare datasetTextField: string;
  /** Text of the token that ends texts and completions; null: the tokenizer's own. Default null. */
  declare eosToken: string | null;
  /** Text of the token that fills short rows; null: the tokenizer's own, else the one that ends texts. Default null. */
  declare padToken: string | null;
  /** Tokens of a row, at most (and no more than the model has positions for); null: no other limit. Default 1024. */
  declare maxLength: number | null;
  /** Which end of a longer row is kept. Default "keep_start". */
  declare truncationMode: TruncationMode;
  /** Mix the rows once before they are packed. Default false. */
  declare shuffleDataset: boolean;
  /** Put several examples into one row of `maxLength` tokens. Default false. */
  declare packing: boolean;
  /** How examples are packed. Default "bfd". */
  declare packingStrategy: PackingStrategy;
  /** Whether evaluation rows are packed; null: as `packing` says. Default null. */
  declare evalPacking: boolean | null;
  /** Rows are padded to a multiple of this; null: to the longest of their batch. Default null. */
  declare padToMultipleOf: number | null;
  /** Whether prompts are read alone; null: where rows have a prompt and a completion. Default null. */
  declare completionOnlyLoss: boolean | null;
  /** Learn what the assistant says alone, with the token that ends it; null: in conversations. Default false. */
  declare assistantOnlyLoss: boolean | null;
  /** Put texts one after another into rows of `maxLength` tokens. (Not one of TRL's.) Default false. */
  declare textBlocks: boolean;
  /** "nll", the negative log-likelihood, or "dft", which weighs each token by its probability. Default "nll". */
  declare lossType: SFTLossType;

  /**
   * Defaults, with the given options in their place.
   * @throws {RangeError} for a value out of range @throws {TypeError} for a name that is no setting
   */
  constructor(options: Partial<SFTConfig> = {}) {
    super(options);
  }

  /** @internal Every setting of this class. */
  override get settings(): typeof SFT_SETTINGS {
    return SFT_SETTINGS;
  }
}
