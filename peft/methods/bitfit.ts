/**
 * BitFit (Ben Zaken et al. 2022, arXiv:2106.10199): every bias of the model trains, and nothing else.
 *
 * `peft` has no such method. What its LoRA computes with `bias="all"` and an alpha of 0 is the same, so that is what the
 * file says: a LoRA of rank 1 and alpha 0 in one layer (the carrier), whose factors change nothing, and all biases. Python
 * loads it, trains the biases on, and files of this form load here. Unlike LoRA's biases, each adapter has its own: several
 * can stand beside each other, and without them the base is the base, bit for bit.
 * @module
 */

import { Conv1D, LayerNorm, Linear, type Module } from "../../nn/mod.ts";
import { type BiasedLayer, BitFitCarrier, BitFitLayer } from "./bitfit_layer.ts";
import { checkNames } from "../checks.ts";
import { COMMON_DEFAULTS, completeFields, type PeftConfig, type PeftConfigFields } from "../config.ts";
import { LoraConfig } from "../lora/lora_config.ts";
import type { PeftMethod } from "../method.ts";

/** Fields of a BitFit configuration. */
export interface BitFitConfigFields extends PeftConfigFields {
  /** Modules trained and saved whole; default null. */
  modulesToSave: readonly string[] | null;
  /** Path of the layer that is LoRA's in the file; default null: the first one with a weight matrix. */
  carrier: string | null;
  /** Whether the carrier's weight is stored [in, out]; told from the module. */
  fanInFanOut: boolean;
}

const DEFAULTS: BitFitConfigFields = {
  ...COMMON_DEFAULTS,
  modulesToSave: null,
  carrier: null,
  fanInFanOut: false,
};

/** A BitFit configuration. */
export class BitFitConfig implements PeftConfig {
  /** "BITFIT" here; files say "LORA". */
  readonly peftType = "BITFIT";

  /** Missing fields take their defaults. @throws {RangeError} for a value outside its range */
  constructor(fields: Partial<BitFitConfigFields> = {}) {
    const all = completeFields("bitfit", fields, DEFAULTS);
    checkNames("bitfit", "modules_to_save", all.modulesToSave, false);
    Object.assign(this, all);
  }

  /** The configuration of an `adapter_config.json` that `isBitFit`. */
  static fromJSON(json: Readonly<Record<string, unknown>>): BitFitConfig {
    const { targetModules, ...lora } = LoraConfig.fromJSON(json);
    const names = Object.keys(DEFAULTS) as (keyof BitFitConfigFields)[];
    const kept = names.filter((name) => name in lora).map((name) => [name, lora[name as keyof typeof lora]]);
    return new BitFitConfig({ ...Object.fromEntries(kept), carrier: (targetModules as string[])[0] });
  }

  /** The fields of `adapter_config.json`: those of the LoRA it stands for. */
  toJSON(): Record<string, unknown> {
    const { carrier, modulesToSave, fanInFanOut } = this;
    const { taskType, inferenceMode, baseModelNameOrPath, revision } = this;
    return new LoraConfig({
      ...{ taskType, inferenceMode, baseModelNameOrPath, revision, modulesToSave, fanInFanOut },
      ...{ r: 1, loraAlpha: 0, bias: "all", targetModules: carrier === null ? null : [carrier] },
    }).toJSON();
  }
}

/** The fields are properties of the class. */
export interface BitFitConfig extends BitFitConfigFields {}

/** Whether a LoRA's file is of the form that BitFit writes. */
export function isBitFit(json: Readonly<Record<string, unknown>>): boolean {
  const { r, lora_alpha: alpha, bias, target_modules: targets, alpha_pattern: pattern } = json;
  return json.peft_type === "LORA" && r === 1 && alpha === 0 && bias === "all" &&
    Array.isArray(targets) && targets.length === 1 && Object.keys(pattern ?? {}).length === 0;
}

/** BitFit, for the registry. */
export const bitfit: PeftMethod<BitFitConfig> = {
  name: "bitfit",
  defaultTargets: (modelType) =>
    modelType === "gpt2" ? ["ln_1", "c_attn", "c_proj", "ln_2", "c_fc", "ln_f"] : null,
  configFromJSON: (json) => BitFitConfig.fromJSON(json),
  companion: (config, targets, { device }) => new BitFitCarrier(config.carrier, targets, device),
  supports: (module: Module) =>
    module instanceof LayerNorm || module instanceof Conv1D || module instanceof BitFitLayer ||
    (module instanceof Linear && module.bias !== null),
  wrap: (module, state) => new BitFitLayer(module as BiasedLayer, state),
};
