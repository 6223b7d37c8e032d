/**
 * The configuration of AdaLoRA, with the fields and defaults of Hugging Face's `peft` 0.21.
 * @module
 */

import { flag, integer, number, orNull, refusedAs, type Rule, rule, table } from "../../options/rules.ts";
import { option } from "../../options/table.ts";
import {
  BLOCKWISE_OPTIONS,
  COMMON_OPTIONS,
  MethodConfig,
  type MethodTable,
} from "../config/method_config.ts";
import type { BlockwiseFields } from "../config/peft_config.ts";
import { bias, probability, rank } from "../config/rules.ts";
import { LORA_IGNORED, LORA_UNSUPPORTED } from "../lora/lora_file.ts";

/**
 * Which singular values of each layer are left, by `<path>.lora_E`.
 *
 * @example
 * ```ts
 * import { AdaLoraConfig } from "@peft/webgpu";
 * import type { RankPattern } from "@peft/webgpu/peft";
 *
 * const rankPattern: RankPattern = { "transformer.h.0.attn.c_attn.lora_E": [true, true, false, true] };
 * const config = new AdaLoraConfig({ initR: 4, totalStep: 100, rankPattern });
 * console.log(Object.values(config.rankPattern!).map((left) => left.filter(Boolean).length)); // [ 3 ]: ranks that are left
 * ```
 */
export type RankPattern = Readonly<Record<string, readonly boolean[]>>;

/**
 * Fields of an AdaLoRA configuration.
 *
 * @example
 * ```ts
 * import { AdaLoraConfig } from "@peft/webgpu";
 * import type { AdaLoraConfigFields } from "@peft/webgpu/peft";
 *
 * const budget: Partial<AdaLoraConfigFields> = { initR: 12, targetR: 8, tinit: 100, tfinal: 300, deltaT: 10 };
 * const config = new AdaLoraConfig({ ...budget, totalStep: 1000, targetModules: ["c_attn"] });
 * console.log(config.totalStep! - config.tfinal - config.tinit); // 600 steps in which the ranks fall
 * ```
 */
export interface AdaLoraConfigFields extends BlockwiseFields {
  /** Ranks left at the end, on average over the layers; default 8. */
  targetR: number;
  /** Rank of every layer at the start; default 12. */
  initR: number;
  /** Steps before the budget falls; default 0. */
  tinit: number;
  /** Steps at the end with the budget at its target; default 0. */
  tfinal: number;
  /** Steps between two allocations; default 1. */
  deltaT: number;
  /** Smoothing of importance; default 0.85. */
  beta1: number;
  /** Smoothing of its uncertainty; default 0.85. */
  beta2: number;
  /** Weight of the orthogonality loss; default 0.5. */
  orthRegWeight: number;
  /** Steps of the whole training; required. */
  totalStep: number | null;
  /** What is left of each layer; written by training, default null: everything. */
  rankPattern: RankPattern | null;
  /** Not used, as in `peft`: `initR` is the rank. Default 8. */
  r: number;
  /** Numerator of the scaling; default 8. */
  loraAlpha: number;
  /** Dropout of the adapter's input while training; default 0. */
  loraDropout: number;
  /** Biases of the base that train too: none, all, or those of adapted modules; default "none". */
  bias: "none" | "all" | "lora_only";
  /** true: A and B from N(0, 0.02), E zero. false: all from N(0, 1), for tests. Default true. */
  initLoraWeights: boolean;
  /** Whether weights are stored [in, out]; read from the module. */
  fanInFanOut: boolean;
}

const share: Rule<number> = rule(
  "a number above 0 and below 1",
  (value) => typeof value === "number" && value > 0 && value < 1,
);

const totalStep: Rule<number | null> = refusedAs(
  rule("a positive integer", (value) => Number.isInteger(value) && (value as number) > 0),
  () => "AdaLoRA does not work when `total_step` is None, supply a value > 0.",
);

const orthRegWeight: Rule<number> = refusedAs(
  number(0),
  (name, value) => `\`${name}\` should be greater than or equal to 0, but the value passed is ${value}`,
);

const masks: Rule<RankPattern | null> = orNull(
  table(
    "map names to lists",
    rule<readonly boolean[]>(
      "a list of true and false",
      (value) => Array.isArray(value) && value.every((left) => typeof left === "boolean"),
    ),
  ),
);

const TABLE: MethodTable<AdaLoraConfigFields> = {
  method: "adalora",
  title: "AdaLoRA",
  peftType: "ADALORA",
  options: {
    ...COMMON_OPTIONS,
    initR: option(12, rank, { inSummary: "always" }),
    targetR: option(8, integer(0), { inSummary: "always" }),
    loraAlpha: option(8, number(0), { inSummary: "always" }),
    loraDropout: option(0, probability, { inSummary: "changed" }),
    totalStep: option<number | null>(null, totalStep, { inSummary: "changed" }),
    tinit: option(0, integer(0), { inSummary: "changed" }),
    tfinal: option(0, integer(0), { inSummary: "changed" }),
    deltaT: option(1, integer(1), { key: "deltaT", inSummary: "changed" }),
    beta1: option(0.85, share),
    beta2: option(0.85, share),
    orthRegWeight: option(0.5, orthRegWeight),
    rankPattern: option<RankPattern | null>(null, masks),
    r: option(8, number()),
    bias: option("none", bias("lora_only"), { inSummary: "changed" }),
    initLoraWeights: option(true, flag),
    fanInFanOut: option(false, flag),
    ...BLOCKWISE_OPTIONS,
  },
  unsupported: {
    ...LORA_UNSUPPORTED,
    alpha_pattern: {},
    eva_config: null,
    lora_bias: false,
    trainable_token_indices: null,
    use_dora: false,
    use_rslora: false,
  },
  ignored: LORA_IGNORED,
  check: (fields, refuse) => {
    if (fields.tinit >= fields.totalStep! - fields.tfinal) {
      refuse(
        "The supplied schedule values don't allow for a budgeting phase. Decrease `tfinal`/`tinit` or increase `total_step`.",
      );
    }
    for (const [path, mask] of Object.entries(fields.rankPattern ?? {})) {
      if (mask.length !== fields.initR) {
        refuse(`rank_pattern of "${path}" must be ${fields.initR} (init_r) times true or false`);
      }
    }
    if (fields.r !== 8) {
      console.warn("`r` is not used in AdaLora and will be ignored. Use `initR` for the initial rank.");
    }
  },
};

/**
 * An AdaLoRA configuration, with Hugging Face's fields and defaults.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, AdaLoraConfig } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new AdaLoraConfig({ initR: 12, targetR: 4, totalStep: 100, targetModules: ["c_attn"] }));
 * model.printTrainableParameters();
 * ```
 */
export class AdaLoraConfig extends MethodConfig<AdaLoraConfigFields> {
  /** "ADALORA". */
  readonly peftType = "ADALORA";

  /** @internal */
  override get table(): MethodTable<AdaLoraConfigFields> {
    return TABLE;
  }
}

/**
 * The fields are properties of the class.
 *
 * @example
 * ```ts
 * import { AdaLoraConfig } from "@peft/webgpu";
 *
 * const saved = { init_r: 12, target_r: 4, total_step: 500, target_modules: ["c_attn"] }; // adapter_config.json
 * const { initR, targetR, rankPattern }: AdaLoraConfig = AdaLoraConfig.fromJSON(saved);
 * console.log(initR, targetR, rankPattern); // 12 4 null: nothing was cut yet
 * ```
 */
export interface AdaLoraConfig extends AdaLoraConfigFields {}
