/**
 * `@peft/webgpu/train`: optimizers, schedules, data, and the Trainer with all its types.
 * @module
 */

export * from "../train/mod.ts";
