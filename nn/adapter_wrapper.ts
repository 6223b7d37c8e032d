/**
 * How a model gets an adapter from a configuration. `peft/` says how, `train/` asks; neither imports the other.
 * @module
 */

/**
 * What tells a configuration of an adapter: the name of its method in files, such as "LORA".
 *
 * @example
 * ```ts
 * import { LoraConfig, PromptTuningConfig } from "@peft/webgpu";
 * import type { AdapterConfigLike } from "@peft/webgpu/train";
 *
 * const candidates: AdapterConfigLike[] = [new LoraConfig({ r: 4 }), new PromptTuningConfig({ numVirtualTokens: 8 })];
 * console.log(candidates.map(({ peftType }) => peftType)); // [ "LORA", "PROMPT_TUNING" ]: peftConfig of SFTTrainer takes any
 * ```
 */
export interface AdapterConfigLike {
  /** Such as "LORA". */
  readonly peftType: string;
}

type Wrap = (model: unknown, config: AdapterConfigLike) => unknown;

let wrap: Wrap | null = null;

/** @internal Says how a model is wrapped. */
export function provideAdapterWrapper(given: Wrap): void {
  wrap = given;
}

/**
 * A model with an adapter that trains.
 * @throws {TypeError} for what is no configuration, and where the model has adapters already
 */
export function wrapWithAdapter<Model>(action: string, model: Model, config: AdapterConfigLike): Model {
  if (wrap === null || typeof (config as Partial<AdapterConfigLike> | null)?.peftType !== "string") {
    throw new TypeError(
      `Cannot ${action}: peftConfig must be the configuration of an adapter, such as new LoraConfig(), received ${
        config === null ? "null" : typeof config
      }`,
    );
  }
  return wrap(model, config) as Model;
}
