/**
 * AdamW with moments of eight bits.
 * @module
 */

import { slotKind } from "../../autograd/ops/_slot_state.ts";
import { adamw8bitRule } from "../../autograd/ops/adamw_8bit_step.ts";
import { AdamW, type AdamWOptions, plainKind } from "./adamw.ts";
import type { Params } from "./optimizer.ts";

const codedKind = slotKind(adamw8bitRule);

/** Parameters with fewer elements keep their moments in float32, as in bitsandbytes (`min_8bit_size`). */
const SMALLEST_8BIT = 4096;

/**
 * AdamW whose moments take a byte each instead of four, with a scale for each block of 256 (bitsandbytes' `AdamW8bit`).
 * The arithmetic is float32's. `stateDict()` holds the moments as numbers, which load into either optimizer.
 *
 * @example
 * ```ts
 * import { AdamW8bit, AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] }));
 * const trainable = [...model.parameters()].filter((parameter) => parameter.requiresGrad);
 * const optimizer = new AdamW8bit(trainable, { lr: 2e-4 });
 * model.forward({ inputIds: [[1, 2]], labels: [[1, 2]] }).loss!.backward();
 * optimizer.step();
 * optimizer.zeroGrad();
 * ```
 * @see Dettmers et al. 2022, "8-bit optimizers via block-wise quantization", arXiv:2110.02861
 */
export class AdamW8bit extends AdamW {
  /**
   * See `AdamW`. Parameters with fewer than 4,096 elements keep float32 moments.
   * @throws {RangeError} for no parameter, or an option out of range
   * @throws {TypeError} for an option that does not exist, or what is no tensor
   */
  constructor(params: Params<AdamWOptions>, options: AdamWOptions = {}) {
    super(params, options, ({ size }) => size < SMALLEST_8BIT ? plainKind : codedKind);
  }
}
