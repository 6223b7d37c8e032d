/**
 * Lion (Chen et al. 2023, "Symbolic discovery of optimization algorithms", arXiv:2302.06675).
 * @module
 */

import type { Tensor } from "../../autograd/mod.ts";
import { slotKind } from "../../autograd/ops/_slot_state.ts";
import { lionRule } from "../../autograd/ops/lion_step.ts";
import { DeviceOptimizer } from "./device_optimizer.ts";
import { GroupedOptimizer } from "./grouped_optimizer.ts";
import { checkOption, type Params, toGroups } from "./optimizer.ts";

/**
 * Options of `Lion`; defaults are the paper's and bitsandbytes'.
 *
 * @example
 * ```ts
 * import { initDevice, Tensor } from "@peft/webgpu";
 * import { Lion, type LionOptions } from "@peft/webgpu/train";
 *
 * await initDevice();
 * const fromAdamW = (lr: number, weightDecay: number): LionOptions => ({ lr: lr / 5, weightDecay: 5 * weightDecay });
 * const optimizer = new Lion([Tensor.from([1], { requiresGrad: true })], fromAdamW(5e-4, 0.01));
 * console.log(optimizer.paramGroups[0].lr, optimizer.paramGroups[0].weightDecay); // 0.0001 0.05
 * ```
 */
export interface LionOptions {
  /** Learning rate; default 1e-4. A third to a tenth of AdamW's. */
  lr?: number;
  /** Decay of the average: as the update reads it, and as it is kept; default [0.9, 0.99]. */
  betas?: readonly [number, number];
  /** Weight decay, decoupled from the gradient; default 0. Three to ten times AdamW's. */
  weightDecay?: number;
}

/**
 * A group of `Lion`.
 *
 * @example
 * ```ts
 * import { initDevice, Tensor } from "@peft/webgpu";
 * import { Lion, type LionGroup } from "@peft/webgpu/train";
 *
 * await initDevice();
 * const [A, B] = [1, 2].map((value) => Tensor.from([value], { requiresGrad: true }));
 * const { paramGroups } = new Lion([{ params: [A] }, { params: [B], lr: 1e-3 }], { lr: 1e-4 });
 * const rates = paramGroups.map(({ lr }: LionGroup) => lr);
 * console.log(rates); // [ 0.0001, 0.001 ]
 * ```
 */
export interface LionGroup extends Required<LionOptions> {
  /** Its parameters. */
  readonly params: readonly Tensor[];
}

const kind = slotKind(lionRule);

/**
 * p *= 1 - lr wd;  p -= lr sign(beta1 m + (1 - beta1) g);  m = beta2 m + (1 - beta2) g
 *
 * Half of AdamW's state. The state's name is `exp_avg`, as in lion-pytorch (bitsandbytes: `state1`).
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import { Lion } from "@peft/webgpu/train";
 *
 * const model = getPeftModel(
 *   await AutoModelForCausalLM.fromPretrained("examples/demo/model"),
 *   new LoraConfig({ targetModules: ["c_attn"] }),
 * );
 * const trainable = [...model.parameters()].filter((parameter) => parameter.requiresGrad);
 * const optimizer = new Lion(trainable, { lr: 3e-5 });
 * model.forward({ inputIds: [[1, 2]], labels: [[1, 2]] }).loss!.backward();
 * optimizer.step();
 * optimizer.zeroGrad();
 * ```
 */
export class Lion extends GroupedOptimizer<LionGroup> {
  /**
   * State is made on the device when a parameter takes its first step.
   * @param params float32 tensors, or groups `{ params, lr?, betas?, weightDecay? }`
   * @throws {RangeError} for no parameter, or an option out of range
   * @throws {TypeError} for an option that does not exist, or what is no tensor
   */
  constructor(params: Params<LionOptions>, options: LionOptions = {}) {
    const { lr = 1e-4, betas = [0.9, 0.99] as const, weightDecay = 0 } = options;
    const action = "make Lion";
    const groups = toGroups(action, params, options, { lr, betas, weightDecay }) as LionGroup[];
    for (const group of groups) {
      checkOption(action, "lr", group.lr, 0, Infinity);
      checkOption(action, "betas[0]", group.betas[0], 0, 1);
      checkOption(action, "betas[1]", group.betas[1], 0, 1);
      checkOption(action, "weightDecay", group.weightDecay, 0, Infinity);
    }
    super("Lion", groups, new DeviceOptimizer(groups, () => kind));
  }
}
