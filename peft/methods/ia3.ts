/**
 * (IA)^3 (Liu et al. 2022, arXiv:2205.05638): learned factors of a layer's outputs, or of a feed-forward layer's inputs.
 *   output side: y = (x W + b) l      feed-forward side: y = (x l) W + b
 * Factors start at 1, so a fresh adapter changes nothing. Fields and keys are those of Hugging Face's `peft` 0.21.
 * @module
 */

import {
  checkCommon,
  COMMON_DEFAULTS,
  configFromJSON,
  configToJSON,
  type PeftConfig,
  type PeftConfigFields,
  refuseConfig,
} from "../config.ts";
import { checkFlag, checkNames, checkTargets } from "../checks.ts";
import { Conv1D, Linear } from "../../nn/mod.ts";
import { IA3Layer } from "./ia3_layer.ts";
import type { PeftMethod } from "../method.ts";

/** Fields of an (IA)^3 configuration. */
export interface IA3ConfigFields extends PeftConfigFields {
  /** Modules to adapt; null: `["c_attn", "mlp.c_proj"]` for GPT-2. */
  targetModules: readonly string[] | string | null;
  /** Modules to leave out of those; default null. */
  excludeModules: readonly string[] | string | null;
  /** Those of them whose inputs are scaled; null: `["mlp.c_proj"]` for GPT-2 with default targets. */
  feedforwardModules: readonly string[] | string | null;
  /** Whether weights are stored [in, out]; told from the module. */
  fanInFanOut: boolean;
  /** Modules trained and saved whole; default null. */
  modulesToSave: readonly string[] | null;
  /** Start with factors of 1; false draws them from N(0, 1), for tests. Default true. */
  initIa3Weights: boolean;
}

const DEFAULTS: IA3ConfigFields = {
  ...COMMON_DEFAULTS,
  targetModules: null,
  excludeModules: null,
  feedforwardModules: null,
  fanInFanOut: false,
  modulesToSave: null,
  initIa3Weights: true,
};

/** An (IA)^3 configuration, with Hugging Face's fields and defaults. */
export class IA3Config implements PeftConfig {
  /** "IA3". */
  readonly peftType = "IA3";

  /** Missing fields take `peft`'s defaults. @throws {RangeError} for a value outside its range */
  constructor(fields: Partial<IA3ConfigFields> = {}) {
    const unknown = Object.keys(fields).filter((name) => !Object.hasOwn(DEFAULTS, name));
    if (unknown.length > 0) {
      refuseConfig("ia3", `fields are ${Object.keys(DEFAULTS).join(", ")}, received ${unknown.join(", ")}`);
    }
    const all = { ...DEFAULTS, ...fields };
    checkCommon("ia3", all);
    checkTargets("ia3", all);
    checkNames("ia3", "feedforward_modules", all.feedforwardModules, true);
    checkFlag("ia3", "fan_in_fan_out", all.fanInFanOut);
    checkFlag("ia3", "init_ia3_weights", all.initIa3Weights);
    const { targetModules: targets, feedforwardModules: feedforward } = all;
    if (
      Array.isArray(targets) && Array.isArray(feedforward) &&
      !feedforward.every((name) => targets.includes(name))
    ) {
      refuseConfig("ia3", "`feedforward_modules` should be a subset of `target_modules`");
    }
    Object.assign(this, all);
  }

  /** The configuration of an `adapter_config.json`. */
  static fromJSON(json: Readonly<Record<string, unknown>>): IA3Config {
    return new IA3Config(configFromJSON("ia3", json, DEFAULTS, {}));
  }

  /** The fields of `adapter_config.json`. */
  toJSON(): Record<string, unknown> {
    const names = Object.keys(DEFAULTS) as (keyof IA3ConfigFields)[];
    return configToJSON("IA3", Object.fromEntries(names.map((name) => [name, this[name]])), {});
  }
}

/** The fields are properties of the class. */
export interface IA3Config extends IA3ConfigFields {}

/** (IA)^3, for the registry. */
export const ia3: PeftMethod<IA3Config> = {
  name: "ia3",
  defaultTargets: (modelType) => modelType === "gpt2" ? ["c_attn", "mlp.c_proj"] : null,
  resolve: (config, modelType) =>
    config.feedforwardModules !== null || modelType !== "gpt2"
      ? {}
      : { feedforwardModules: config.targetModules === null ? ["mlp.c_proj"] : [] },
  configFromJSON: (json) => IA3Config.fromJSON(json),
  supports: (module) => module instanceof Conv1D || module instanceof Linear || module instanceof IA3Layer,
  wrap: (module, state) => new IA3Layer(module as Conv1D | Linear, state),
};
