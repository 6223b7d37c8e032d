/**
 * Bottleneck adapters: small networks up(act(down(z))) beside attention and MLP of each block, with the fields, formulas
 * and files of AdapterHub's `adapters` (`peft` has no such method). Houlsby et al. 2019 (arXiv:1902.00751) puts one after
 * both parts, Pfeiffer et al. 2020 (arXiv:2005.00247) one after the MLP, He et al. 2021 (arXiv:2110.04366) one beside it.
 * @module
 */

import { type Module, SubBlock } from "../../nn/mod.ts";
import { checkActivation } from "./bottleneck_adapter.ts";
import { type BottleneckOrigin, hubFormat, hubFormatFields } from "./bottleneck_format.ts";
import { BottleneckLayer } from "./bottleneck_layer.ts";
import { checkFiniteNumber, checkFlag, checkLayers } from "../checks.ts";
import {
  checkCommon,
  COMMON_DEFAULTS,
  type PeftConfig,
  type PeftConfigFields,
  refuseConfig,
} from "../config.ts";
import type { PeftMethod } from "../method.ts";

/** Fields of a bottleneck configuration, AdapterHub's. */
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
  /** Factor of the adapter's output: a number, or one ("learned") or one a channel ("channel") that trains from 1. */
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

/** Pfeiffer's: `seq_bn`. */
const DEFAULTS: BottleneckConfigFields = {
  ...COMMON_DEFAULTS,
  mhAdapter: false,
  outputAdapter: true,
  reductionFactor: 16,
  nonLinearity: "relu",
  originalLnBefore: true,
  originalLnAfter: true,
  lnBefore: false,
  lnAfter: false,
  initWeights: "bert",
  initWeightsSeed: null,
  isParallel: false,
  scaling: 1,
  residualBeforeLn: true,
  adapterResidualBeforeLn: false,
  leaveOut: [],
  dropout: 0,
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

function check(fields: BottleneckConfigFields): void {
  const refuse = (message: string): never => refuseConfig("bottleneck", message);
  checkCommon("bottleneck", fields);
  const flags = [
    "mhAdapter",
    "outputAdapter",
    "originalLnBefore",
    "originalLnAfter",
    "lnBefore",
    "lnAfter",
    "isParallel",
    "adapterResidualBeforeLn",
  ] as const;
  for (const name of flags) checkFlag("bottleneck", hubFormatFields.get(name)!, fields[name]);
  if (typeof fields.residualBeforeLn !== "boolean") {
    refuse(
      `residual_before_ln must be true or false (GPT-2 has no layer norm there), received ${
        JSON.stringify(fields.residualBeforeLn)
      }`,
    );
  }
  if (!fields.mhAdapter && !fields.outputAdapter) {
    refuse("mh_adapter or output_adapter must be true, received false for both");
  }
  const factors = typeof fields.reductionFactor === "object" && fields.reductionFactor !== null
    ? Object.values(fields.reductionFactor)
    : [fields.reductionFactor];
  for (const factor of factors) {
    if (!(typeof factor === "number" && Number.isFinite(factor) && factor > 0)) {
      refuse(`reduction_factor must be a number above 0, received ${JSON.stringify(factor)}`);
    }
  }
  checkActivation(fields.nonLinearity);
  if (!["bert", "mam_adapter", "houlsby"].includes(fields.initWeights)) {
    refuse(`Unknown init_weights type: ${JSON.stringify(fields.initWeights)}`);
  }
  const seed = fields.initWeightsSeed;
  if (seed !== null) checkFiniteNumber("bottleneck", "init_weights_seed", seed, 0);
  if (typeof fields.scaling === "number") {
    checkFiniteNumber("bottleneck", "scaling", fields.scaling, -Infinity);
  } else if (!["learned", "channel"].includes(fields.scaling)) {
    refuse(`Unknown scaling type: ${JSON.stringify(fields.scaling)}`);
  }
  checkLayers("bottleneck", "leave_out", fields.leaveOut);
  checkFiniteNumber("bottleneck", "dropout", fields.dropout, 0, 1);
}

/** A bottleneck configuration, with AdapterHub's fields; without any it is `seq_bn`. */
export class BottleneckConfig implements PeftConfig {
  /** "BOTTLENECK"; the files are AdapterHub's, which name no type. */
  readonly peftType = "BOTTLENECK";
  /** Modules that carry adapters, and those of the blocks left out; filled in for the model. */
  readonly targetModules?: readonly string[];
  /** See `targetModules`. */
  readonly excludeModules?: string | null;
  /** What files say of the model. */
  readonly origin?: BottleneckOrigin;

  /** Missing fields are those of `seq_bn`. @throws {RangeError} for a value outside its range */
  constructor(fields: Partial<BottleneckConfigFields> = {}) {
    const unknown = Object.keys(fields).filter((name) => !Object.hasOwn(DEFAULTS, name));
    if (unknown.length > 0) {
      refuseConfig(
        "bottleneck",
        `fields are ${Object.keys(DEFAULTS).join(", ")}, received ${unknown.join(", ")}`,
      );
    }
    const all = { ...DEFAULTS, ...fields };
    check(all);
    Object.assign(this, all);
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
  static fromJSON(json: Readonly<Record<string, unknown>>): BottleneckConfig {
    const { fields, origin } = hubFormat.read(json, DEFAULTS);
    return Object.assign(new BottleneckConfig(fields), { origin });
  }

  /** The fields of AdapterHub's `adapter_config.json`; `name` is the adapter's. */
  toJSON(name = "default"): Record<string, unknown> {
    return hubFormat.write(this, name);
  }
}

/** The fields are properties of the class. */
export interface BottleneckConfig extends BottleneckConfigFields {}

/** Bottleneck adapters, for the registry. */
export const bottleneck: PeftMethod<BottleneckConfig> = {
  name: "bottleneck",
  defaultTargets: () => null,
  resolve: (config, modelType, model) => {
    if (modelType !== "gpt2") {
      throw new TypeError(
        `Cannot apply bottleneck: a model whose parts are known ("gpt2") is required, received ${modelType}`,
      );
    }
    const { mhAdapter, outputAdapter, leaveOut } = config;
    return {
      targetModules: [...(mhAdapter ? ["attn"] : []), ...(outputAdapter ? ["mlp"] : [])],
      excludeModules: leaveOut.length > 0 ? `(.*\\.)?h\\.(${leaveOut.join("|")})\\.(attn|mlp)` : null,
      origin: originOf(model),
    };
  },
  configFromJSON: (json) => BottleneckConfig.fromJSON(json),
  supports: (module) => module instanceof SubBlock || module instanceof BottleneckLayer,
  wrap: (module, state) => new BottleneckLayer(module as SubBlock, state),
  unmergeable: "a bottleneck is a network of its own, no change of a weight",
  format: hubFormat,
};

function originOf(model: Module): BottleneckOrigin {
  const { config } = model as { config?: { nEmbd?: number; modelType?: string; nameOrPath?: string | null } };
  return {
    hiddenSize: config?.nEmbd ?? 0,
    modelClass: model.constructor.name,
    modelName: config?.nameOrPath ?? "",
    modelType: config?.modelType ?? "",
  };
}
