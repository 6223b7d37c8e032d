/**
 * The configuration of LN tuning, with the fields and defaults of Hugging Face's `peft` 0.21.
 * @module
 */

import { MethodConfig, type MethodTable, TARGET_OPTIONS } from "../config/method_config.ts";
import type { TargetedFields } from "../config/peft_config.ts";

/**
 * Fields of an LN tuning configuration; without targets, the norms that `peft` takes in the model type train.
 *
 * @example
 * ```ts
 * import { LNTuningConfig } from "@peft/webgpu";
 * import type { LNTuningConfigFields } from "@peft/webgpu/peft";
 *
 * const lastNormOnly: Partial<LNTuningConfigFields> = { targetModules: ["ln_f"] };
 * console.log(new LNTuningConfig(lastNormOnly).toJSON().peft_type); // LN_TUNING
 * ```
 */
export interface LNTuningConfigFields extends TargetedFields {}

const TABLE: MethodTable<LNTuningConfigFields> = {
  method: "ln_tuning",
  title: "LN tuning",
  peftType: "LN_TUNING",
  options: TARGET_OPTIONS,
};

/**
 * An LN tuning configuration, with Hugging Face's fields and defaults.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LNTuningConfig } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LNTuningConfig({}));
 * model.printTrainableParameters();
 * ```
 */
export class LNTuningConfig extends MethodConfig<LNTuningConfigFields> {
  /** "LN_TUNING". */
  readonly peftType = "LN_TUNING";

  /** @internal */
  override get table(): MethodTable<LNTuningConfigFields> {
    return TABLE;
  }
}

/**
 * The fields are properties of the class.
 *
 * @example
 * ```ts
 * import { LNTuningConfig } from "@peft/webgpu";
 *
 * const config: LNTuningConfig = new LNTuningConfig({ targetModules: ["ln_1", "ln_2"] });
 * console.log(config.targetModules, config.modulesToSave); // [ "ln_1", "ln_2" ] null
 * ```
 */
export interface LNTuningConfig extends LNTuningConfigFields {}
