/**
 * Every architecture, by the `model_type` of its config.json. A new one is a folder and a line in `ARCHITECTURES`. What a
 * page does not run, it does not load.
 * @module
 */

import type { JsonObject } from "../io/json.ts";
import type { Family } from "./family.ts";
import type { GPT2LMHeadModel } from "./gpt2/model.ts";

/** How an architecture is known, and where its code is. */
export interface Architecture {
  /** Values of `model_type` in config.json. */
  readonly modelTypes: readonly string[];
  /** Whether a config.json without `model_type` is one of its own; default false. */
  readonly readsUntyped?: boolean;
  /** Loads its code. */
  load(): Promise<Family>;
}

/** The architectures. */
export const ARCHITECTURES: readonly Architecture[] = [
  {
    modelTypes: ["gpt2"],
    readsUntyped: true, // its first files have no model_type
    load: async () => (await import("./gpt2/model.ts")).GPT2,
  },
  {
    modelTypes: ["llama", "mistral", "qwen2", "qwen3", "gemma3_text", "smollm3"],
    load: async () => (await import("./llama/model.ts")).LLAMA,
  },
];

/**
 * The class that `fromPretrained` is typed to return where the caller names no other.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import type { DefaultModel } from "@peft/webgpu/model";
 *
 * const model: DefaultModel = await AutoModelForCausalLM.fromPretrained("examples/demo/model"); // no class is named
 * console.log(model.transformer.h.length); // 4: GPT-2's properties are known
 * ```
 */
export type DefaultModel = GPT2LMHeadModel;

/** The architecture of a config.json. @throws {TypeError} naming an unknown one, and those that are known */
export function architectureOf<Known extends Pick<Architecture, "modelTypes" | "readsUntyped">>(
  json: Readonly<JsonObject>,
  architectures: readonly Known[],
): Known {
  const { model_type: type } = json;
  const found = architectures.find(({ modelTypes, readsUntyped }) =>
    type === undefined ? readsUntyped : modelTypes.some((known) => known === type)
  );
  return found ?? refuseType(type, architectures);
}

function refuseType(type: unknown, architectures: readonly Pick<Architecture, "modelTypes">[]): never {
  const known = architectures.flatMap(({ modelTypes }) => modelTypes).map((name) => `"${name}"`);
  throw new TypeError(
    `Cannot load the model: model_type must be ${known.length > 1 ? "one of " : ""}${
      known.join(", ")
    }, received ${type === undefined ? "none" : JSON.stringify(type)}`,
  );
}
