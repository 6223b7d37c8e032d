/**
 * BitFit (Ben Zaken et al. 2022, arXiv:2106.10199): every bias of the model trains, and nothing else.
 *
 * `peft` has no such method. What its LoRA computes with `bias="all"` and an alpha of 0 is the same, so that is what the
 * file says: a LoRA of rank 1 and alpha 0 in one layer (the carrier), whose factors change nothing, and all biases. Python
 * loads it, trains the biases on, and files of this form load here. Unlike LoRA's biases, each adapter has its own: several
 * can stand beside each other, and without them the base is the base, bit for bit.
 * @module
 */

import { BitFitConfig } from "./bitfit_config.ts";
import { type BiasedLayer, BitFitCarrier, BitFitLayer } from "./bitfit_layer.ts";
import type { PeftMethod } from "./method.ts";
import { Conv1D, LayerNorm, Linear, type Module } from "../../nn/mod.ts";

/** BitFit, for the registry. */
export const bitfit: PeftMethod<BitFitConfig> = {
  name: "bitfit",
  configFromJSON: (json) => BitFitConfig.fromJSON(json),
  sharedPart: (config, targets, { device }) => new BitFitCarrier(config.carrier, targets, device),
  supports: (module: Module) =>
    module instanceof LayerNorm || module instanceof Conv1D || module instanceof BitFitLayer ||
    (module instanceof Linear && module.bias !== null),
  wrap: (module, state) => new BitFitLayer(module as BiasedLayer, state),
};
