/**
 * AdamW (Loshchilov and Hutter 2019, "Decoupled weight decay regularization"), with the numbers of `torch.optim.AdamW`.
 * @module
 */

import type { Tensor } from "../../autograd/mod.ts";
import { slotKind } from "../../autograd/ops/_slot_state.ts";
import { adamwRule, type AdamWValues } from "../../autograd/ops/adamw_step.ts";
import { DeviceOptimizer, type KindOf } from "./device_optimizer.ts";
import { GroupedOptimizer } from "./grouped_optimizer.ts";
import { checkOption, type Params, toGroups } from "./optimizer.ts";

/**
 * Options of `AdamW`; defaults are `torch.optim.AdamW`'s.
 *
 * @example
 * ```ts
 * import { AdamW, initDevice, Tensor } from "@peft/webgpu";
 * import type { AdamWOptions } from "@peft/webgpu/train";
 *
 * await initDevice();
 * const large: AdamWOptions = { lr: 6e-4, betas: [0.9, 0.95], weightDecay: 0.1 }; // as large models are trained
 * console.log(new AdamW([Tensor.from([1], { requiresGrad: true })], large).paramGroups[0].eps); // 1e-8, the default
 * ```
 */
export interface AdamWOptions {
  /** Learning rate; default 1e-3. */
  lr?: number;
  /** Decay of the averages of gradients and of their squares; default [0.9, 0.999]. */
  betas?: readonly [number, number];
  /** Added to the denominator; default 1e-8. */
  eps?: number;
  /** Weight decay, decoupled from the gradient; default 0.01. */
  weightDecay?: number;
}

/** Moments in float32. */
export const plainKind = slotKind(adamwRule);

/**
 * A group of `AdamW`.
 *
 * @example
 * ```ts
 * import { AdamW, initDevice, Tensor } from "@peft/webgpu";
 * import type { AdamWGroup } from "@peft/webgpu/train";
 *
 * await initDevice();
 * const [matrix, bias] = [[[1, 2]], [3]].map((values) => Tensor.from(values, { requiresGrad: true }));
 * const optimizer = new AdamW([{ params: [matrix] }, { params: [bias], weightDecay: 0 }], { lr: 1e-3 });
 * const show = ({ params, weightDecay }: AdamWGroup) => `${params[0].shape}: ${weightDecay}`;
 * console.log(optimizer.paramGroups.map(show)); // [ "1,2: 0.01", "1: 0" ]
 * ```
 */
export interface AdamWGroup extends Required<AdamWOptions> {
  /** Its parameters. */
  readonly params: readonly Tensor[];
}

/**
 * p *= 1 - lr wd;  m += (1 - beta1) (g - m);  v = beta2 v + (1 - beta2) g^2;
 * p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
 *
 * Parameters without a gradient are left alone and their t does not advance, nor does it in a step whose gradient norm
 * is not finite. All parameters are updated in few launches.
 *
 * @example
 * ```ts
 * import { AdamW, initDevice } from "@peft/webgpu";
 * import { multiply, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const weight = Tensor.from([1], { requiresGrad: true });
 * const optimizer = new AdamW([weight], { lr: 0.1 });
 * for (let step = 0; step < 10; step++) {
 *   multiply(weight, weight).backward();
 *   optimizer.step();
 *   optimizer.zeroGrad();
 * }
 * console.log(await weight.item()); // close to 0, where its square is least
 * ```
 */
export class AdamW extends GroupedOptimizer<AdamWGroup> {
  /**
   * State is made on the device when a parameter takes its first step.
   * @param params float32 tensors, or groups `{ params, lr?, betas?, eps?, weightDecay? }`
   * @param kindOf how the moments of a parameter are kept; default float32
   * @throws {RangeError} for no parameter, or an option out of range
   * @throws {TypeError} for an option that does not exist, or what is no tensor
   */
  constructor(
    params: Params<AdamWOptions>,
    options: AdamWOptions = {},
    kindOf: KindOf<AdamWValues> = () => plainKind,
  ) {
    const { lr = 1e-3, betas = [0.9, 0.999] as const, eps = 1e-8, weightDecay = 0.01 } = options;
    const action = "make AdamW";
    const groups = toGroups(action, params, options, { lr, betas, eps, weightDecay }) as AdamWGroup[];
    for (const group of groups) {
      checkOption(action, "lr", group.lr, 0, Infinity);
      checkOption(action, "betas[0]", group.betas[0], 0, 1);
      checkOption(action, "betas[1]", group.betas[1], 0, 1);
      checkOption(action, "eps", group.eps, 0, Infinity);
      checkOption(action, "weightDecay", group.weightDecay, 0, Infinity);
    }
    super("AdamW", groups, new DeviceOptimizer(groups, kindOf));
  }
}
