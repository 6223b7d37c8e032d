/**
 * The configuration of BOFT, with the fields and defaults of Hugging Face's `peft` 0.21.
 * @module
 */

import { flag, integer, refusedAs, type Rule } from "../../options/rules.ts";
import { option } from "../../options/table.ts";
import {
  BLOCKWISE_OPTIONS,
  COMMON_OPTIONS,
  MethodConfig,
  type MethodTable,
} from "../config/method_config.ts";
import type { BlockwiseFields } from "../config/peft_config.ts";
import { bias, probability } from "../config/rules.ts";

/**
 * Fields of a BOFT configuration.
 *
 * @example
 * ```ts
 * import { BOFTConfig } from "@peft/webgpu";
 * import type { BOFTConfigFields } from "@peft/webgpu/peft";
 *
 * const byNumber: Partial<BOFTConfigFields> = { boftBlockNum: 16, boftBlockSize: 0, boftDropout: 0.1, bias: "boft_only" };
 * console.log(new BOFTConfig({ ...byNumber, targetModules: ["c_attn"] }).boftBlockNum); // 16
 * ```
 */
export interface BOFTConfigFields extends BlockwiseFields {
  /** Size of a block; default 4. One of this and `boftBlockNum` is 0. */
  boftBlockSize: number;
  /** Number of blocks; default 0: by `boftBlockSize`. */
  boftBlockNum: number;
  /** Number of butterfly factors; default 1: block-diagonal as in OFT. */
  boftNButterflyFactor: number;
  /** Share of the blocks of one factor that is left out while training, chosen again in each forward; default 0. */
  boftDropout: number;
  /** Biases of the base that train too: none, all, or those of adapted modules; default "none". */
  bias: "none" | "all" | "boft_only";
  /** true: no rotation and scales of 1. false: entries from N(0, 0.1), scales from N(1, 0.1), for tests. Default true. */
  initWeights: boolean;
}

const factors: Rule<number> = refusedAs(
  integer(1),
  (name, value) => `You can only specify ${name} ${value} to be a positive integer number.`,
);

const TABLE: MethodTable<BOFTConfigFields> = {
  method: "boft",
  title: "BOFT",
  peftType: "BOFT",
  options: {
    ...COMMON_OPTIONS,
    boftBlockSize: option(4, integer(0), { inSummary: "always" }),
    boftBlockNum: option(0, integer(0), { inSummary: "always" }),
    boftNButterflyFactor: option(1, factors, { inSummary: "always" }),
    boftDropout: option(0, probability, { inSummary: "changed" }),
    bias: option("none", bias("boft_only"), { inSummary: "changed" }),
    initWeights: option(true, flag),
    ...BLOCKWISE_OPTIONS,
  },
  unsupported: { fan_in_fan_out: false },
  check: ({ boftBlockSize: size, boftBlockNum: count }, refuse) => {
    if (size === 0 && count === 0) {
      refuse(
        "Either `boft_block_size` or `boft_block_num` must be non-zero. Currently, boft_block_size = 0 and boft_block_num = 0.",
      );
    }
    if (size !== 0 && count !== 0) {
      refuse(
        `You can only specify either boft_block_size (${size}) or boft_block_num (${count}), but not both simultaneously, because boft_block_size x boft_block_num == in_features.`,
      );
    }
  },
};

/**
 * A BOFT configuration, with Hugging Face's fields and defaults.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, BOFTConfig, getPeftModel } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new BOFTConfig({ boftBlockSize: 4, targetModules: ["c_attn"] }));
 * model.printTrainableParameters();
 * ```
 */
export class BOFTConfig extends MethodConfig<BOFTConfigFields> {
  /** "BOFT". */
  readonly peftType = "BOFT";

  /** @internal */
  override get table(): MethodTable<BOFTConfigFields> {
    return TABLE;
  }
}

/**
 * The fields are properties of the class.
 *
 * @example
 * ```ts
 * import { BOFTConfig } from "@peft/webgpu";
 *
 * const config: BOFTConfig = BOFTConfig.fromJSON({ boft_block_size: 8, boft_n_butterfly_factor: 2 });
 * console.log(config.boftBlockSize, config.boftNButterflyFactor, config.boftBlockNum); // 8 2 0
 * ```
 */
export interface BOFTConfig extends BOFTConfigFields {}
