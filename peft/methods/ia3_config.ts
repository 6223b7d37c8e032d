/**
 * The configuration of (IA)^3, with the fields and defaults of Hugging Face's `peft` 0.21.
 * @module
 */

import { flag } from "../../options/rules.ts";
import { option } from "../../options/table.ts";
import { COMMON_OPTIONS, MethodConfig, type MethodTable, TARGET_OPTIONS } from "../config/method_config.ts";
import type { TargetedFields } from "../config/peft_config.ts";
import { names } from "../config/rules.ts";

/**
 * Fields of an (IA)^3 configuration.
 *
 * @example
 * ```ts
 * import { IA3Config } from "@peft/webgpu";
 * import type { IA3ConfigFields } from "@peft/webgpu/peft";
 *
 * const fields: Partial<IA3ConfigFields> = { targetModules: ["k_proj", "v_proj", "down_proj"] }; // Llama's
 * const config = new IA3Config({ ...fields, feedforwardModules: ["down_proj"] }); // here the inputs are scaled
 * console.log(config.toJSON().feedforward_modules); // [ "down_proj" ]
 * ```
 */
export interface IA3ConfigFields extends TargetedFields {
  /** Those of them whose inputs are scaled; null: with default targets the last projection of the MLP, else none. */
  feedforwardModules: readonly string[] | string | null;
  /** Whether weights are stored [in, out]; read from the module. */
  fanInFanOut: boolean;
  /** Start with factors of 1; false draws them from N(0, 1), for tests. Default true. */
  initIa3Weights: boolean;
}

const TABLE: MethodTable<IA3ConfigFields> = {
  method: "ia3",
  title: "(IA)^3",
  peftType: "IA3",
  options: {
    ...COMMON_OPTIONS,
    feedforwardModules: option(null, names("pattern"), { inSummary: "changed" }),
    fanInFanOut: option(false, flag),
    initIa3Weights: option(true, flag),
    ...TARGET_OPTIONS,
  },
  check: ({ targetModules: targets, feedforwardModules: feedforward }, refuse) => {
    if (!Array.isArray(targets) || !Array.isArray(feedforward)) return;
    if (!feedforward.every((name) => targets.includes(name))) {
      refuse("`feedforward_modules` should be a subset of `target_modules`");
    }
  },
};

/**
 * An (IA)^3 configuration, with Hugging Face's fields and defaults.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, IA3Config } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new IA3Config({ targetModules: ["c_attn", "c_fc"], feedforwardModules: ["c_fc"] }));
 * model.printTrainableParameters();
 * ```
 */
export class IA3Config extends MethodConfig<IA3ConfigFields> {
  /** "IA3". */
  readonly peftType = "IA3";

  /** @internal */
  override get table(): MethodTable<IA3ConfigFields> {
    return TABLE;
  }
}

/**
 * The fields are properties of the class.
 *
 * @example
 * ```ts
 * import { IA3Config } from "@peft/webgpu";
 *
 * const saved = { target_modules: ["c_attn", "mlp.c_proj"], feedforward_modules: ["mlp.c_proj"] };
 * const config: IA3Config = IA3Config.fromJSON(saved);
 * console.log(config.feedforwardModules, config.initIa3Weights); // [ "mlp.c_proj" ] true
 * ```
 */
export interface IA3Config extends IA3ConfigFields {}
