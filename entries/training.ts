/**
 * What a page needs that trains adapters and answers with them: the browser bundle `training.js`.
 * @module
 */

export * from "./inference.ts";
export { PeftConfig } from "../peft/files/peft_config.ts";
export { getPeftModel } from "../peft/peft_model.ts";
export { AdamW, DataLoader, TextDataset, Trainer, TrainingArguments } from "../train/mod.ts";
