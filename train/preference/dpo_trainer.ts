/**
 * Direct preference optimization (Rafailov et al. 2023, arXiv:2305.18290) and its relatives, as TRL's `DPOTrainer`.
 * @module
 */

import { checkOptions } from "../../options/names.ts";
import { withAdapter } from "../adapter_option.ts";
import { oneTokenizer } from "../processing_class.ts";
import { checkModel, type TrainableModel } from "../trainable_model.ts";
import { DPOConfig, type DPOConfigOptions } from "./dpo_config.ts";
import { DPOObjective } from "./dpo_objective.ts";
import { pairCollator, type PairExample, readPairs } from "./pairs.ts";
import {
  padTokenOf,
  PREFERENCE_OPTIONS,
  PreferenceTrainer,
  type PreferenceTrainerOptions,
} from "./preference_trainer.ts";
import { referenceOf } from "./reference.ts";

/**
 * Options of `DPOTrainer`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, DPOTrainer, LoraConfig } from "@peft/webgpu";
 * import type { DPOTrainerOptions } from "@peft/webgpu/train";
 *
 * const options: DPOTrainerOptions = {
 *   model: await AutoModelForCausalLM.fromPretrained("examples/demo/model"),
 *   processingClass: await AutoTokenizer.fromPretrained("examples/demo/model"),
 *   peftConfig: new LoraConfig({ targetModules: ["c_attn"] }), // without the adapter, the model is its own reference
 *   trainDataset: [{ prompt: "The sea", chosen: " be calm, arr.", rejected: " is calm." }],
 *   args: { maxSteps: 1, beta: 0.2, reportTo: "none" },
 * };
 * await new DPOTrainer(options).train();
 * ```
 */
export interface DPOTrainerOptions extends PreferenceTrainerOptions<DPOConfig | DPOConfigOptions> {
  /**
   * What the policy is held to. Default: the model's adapter "ref" if it has one, else the model without its adapters. A
   * model without adapters needs one, or `precomputeRefLogProbs`.
   */
  refModel?: TrainableModel;
}

/**
 * Trains a model on pairs of answers, the better and the worse. Rows are `{ prompt, chosen, rejected }`, texts or
 * messages; without `prompt`, both answers begin with it. They may be token ids: `promptIds`, `chosenIds`, `rejectedIds`.
 * Logs and evaluations have `rewards/chosen`, `rewards/rejected`, `rewards/accuracies` (the fraction of pairs whose better
 * answer gains more over the reference), `rewards/margins`, `logps/chosen` and `logps/rejected`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, DPOTrainer, getPeftModel, loadDataset, LoraConfig } from "@peft/webgpu";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("HuggingFaceTB/SmolLM2-135M-Instruct");
 * const base = await AutoModelForCausalLM.fromPretrained("HuggingFaceTB/SmolLM2-135M-Instruct");
 * const model = getPeftModel(base, new LoraConfig({ r: 8, loraAlpha: 16, targetModules: ["q_proj", "v_proj"] }));
 * const trainer = new DPOTrainer({
 *   model,
 *   tokenizer,
 *   trainDataset: await loadDataset("pairs.jsonl"), // { "prompt": …, "chosen": …, "rejected": … } on each line
 *   args: { outputDir: "out", learningRate: 5e-5, numTrainEpochs: 2 },
 * });
 * await trainer.train();
 * await trainer.saveModel();
 * ```
 */
export class DPOTrainer extends PreferenceTrainer<PairExample> {
  /**
   * Does nothing to the model yet.
   * @throws {RangeError} for settings out of range
   * @throws {TypeError} for an option that does not exist, and where there is nothing to be the reference
   */
  constructor(given: DPOTrainerOptions) {
    checkOptions("make a DPO trainer", given, [...PREFERENCE_OPTIONS, "refModel"]);
    checkModel("make a DPO trainer", given.model);
    const args = given.args instanceof DPOConfig ? given.args : new DPOConfig(given.args);
    const options = withAdapter("make a DPO trainer", oneTokenizer("make a DPO trainer", given));
    const { model, refModel, tokenizer } = options;
    const { precomputeRefLogProbs, precomputeRefBatchSize: batchSize, maxLength, truncationMode } = args;
    const reference = referenceOf("make a DPO trainer", model, refModel, precomputeRefLogProbs);
    const objective = new DPOObjective(args, reference);
    super(options, {
      args,
      objective,
      read: readPairs(tokenizer, { maxLength, truncationMode }),
      collate: pairCollator(padTokenOf(tokenizer)),
      precompute: precomputeRefLogProbs
        ? { of: (batch) => objective.referenceLogProbs(batch), batchSize, isFixed: reference.isFixed }
        : null,
    });
  }
}
