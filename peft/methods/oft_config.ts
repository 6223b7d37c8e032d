/**
 * The configuration of OFT, with the fields and defaults of Hugging Face's `peft` 0.21.
 * @module
 */

import { flag, integer, number } from "../../options/rules.ts";
import { option } from "../../options/table.ts";
import {
  BLOCKWISE_OPTIONS,
  COMMON_OPTIONS,
  type ConfigClass,
  MethodConfig,
  type MethodTable,
} from "../config/method_config.ts";
import { type BlockwiseFields, refuseConfig } from "../config/peft_config.ts";
import { bias, probability } from "../config/rules.ts";

/**
 * Fields of an OFT configuration.
 *
 * @example
 * ```ts
 * import { OFTConfig } from "@peft/webgpu";
 * import type { OFTConfigFields } from "@peft/webgpu/peft";
 *
 * const constrained: Partial<OFTConfigFields> = { coft: true, eps: 1e-4, blockShare: true };
 * console.log(new OFTConfig({ ...constrained, targetModules: ["c_attn"] }).toJSON().coft); // true
 * ```
 */
export interface OFTConfigFields extends BlockwiseFields {
  /** Number of blocks; default 0: by `oftBlockSize`. One of the two is 0. */
  r: number;
  /** Size of a block; default 32. One that does not divide the layer's inputs is moved to the nearest that does. */
  oftBlockSize: number;
  /** Without effect, as in `peft` 0.21, whose forward never applies it; default 0. */
  moduleDropout: number;
  /** Biases of the base that train too: none, all, or those of adapted modules; default "none". */
  bias: "none" | "all" | "oft_only";
  /** true: no rotation at the start. false: entries from N(0, 0.1), for tests. Default true. */
  initWeights: boolean;
  /** Whether every forward first pulls Q back to within `eps` of 0 (constrained OFT); default false. */
  coft: boolean;
  /** Radius of that: eps / sqrt(blocks) for each block; default 6e-5. */
  eps: number;
  /** Whether all blocks of a layer share one rotation; default false. */
  blockShare: boolean;
  /** Whether the rotation is a Neumann series (nearly a rotation) rather than exact; default true. */
  useCayleyNeumann: boolean;
  /** Terms of the series; default 5. */
  numCayleyNeumannTerms: number;
}

const TABLE: MethodTable<OFTConfigFields> = {
  method: "oft",
  title: "OFT",
  peftType: "OFT",
  options: {
    ...COMMON_OPTIONS,
    r: option(0, integer(0), { inSummary: "always" }),
    oftBlockSize: option(32, integer(0), { inSummary: "always" }),
    coft: option(false, flag, { inSummary: "changed" }),
    blockShare: option(false, flag, { inSummary: "changed" }),
    moduleDropout: option(0, probability, { inSummary: "changed" }),
    bias: option("none", bias("oft_only"), { inSummary: "changed" }),
    initWeights: option(true, flag),
    eps: option(6e-5, number(0)),
    useCayleyNeumann: option(true, flag),
    numCayleyNeumannTerms: option(5, integer(1)),
    ...BLOCKWISE_OPTIONS,
  },
  unsupported: { fan_in_fan_out: false },
  check: ({ r, oftBlockSize: size }, refuse) => {
    if (r === 0 && size === 0) {
      refuse("Either `r` or `oft_block_size` must be non-zero. Currently, r = 0 and oft_block_size = 0.");
    }
    if (r !== 0 && size !== 0) {
      refuse(
        `You can only specify either r (${r}) or oft_block_size (${size}), but not both simultaneously, because r x oft_block_size == in_features.`,
      );
    }
  },
};

/**
 * An OFT configuration, with Hugging Face's fields and defaults.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, OFTConfig } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new OFTConfig({ oftBlockSize: 16, targetModules: ["c_attn"] }));
 * model.printTrainableParameters();
 * ```
 */
export class OFTConfig extends MethodConfig<OFTConfigFields> {
  /** "OFT". */
  readonly peftType = "OFT";

  /**
   * The configuration that an `adapter_config.json` holds.
   * @throws {RangeError} for a file of the form before `peft` 0.14, or a value that the method cannot have
   */
  static override fromJSON<C extends MethodConfig>(
    this: ConfigClass<C>,
    json: Readonly<Record<string, unknown>>,
  ): C {
    if (!("oft_block_size" in json)) {
      refuseConfig(
        "oft",
        "OFT has been updated since PEFT 0.14.0: a configuration with oft_block_size is required, retrain the adapter",
      );
    }
    return super.fromJSON.call(this, json) as C;
  }

  /** @internal */
  override get table(): MethodTable<OFTConfigFields> {
    return TABLE;
  }
}

/**
 * The fields are properties of the class.
 *
 * @example
 * ```ts
 * import { OFTConfig } from "@peft/webgpu";
 *
 * const config: OFTConfig = OFTConfig.fromJSON({ r: 0, oft_block_size: 16, use_cayley_neumann: false });
 * console.log(config.oftBlockSize, config.useCayleyNeumann, config.coft); // 16 false false
 * ```
 */
export interface OFTConfig extends OFTConfigFields {}
