/**
 * The configuration of LoHa, with the fields and defaults of Hugging Face's `peft` 0.21.
 * @module
 */

import { flag } from "../../options/rules.ts";
import { option } from "../../options/table.ts";
import { MethodConfig, type MethodTable } from "../config/method_config.ts";
import { LYCORIS_OPTIONS, type LycorisFields } from "./lycoris.ts";

/**
 * Fields of a LoHa configuration.
 *
 * @example
 * ```ts
 * import { LoHaConfig } from "@peft/webgpu";
 * import type { LoHaConfigFields } from "@peft/webgpu/peft";
 *
 * const fields: Partial<LoHaConfigFields> = { r: 8, alpha: 8, rankDropout: 0.1, targetModules: ["c_attn"] };
 * console.log(new LoHaConfig(fields).toJSON().rank_dropout); // 0.1
 * ```
 */
export interface LoHaConfigFields extends LycorisFields {
  /** true: w2_b zero, the others uniform in ±1/sqrt(columns). false: all uniform, for tests. Default true. */
  initWeights: boolean;
}

const TABLE: MethodTable<LoHaConfigFields> = {
  method: "loha",
  title: "LoHa",
  peftType: "LOHA",
  options: {
    ...LYCORIS_OPTIONS,
    initWeights: option(true, flag),
  },
  unsupported: { use_effective_conv2d: false },
};

/**
 * A LoHa configuration, with Hugging Face's fields and defaults.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoHaConfig } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoHaConfig({ r: 4, targetModules: ["c_attn"] }));
 * model.printTrainableParameters();
 * ```
 */
export class LoHaConfig extends MethodConfig<LoHaConfigFields> {
  /** "LOHA". */
  readonly peftType = "LOHA";

  /** @internal */
  override get table(): MethodTable<LoHaConfigFields> {
    return TABLE;
  }
}

/**
 * The fields are properties of the class.
 *
 * @example
 * ```ts
 * import { LoHaConfig } from "@peft/webgpu";
 *
 * const config: LoHaConfig = LoHaConfig.fromJSON({ r: 4, alpha: 16, module_dropout: 0.1 });
 * console.log(config.alpha / config.r, config.moduleDropout); // 4 0.1
 * ```
 */
export interface LoHaConfig extends LoHaConfigFields {}
