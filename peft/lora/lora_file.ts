/**
 * Entries of LoRA's `adapter_config.json` that are not supported. AdaLoRA's file has them too.
 * @module
 */

/** Those entries, with the values that `peft` writes where they are not used. */
export const LORA_UNSUPPORTED: Readonly<Record<string, unknown>> = {
  alora_invocation_tokens: null,
  arrow_config: null,
  corda_config: null,
  ensure_weight_tying: false,
  kasa_config: null,
  layer_replication: null,
  loftq_config: {},
  lora_ga_config: null,
  megatron_config: null,
  megatron_core: "megatron.core",
  monteclora_config: null,
  qalora_group_size: 16,
  target_parameters: null,
  use_bdlora: null,
  use_qalora: false,
  velora_config: null,
};

/** Those of them that mean nothing by themselves. */
export const LORA_IGNORED: readonly string[] = ["megatron_core", "qalora_group_size"];

/** Whether a LoRA's file is of the form that BitFit writes. */
export function isBitFit(json: Readonly<Record<string, unknown>>): boolean {
  const { r, lora_alpha: alpha, bias, target_modules: targets, alpha_pattern: pattern } = json;
  return json.peft_type === "LORA" && r === 1 && alpha === 0 && bias === "all" &&
    Array.isArray(targets) && targets.length === 1 && Object.keys(pattern ?? {}).length === 0;
}
