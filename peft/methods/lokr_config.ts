/**
 * The configuration of LoKr, with the fields and defaults of Hugging Face's `peft` 0.21.
 * @module
 */

import { choice, flag, type Rule, rule } from "../../options/rules.ts";
import { option } from "../../options/table.ts";
import { MethodConfig, type MethodTable } from "../config/method_config.ts";
import { LYCORIS_OPTIONS, type LycorisFields } from "./lycoris.ts";

/**
 * Initial values: w1 zero (true), everything uniform (false, for tests), or w2 zero ("lycoris").
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoKrConfig } from "@peft/webgpu";
 * import type { LoKrInit } from "@peft/webgpu/peft";
 *
 * for (const initWeights of [true, "lycoris"] satisfies LoKrInit[]) {
 *   const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 *   const model = getPeftModel(base, new LoKrConfig({ r: 4, initWeights, targetModules: ["c_attn"] }));
 *   const [, w1] = [...model.namedParameters()].find(([name]) => name.includes("lokr_w1"))!;
 *   console.log((await w1.data()).some((value) => value !== 0)); // false, true: the product begins at 0 either way
 * }
 * ```
 */
export type LoKrInit = boolean | "lycoris";

/**
 * Fields of a LoKr configuration.
 *
 * @example
 * ```ts
 * import { LoKrConfig } from "@peft/webgpu";
 * import type { LoKrConfigFields } from "@peft/webgpu/peft";
 *
 * const fields: Partial<LoKrConfigFields> = { r: 8, decomposeFactor: 8, initWeights: "lycoris" };
 * console.log(new LoKrConfig({ ...fields, targetModules: ["c_attn"] }).initWeights); // lycoris
 * ```
 */
export interface LoKrConfigFields extends LycorisFields {
  /** Whether w1 may be of low rank too; default false. */
  decomposeBoth: boolean;
  /** Size by which sides are split if it divides them; -1: as close to a square as possible. Default -1. */
  decomposeFactor: number;
  /** Whether rank dropout scales up what is left; default false. */
  rankDropoutScale: boolean;
  /** Initial values; default true. */
  initWeights: LoKrInit;
}

const decomposeFactor: Rule<number> = rule(
  "-1 or a positive integer",
  (value) => value === -1 || Number.isInteger(value) && (value as number) > 0,
);

const TABLE: MethodTable<LoKrConfigFields> = {
  method: "lokr",
  title: "LoKr",
  peftType: "LOKR",
  options: {
    ...LYCORIS_OPTIONS,
    decomposeBoth: option(false, flag, { inSummary: "changed" }),
    decomposeFactor: option(-1, decomposeFactor, { inSummary: "changed" }),
    rankDropoutScale: option(false, flag),
    initWeights: option<LoKrInit>(true, choice(true, false, "lycoris")),
  },
  unsupported: { use_effective_conv2d: false },
};

/**
 * A LoKr configuration, with Hugging Face's fields and defaults.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoKrConfig } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoKrConfig({ r: 4, targetModules: ["c_attn"] }));
 * model.printTrainableParameters();
 * ```
 */
export class LoKrConfig extends MethodConfig<LoKrConfigFields> {
  /** "LOKR". */
  readonly peftType = "LOKR";

  /** @internal */
  override get table(): MethodTable<LoKrConfigFields> {
    return TABLE;
  }
}

/**
 * The fields are properties of the class.
 *
 * @example
 * ```ts
 * import { LoKrConfig } from "@peft/webgpu";
 *
 * const config: LoKrConfig = LoKrConfig.fromJSON({ r: 8, decompose_factor: 16, decompose_both: true });
 * console.log(config.decomposeFactor, config.decomposeBoth); // 16 true
 * ```
 */
export interface LoKrConfig extends LoKrConfigFields {}
