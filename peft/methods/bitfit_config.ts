/**
 * The configuration of BitFit, whose files are those of a LoRA that changes nothing but biases.
 * @module
 */

import { flag, orNull, text } from "../../options/rules.ts";
import { option } from "../../options/table.ts";
import {
  COMMON_OPTIONS,
  type ConfigClass,
  MethodConfig,
  type MethodTable,
  TARGET_OPTIONS,
} from "../config/method_config.ts";
import type { PeftConfigFields } from "../config/peft_config.ts";
import { LoraConfig } from "../lora/lora_config.ts";

/**
 * Fields of a BitFit configuration.
 *
 * @example
 * ```ts
 * import { BitFitConfig } from "@peft/webgpu";
 * import type { BitFitConfigFields } from "@peft/webgpu/peft";
 *
 * const fields: Partial<BitFitConfigFields> = { carrier: "transformer.h.0.attn.c_attn", baseModelNameOrPath: "gpt2" };
 * console.log(new BitFitConfig(fields).toJSON().bias); // all: Python loads it as a LoRA whose biases train
 * ```
 */
export interface BitFitConfigFields extends PeftConfigFields {
  /** Modules trained and saved whole; default null. */
  modulesToSave: readonly string[] | null;
  /** Path of the layer that is LoRA's in the file; default null: the first one with a weight matrix. */
  carrier: string | null;
  /** Whether the carrier's weight is stored [in, out]; read from the module. */
  fanInFanOut: boolean;
}

const TABLE: MethodTable<BitFitConfigFields> = {
  method: "bitfit",
  title: "BitFit",
  peftType: "BITFIT",
  options: {
    ...COMMON_OPTIONS,
    modulesToSave: TARGET_OPTIONS.modulesToSave,
    carrier: option(null, orNull(text)),
    fanInFanOut: option(false, flag),
  },
};

/**
 * A BitFit configuration.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, BitFitConfig, getPeftModel } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new BitFitConfig({}));
 * model.printTrainableParameters();
 * ```
 */
export class BitFitConfig extends MethodConfig<BitFitConfigFields> {
  /** "BITFIT" here; files say "LORA". */
  readonly peftType = "BITFIT";

  /** @internal */
  override get table(): MethodTable<BitFitConfigFields> {
    return TABLE;
  }

  /** The configuration of an `adapter_config.json` that `isBitFit`. */
  static override fromJSON<C extends MethodConfig>(
    this: ConfigClass<C>,
    json: Readonly<Record<string, unknown>>,
  ): C {
    const { targetModules, ...lora } = LoraConfig.fromJSON(json);
    const names = Object.keys(TABLE.options) as (keyof BitFitConfigFields & keyof typeof lora)[];
    const kept = names.filter((name) => name in lora).map((name) => [name, lora[name]]);
    return new this({ ...Object.fromEntries(kept), carrier: (targetModules as string[])[0] } as never);
  }

  /** The entries of `adapter_config.json`: those of the LoRA it is written as. */
  override toJSON(): Record<string, unknown> {
    const { carrier, modulesToSave, fanInFanOut } = this;
    const { taskType, inferenceMode, baseModelNameOrPath, revision } = this;
    return new LoraConfig({
      ...{ taskType, inferenceMode, baseModelNameOrPath, revision, modulesToSave, fanInFanOut },
      ...{ r: 1, loraAlpha: 0, bias: "all", targetModules: carrier === null ? null : [carrier] },
    }).toJSON();
  }
}

/**
 * The fields are properties of the class.
 *
 * @example
 * ```ts
 * import { BitFitConfig } from "@peft/webgpu";
 *
 * const config: BitFitConfig = new BitFitConfig({ modulesToSave: ["ln_f"] }); // biases, and the last norm whole
 * console.log(config.modulesToSave, config.carrier); // [ "ln_f" ] null
 * ```
 */
export interface BitFitConfig extends BitFitConfigFields {}
