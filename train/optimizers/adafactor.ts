/**
 * Adafactor (Shazeer and Stern 2018, arXiv:1804.04235), with the numbers of `transformers.Adafactor`.
 * @module
 */

import type { Tensor } from "../../autograd/mod.ts";
import { adafactorKind } from "../../autograd/ops/adafactor_step.ts";
import { DeviceOptimizer } from "./device_optimizer.ts";
import { GroupedOptimizer } from "./grouped_optimizer.ts";
import { checkOption, type Params, toGroups } from "./optimizer.ts";

/**
 * Options of `Adafactor`; defaults are those of `transformers`, with `scale_parameter` and `relative_step` off, as its
 * Trainer sets them.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import { Adafactor, type AdafactorOptions } from "@peft/webgpu/train";
 *
 * const options: AdafactorOptions = { lr: 1e-4, clipThreshold: 0.5, weightDecay: 0.01 }; // smaller updates than by default
 * const optimizer = new Adafactor((await AutoModelForCausalLM.fromPretrained("examples/demo/model")).parameters(), options);
 * console.log(optimizer.paramGroups[0].decayRate); // -0.8
 * ```
 */
export interface AdafactorOptions {
  /** Learning rate; default 1e-3. */
  lr?: number;
  /** Added to the squares of gradients (the first of `eps` of `transformers`); default 1e-30. */
  eps?: number;
  /** The largest root mean square of a parameter's update; default 1. */
  clipThreshold?: number;
  /** Exponent of the step's number in the decay of averages, 1 - t^decayRate; default -0.8. */
  decayRate?: number;
  /** Weight decay, decoupled from the gradient; default 0. */
  weightDecay?: number;
}

/**
 * A group of `Adafactor`.
 *
 * @example
 * ```ts
 * import type { Adafactor, AdafactorGroup } from "@peft/webgpu/train";
 *
 * // lets updates become as large as they are, once the first steps are over
 * const unclip = ({ paramGroups }: Adafactor) =>
 *   paramGroups.forEach((group: AdafactorGroup) => group.clipThreshold = Infinity);
 * ```
 */
export interface AdafactorGroup extends Required<AdafactorOptions> {
  /** Its parameters. */
  readonly params: readonly Tensor[];
}

/**
 * AdamW without an average of gradients, and of their squares only the averages of each row and each column: a matrix
 * [R, C] takes R + C numbers. The update of each parameter is scaled down to a root mean square of `clipThreshold`.
 *
 * q = g^2 + eps;  r, c: averages of q's rows and columns, decayed by 1 - t^decayRate;
 * u = g / sqrt(r / mean(r)) / sqrt(c);  p = p (1 - lr wd) - lr u / max(1, rms(u) / clipThreshold)
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import { Adafactor } from "@peft/webgpu/train";
 *
 * const model = getPeftModel(
 *   await AutoModelForCausalLM.fromPretrained("examples/demo/model"),
 *   new LoraConfig({ targetModules: ["c_attn"] }),
 * );
 * const trainable = [...model.parameters()].filter((parameter) => parameter.requiresGrad);
 * const optimizer = new Adafactor(trainable, { lr: 1e-3 });
 * model.forward({ inputIds: [[1, 2]], labels: [[1, 2]] }).loss!.backward();
 * optimizer.step();
 * optimizer.zeroGrad();
 * ```
 */
export class Adafactor extends GroupedOptimizer<AdafactorGroup> {
  /**
   * State is made on the device when a parameter takes its first step.
   * @param params float32 tensors, or groups `{ params, lr?, eps?, … }`
   * @throws {RangeError} for no parameter, or an option out of range
   * @throws {TypeError} for an option that does not exist, or what is no tensor
   */
  constructor(params: Params<AdafactorOptions>, options: AdafactorOptions = {}) {
    const { lr = 1e-3, eps = 1e-30, clipThreshold = 1, decayRate = -0.8, weightDecay = 0 } = options;
    const action = "make Adafactor";
    const defaults = { lr, eps, clipThreshold, decayRate, weightDecay };
    const groups = toGroups(action, params, options, defaults) as AdafactorGroup[];
    for (const group of groups) {
      checkOption(action, "lr", group.lr, 0, Infinity);
      checkOption(action, "eps", group.eps, 1e-37, Infinity); // float32 must hold it
      checkOption(action, "clipThreshold", group.clipThreshold, Number.MIN_VALUE, Infinity);
      checkOption(action, "decayRate", group.decayRate, -16, 0);
      checkOption(action, "weightDecay", group.weightDecay, 0, Infinity);
    }
    super("Adafactor", groups, new DeviceOptimizer(groups, () => adafactorKind));
  }
}
