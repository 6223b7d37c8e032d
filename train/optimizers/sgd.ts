/**
 * Stochastic gradient descent with momentum, with the numbers of `torch.optim.SGD`.
 * @module
 */

import type { Tensor } from "../../autograd/mod.ts";
import { slotKind } from "../../autograd/ops/_slot_state.ts";
import { sgdRule } from "../../autograd/ops/sgd_step.ts";
import { DeviceOptimizer } from "./device_optimizer.ts";
import { GroupedOptimizer } from "./grouped_optimizer.ts";
import { checkOption, type Params, toGroups } from "./optimizer.ts";

/**
 * Options of `SGD`; defaults are `torch.optim.SGD`'s.
 *
 * @example
 * ```ts
 * import { initDevice, SGD, Tensor } from "@peft/webgpu";
 * import type { SGDOptions } from "@peft/webgpu/train";
 *
 * await initDevice();
 * const options: SGDOptions = { lr: 0.05, momentum: 0.9, nesterov: true, weightDecay: 1e-4 };
 * const optimizer = new SGD([Tensor.from([1], { requiresGrad: true })], options);
 * console.log(optimizer.paramGroups[0].dampening); // 0: Nesterov has none
 * ```
 */
export interface SGDOptions {
  /** Learning rate; default 1e-3. */
  lr?: number;
  /** Default 0. */
  momentum?: number;
  /** Part of the gradient that is kept out of the momentum buffer; default 0. */
  dampening?: number;
  /** Added to the gradient as weightDecay * p; default 0. */
  weightDecay?: number;
  /** Looks one step ahead; needs momentum without dampening; default false. */
  nesterov?: boolean;
}

/**
 * A group of `SGD`.
 *
 * @example
 * ```ts
 * import type { SGD } from "@peft/webgpu";
 * import type { SGDGroup } from "@peft/webgpu/train";
 *
 * // raises the momentum once the first steps are over
 * const speedUp = ({ paramGroups }: SGD) => paramGroups.forEach((group: SGDGroup) => group.momentum = 0.99);
 * ```
 */
export interface SGDGroup extends Required<SGDOptions> {
  /** Its parameters. */
  readonly params: readonly Tensor[];
}

/**
 * d = g + wd p;  b = momentum b + (1 - dampening) d (b = d the first time);
 * p -= lr (b, or d + momentum b with Nesterov, or d without momentum)
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig, SGD } from "@peft/webgpu";
 *
 * const model = getPeftModel(await AutoModelForCausalLM.fromPretrained("examples/demo/model"), new LoraConfig());
 * const optimizer = new SGD([...model.parameters()].filter((parameter) => parameter.requiresGrad), { lr: 0.1 });
 * model.forward({ inputIds: [[1, 2, 3]], labels: [[1, 2, 3]] }).loss!.backward();
 * optimizer.step();
 * optimizer.zeroGrad();
 * ```
 */
export class SGD extends GroupedOptimizer<SGDGroup> {
  /**
   * State is made on the device when a parameter takes its first step.
   * @param params float32 tensors, or groups `{ params, lr?, momentum?, … }`
   * @throws {RangeError} for no parameter, or an option out of range
   * @throws {TypeError} for an option that does not exist, or what is no tensor
   */
  constructor(params: Params<SGDOptions>, options: SGDOptions = {}) {
    const { lr = 1e-3, momentum = 0, dampening = 0, weightDecay = 0, nesterov = false } = options;
    const action = "make SGD";
    const defaults = { lr, momentum, dampening, weightDecay, nesterov };
    const groups = toGroups(action, params, options, defaults) as SGDGroup[];
    for (const group of groups) {
      checkOption(action, "lr", group.lr, 0, Infinity);
      checkOption(action, "momentum", group.momentum, 0, Infinity);
      checkOption(action, "weightDecay", group.weightDecay, 0, Infinity);
      if (group.nesterov && (group.momentum === 0 || group.dampening !== 0)) {
        throw new RangeError(
          `Cannot make SGD: nesterov needs momentum and no dampening, received momentum ${group.momentum} and dampening ${group.dampening}`,
        );
      }
    }
    const hasMomentum = groups.some((group) => group.momentum !== 0);
    const kind = slotKind(sgdRule(hasMomentum));
    super("SGD", groups, new DeviceOptimizer(groups, () => kind));
  }
}
