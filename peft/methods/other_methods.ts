/**
 * Every PEFT method but LoRA. A name without an implementation does not compile.
 * @module
 */

import { bottleneck } from "../bottleneck/bottleneck.ts";
import { trainableTokens } from "../trainable_tokens/trainable_tokens.ts";
import { adalora } from "./adalora.ts";
import { bitfit } from "./bitfit.ts";
import { boft } from "./boft.ts";
import { fourierft } from "./fourierft.ts";
import { ia3 } from "./ia3.ts";
import { lnTuning } from "./ln_tuning.ts";
import { loha } from "./loha.ts";
import { lokr } from "./lokr.ts";
import { oft } from "./oft.ts";
import type { OtherType, PeftMethods } from "./peft_types.ts";
import { vera } from "./vera.ts";

const METHODS: PeftMethods<OtherType> = {
  ADALORA: adalora,
  BITFIT: bitfit,
  BOFT: boft,
  BOTTLENECK: bottleneck,
  FOURIERFT: fourierft,
  IA3: ia3,
  LN_TUNING: lnTuning,
  LOHA: loha,
  LOKR: lokr,
  OFT: oft,
  TRAINABLE_TOKENS: trainableTokens,
  VERA: vera,
};

/** The methods by their names in files. */
export function otherMethods(): PeftMethods<OtherType> {
  return METHODS;
}
