/**
 * Every public name in one module: what the browser bundle is made of.
 * @module
 */

export * from "./gguf.ts";
export * from "./gpu.ts";
export * from "./hub.ts";
export * from "./io.ts";
export * from "./model.ts";
export * from "./peft.ts";
export * from "./tensor.ts";
export * from "./train.ts";
export * from "./tuning.ts";
export { VERSION } from "../autograd/mod.ts";
