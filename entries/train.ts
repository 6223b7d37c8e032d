/**
 * `@peft/webgpu/train`: optimizers, schedules, data, the Trainer, and plans of memory, with all their types.
 * @module
 */

export * from "../train/mod.ts";
export * from "../plan/mod.ts";
