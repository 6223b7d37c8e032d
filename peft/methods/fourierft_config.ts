/**
 * The configuration of FourierFT, with the fields and defaults of Hugging Face's `peft` 0.21.
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
import { bias, rank, rankTable } from "../config/rules.ts";

/**
 * Fields of a FourierFT configuration.
 *
 * @example
 * ```ts
 * import { FourierFTConfig } from "@peft/webgpu";
 * import type { FourierFTConfigFields } from "@peft/webgpu/peft";
 *
 * const fields: Partial<FourierFTConfigFields> = { nFrequency: 1000, nFrequencyPattern: { c_proj: 500 }, scaling: 100 };
 * console.log(new FourierFTConfig({ ...fields, targetModules: ["c_attn", "c_proj"] }).nFrequencyPattern); // { c_proj: 500 }
 * ```
 */
export interface FourierFTConfigFields extends BlockwiseFields {
  /** Trained entries of each layer's spectrum; default 1000. */
  nFrequency: number;
  /** Factor of the change; default 150. */
  scaling: number;
  /** Seed of the entries' places; default 777. */
  randomLocSeed: number;
  /** Whether weights are stored [in, out]; read from the module. */
  fanInFanOut: boolean;
  /** Biases of the base that train too: none, all, or those of adapted modules; default "none". */
  bias: "none" | "all" | "fourier_only";
  /** Entries of modules whose name ends, after a dot, in what matches a pattern; default {}. */
  nFrequencyPattern: Readonly<Record<string, number>>;
  /** false (default): entries from N(0, 1). true: zeros, so that a fresh adapter changes nothing. */
  initWeights: boolean;
}

const TABLE: MethodTable<FourierFTConfigFields> = {
  method: "fourierft",
  title: "FourierFT",
  peftType: "FOURIERFT",
  options: {
    ...COMMON_OPTIONS,
    nFrequency: option(1000, rank, { inSummary: "always" }),
    scaling: option(150, number(), { inSummary: "always" }),
    randomLocSeed: option(777, integer(0)),
    nFrequencyPattern: option({}, rankTable, { inSummary: "changed" }),
    bias: option("none", bias("fourier_only"), { inSummary: "changed" }),
    initWeights: option(false, flag),
    fanInFanOut: option(false, flag),
    ...BLOCKWISE_OPTIONS,
  },
};

/**
 * A FourierFT configuration, with Hugging Face's fields and defaults.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, FourierFTConfig, getPeftModel } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new FourierFTConfig({ nFrequency: 100, targetModules: ["c_attn"] }));
 * model.printTrainableParameters();
 * ```
 */
export class FourierFTConfig extends MethodConfig<FourierFTConfigFields> {
  /** "FOURIERFT". */
  readonly peftType = "FOURIERFT";

  /** @internal */
  override get table(): MethodTable<FourierFTConfigFields> {
    return TABLE;
  }
}

/**
 * The fields are properties of the class.
 *
 * @example
 * ```ts
 * import { FourierFTConfig } from "@peft/webgpu";
 *
 * const config: FourierFTConfig = FourierFTConfig.fromJSON({ n_frequency: 3000, random_loc_seed: 1 });
 * console.log(config.nFrequency, config.scaling); // 3000 150
 * ```
 */
export interface FourierFTConfig extends FourierFTConfigFields {}
