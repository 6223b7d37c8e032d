/**
 * Parameter-efficient fine-tuning: adapters on any module tree.
 * @module
 */

export type { PeftConfig, PeftConfigFields } from "./config.ts";
export { LoraConfig, type LoraConfigFields, type LoraInit } from "./lora.ts";
export { getPeftModel, PeftModel } from "./peft_model.ts";
export { NoMatchingModuleError } from "./targets.ts";
