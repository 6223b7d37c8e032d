/**
 * The configuration of VeRA, with the fields and defaults of Hugging Face's `peft` 0.21.
 * @module
 */

import { flag, integer, number } from "../../options/rules.ts";
import { option } from "../../options/table.ts";
import {
  BLOCKWISE_OPTIONS,
  COMMON_OPTIONS,
  MethodConfig,
  type MethodTable,
} from "../config/method_config.ts";
import type { BlockwiseFields } from "../config/peft_config.ts";
import { bias, probability, rank } from "../config/rules.ts";

/**
 * Fields of a VeRA configuration; `peft` has no exclude_modules here.
 *
 * @example
 * ```ts
 * import { VeraConfig } from "@peft/webgpu";
 * import type { VeraConfigFields } from "@peft/webgpu/peft";
 *
 * const fields: Partial<VeraConfigFields> = { r: 128, dInitial: 0.01, veraDropout: 0.05, layersToTransform: [10, 11] };
 * console.log(new VeraConfig({ ...fields, targetModules: ["c_attn"] }).dInitial); // 0.01
 * ```
 */
export interface VeraConfigFields extends Omit<BlockwiseFields, "excludeModules"> {
  /** Rank; default 256. */
  r: number;
  /** Seed of A and B; default 0. */
  projectionPrngKey: number;
  /** Whether A and B are in the file; default true. */
  saveProjection: boolean;
  /** Dropout of the adapter's input while training; default 0. */
  veraDropout: number;
  /** Initial value of lambda_d; default 0.1. */
  dInitial: number;
  /** Whether weights are stored [in, out]; read from the module. */
  fanInFanOut: boolean;
  /** Biases of the base that train too: none, all, or those of adapted modules; default "none". */
  bias: "none" | "all" | "vera_only";
  /** true: lambda_b zero, lambda_d `dInitial`. false: ones and N(0, 1), for tests. Default true. */
  initWeights: boolean;
}

const { excludeModules: _, ...WITHOUT_EXCLUDE } = BLOCKWISE_OPTIONS;

const TABLE: MethodTable<VeraConfigFields> = {
  method: "vera",
  title: "VeRA",
  peftType: "VERA",
  options: {
    ...COMMON_OPTIONS,
    r: option(256, rank, { inSummary: "always" }),
    veraDropout: option(0, probability, { inSummary: "changed" }),
    projectionPrngKey: option(0, integer(0), { inSummary: "changed" }),
    saveProjection: option(true, flag),
    dInitial: option(0.1, number()),
    fanInFanOut: option(false, flag),
    bias: option("none", bias("vera_only"), { inSummary: "changed" }),
    initWeights: option(true, flag),
    ...WITHOUT_EXCLUDE,
  },
};

/**
 * A VeRA configuration, with Hugging Face's fields and defaults.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, VeraConfig } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new VeraConfig({ r: 64, targetModules: ["c_attn"] }));
 * model.printTrainableParameters();
 * ```
 */
export class VeraConfig extends MethodConfig<VeraConfigFields> {
  /** "VERA". */
  readonly peftType = "VERA";

  /** @internal */
  override get table(): MethodTable<VeraConfigFields> {
    return TABLE;
  }
}

/**
 * The fields are properties of the class.
 *
 * @example
 * ```ts
 * import { VeraConfig } from "@peft/webgpu";
 *
 * const config: VeraConfig = VeraConfig.fromJSON({ r: 64, projection_prng_key: 7, save_projection: false });
 * console.log(config.r, config.projectionPrngKey, config.saveProjection); // 64 7 false: A and B follow from the seed
 * ```
 */
export interface VeraConfig extends VeraConfigFields {}
