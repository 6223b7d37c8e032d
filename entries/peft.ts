/**
 * `@peft/webgpu/peft`: every method with its layers, and what works on loaded adapters.
 * @module
 */

export * from "../peft/mod.ts";
export { type AutoPeftModel, AutoPeftModelForCausalLM, type AutoPeftOptions } from "../auto_peft.ts";
