/**
 * The configuration of bottleneck adapters, with the fields and defaults of AdapterHub's `adapters` 1.x.
 * @module
 */

import { ACTIVATION_NAMES } from "../../nn/mod.ts";
import { choice, flag, integer, orNull, refusedAs, type Rule, rule } from "../../options/rules.ts";
import { option } from "../../options/table.ts";
import { COMMON_OPTIONS, type ConfigClass, MethodConfig, type MethodTable } from "../config/method_config.ts";
import { type PeftConfigFields, refuseConfig } from "../config/peft_config.ts";
import { probability } from "../config/rules.ts";
import { type BottleneckOrigin, readHubConfig, writeHubConfig } from "./hub_config.ts";

/**
 * Fields of a bottleneck configuration, AdapterHub's.
 *
 * @example
 * ```ts
 * import { BottleneckConfig } from "@peft/webgpu";
 * import type { BottleneckConfigFields } from "@peft/webgpu/peft";
 *
 * const fields: Partial<BottleneckConfigFields> = {
 *   reductionFactor: { "11": 4, default: 16 }, // wider in the last block of GPT-2
 *   leaveOut: [0, 1],
 * };
 * console.log(BottleneckConfig.named("seq_bn", fields).leaveOut); // [ 0, 1 ]
 * ```
 */
export interface BottleneckConfigFields extends PeftConfigFields {
  /** Adapters after the attention of each block. */
  mhAdapter: boolean;
  /** Adapters after (or beside) the MLP of each block. */
  outputAdapter: boolean;
  /** Width of the model over that of the bottleneck; or by number of the block, with "default". Below 1 it widens. */
  reductionFactor: number | Readonly<Record<string, number>>;
  /** The activation between the projections: "relu", "gelu", "gelu_new", "silu", "swish", "tanh", "leakyrelu", … */
  nonLinearity: string;
  /** Add the residual stream before the adapter; default true for `seq_bn`. */
  originalLnBefore: boolean;
  /** Add the residual stream after the adapter; default true. */
  originalLnAfter: boolean;
  /** A layer norm of the adapter's own on its input; default false. */
  lnBefore: boolean;
  /** A layer norm of the adapter's own on its output; default false. */
  lnAfter: boolean;
  /** "bert": N(0, 0.02). "mam_adapter": down as torch's Linear, up zero. "houlsby": N(0, 0.01) within two deviations. */
  initWeights: "bert" | "mam_adapter" | "houlsby";
  /** Seed of every adapter's initial values, so that all start equal; default null: each its own. */
  initWeightsSeed: number | null;
  /** Beside the MLP, on the residual stream, instead of after it; default false. */
  isParallel: boolean;
  /**
   * Factor of the adapter's output: a number, or one that trains from 1, for all channels ("learned") or for each
   * ("channel").
   */
  scaling: number | "learned" | "channel";
  /** Whether the adapter's own residual connection begins before the stream is added; default true. */
  residualBeforeLn: boolean;
  /** Whether that connection ends before the adapter's own layer norm; with `lnAfter`; default false. */
  adapterResidualBeforeLn: boolean;
  /** Numbers of the blocks without adapters; default none. */
  leaveOut: readonly number[];
  /** Dropout of the adapter's output while training; default 0. */
  dropout: number;
}

/** Activations by name: those of `transformers`, and AdapterHub's own. */
const ACTIVATIONS: readonly string[] = [...ACTIVATION_NAMES, "leakyrelu"];

const activation: Rule<string> = rule(
  `one of ${ACTIVATIONS.join(", ")}`,
  (value) => typeof value === "string" && ACTIVATIONS.includes(value.toLowerCase()),
);

const isFactor = (value: unknown) => typeof value === "number" && Number.isFinite(value) && value > 0;

const reductionFactor: Rule<BottleneckConfigFields["reductionFactor"]> = {
  ...rule<BottleneckConfigFields["reductionFactor"]>(
    "a number above 0",
    (value) =>
      [typeof value === "object" && value !== null ? Object.values(value) : value].flat().every(isFactor),
  ),
  message: (name, value) => {
    const factors = [typeof value === "object" && value !== null ? Object.values(value) : value].flat();
    const wrong = factors.find((factor) => !isFactor(factor));
    return `${name} must be a number above 0, received ${JSON.stringify(wrong)}`;
  },
};

const scaling: Rule<BottleneckConfigFields["scaling"]> = {
  ...rule<BottleneckConfigFields["scaling"]>(
    'a finite number, "learned" or "channel"',
    (value) => value === "learned" || value === "channel" || Number.isFinite(value),
  ),
  message: (name, value) =>
    typeof value === "number"
      ? `${name} must be a finite number, received ${value}`
      : `Unknown scaling type: ${JSON.stringify(value)}`,
};

const initWeights: Rule<BottleneckConfigFields["initWeights"]> = refusedAs(
  choice("bert", "mam_adapter", "houlsby"),
  (_, value) => `Unknown init_weights type: ${JSON.stringify(value)}`,
);

const blocks: Rule<readonly number[]> = rule(
  "a number from 0, or a list of such",
  (value) => Array.isArray(value) && value.every((block) => Number.isInteger(block) && block >= 0),
);

/** The defaults are Pfeiffer's: `seq_bn`. */
const TABLE: MethodTable<BottleneckConfigFields> = {
  method: "bottleneck",
  title: "bottleneck adapters",
  peftType: "BOTTLENECK",
  options: {
    ...COMMON_OPTIONS,
    reductionFactor: option(16, reductionFactor, { inSummary: "always" }),
    nonLinearity: option("relu", activation, { inSummary: "always" }),
    scaling: option<BottleneckConfigFields["scaling"]>(1, scaling, { inSummary: "always" }),
    mhAdapter: option(false, flag, { inSummary: "always" }),
    outputAdapter: option(true, flag, { inSummary: "always" }),
    isParallel: option(false, flag, { inSummary: "changed" }),
    lnBefore: option(false, flag, { inSummary: "changed" }),
    lnAfter: option(false, flag, { inSummary: "changed" }),
    dropout: option(0, probability, { inSummary: "changed" }),
    leaveOut: option([], blocks, { inSummary: "changed" }),
    originalLnBefore: option(true, flag),
    originalLnAfter: option(true, flag),
    initWeights: option("bert", initWeights),
    initWeightsSeed: option<number | null>(null, orNull(integer(0))),
    residualBeforeLn: option(true, {
      ...flag,
      message: (name, value) =>
        `${name} must be true or false (there is no layer norm in that place), received ${
          JSON.stringify(value)
        }`,
    }),
    adapterResidualBeforeLn: option(false, flag),
  },
  check: ({ mhAdapter, outputAdapter }, refuse) => {
    if (!mhAdapter && !outputAdapter) {
      refuse("mh_adapter or output_adapter must be true, received false for both");
    }
  },
};

/** AdapterHub's named configurations, by its names and older ones. */
const NAMED: Readonly<Record<string, Partial<BottleneckConfigFields>>> = {
  seq_bn: {},
  double_seq_bn: { mhAdapter: true, originalLnBefore: false, nonLinearity: "swish" },
  par_bn: {
    originalLnBefore: false,
    reductionFactor: 2,
    initWeights: "mam_adapter",
    isParallel: true,
    scaling: 4,
  },
  get scaled_par_bn() {
    return { ...this.par_bn, scaling: "learned" as const };
  },
  get pfeiffer() {
    return this.seq_bn;
  },
  get houlsby() {
    return this.double_seq_bn;
  },
  get parallel() {
    return this.par_bn;
  },
  get scaled_parallel() {
    return this.scaled_par_bn;
  },
};

/**
 * A bottleneck configuration, with AdapterHub's fields; without any it is `seq_bn`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, BottleneckConfig, getPeftModel } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, BottleneckConfig.named("seq_bn", { reductionFactor: 8 })); // Pfeiffer's
 * model.printTrainableParameters();
 * ```
 */
export class BottleneckConfig extends MethodConfig<BottleneckConfigFields> {
  /** "BOTTLENECK"; the files are AdapterHub's, which name no type. */
  readonly peftType = "BOTTLENECK";
  /** Modules that carry adapters, and those of the blocks left out; filled in for the model. */
  declare readonly targetModules?: readonly string[];
  /** See `targetModules`. */
  declare readonly excludeModules?: string | null;
  /** What files say of the model. */
  declare readonly origin?: BottleneckOrigin;

  /** @internal */
  override get table(): MethodTable<BottleneckConfigFields> {
    return TABLE;
  }

  /**
   * One of AdapterHub's configurations by its name: "seq_bn" (Pfeiffer), "double_seq_bn" (Houlsby), "par_bn" (parallel),
   * "scaled_par_bn", or their older names, with other values of some fields.
   * @throws {RangeError} if there is none of that name
   */
  static named(name: string, fields: Partial<BottleneckConfigFields> = {}): BottleneckConfig {
    if (!Object.hasOwn(NAMED, name)) {
      refuseConfig(
        "bottleneck",
        `names are ${Object.keys(NAMED).join(", ")}, received ${JSON.stringify(name)}`,
      );
    }
    return new BottleneckConfig({ ...NAMED[name], ...fields });
  }

  /** The configuration of AdapterHub's `adapter_config.json`. @throws {RangeError} for an option that is not supported */
  static override fromJSON<C extends MethodConfig>(
    this: ConfigClass<C>,
    json: Readonly<Record<string, unknown>>,
  ): C {
    const required = ["mhAdapter", "outputAdapter", "reductionFactor", "nonLinearity"] as const;
    const { fields, origin } = readHubConfig(TABLE.options, json, required);
    // AdapterHub's own default of this one differs from seq_bn's
    return Object.assign(new this({ originalLnBefore: false, ...fields } as never), { origin });
  }

  /** The fields of AdapterHub's `adapter_config.json`; `name` is the adapter's. */
  override toJSON(name = "default"): Record<string, unknown> {
    return writeHubConfig(TABLE.options, this, this.origin, name);
  }
}

/**
 * The fields are properties of the class.
 *
 * @example
 * ```ts
 * import { BottleneckConfig } from "@peft/webgpu";
 *
 * const { isParallel, scaling, reductionFactor }: BottleneckConfig = BottleneckConfig.named("scaled_par_bn");
 * console.log(isParallel, scaling, reductionFactor); // true learned 2
 * ```
 */
export interface BottleneckConfig extends BottleneckConfigFields {}
