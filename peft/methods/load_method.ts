/**
 * Loads the file of one PEFT method, which a bundle may leave out at first. A name without one does not compile.
 * @module
 */

import type { OtherType, PeftMethods } from "./peft_types.ts";

const LOADERS: { readonly [Type in OtherType]: () => Promise<PeftMethods[Type]> } = {
  ADALORA: async () => (await import("./adalora.ts")).adalora,
  BITFIT: async () => (await import("./bitfit.ts")).bitfit,
  BOFT: async () => (await import("./boft.ts")).boft,
  BOTTLENECK: async () => (await import("../bottleneck/bottleneck.ts")).bottleneck,
  FOURIERFT: async () => (await import("./fourierft.ts")).fourierft,
  IA3: async () => (await import("./ia3.ts")).ia3,
  LN_TUNING: async () => (await import("./ln_tuning.ts")).lnTuning,
  LOHA: async () => (await import("./loha.ts")).loha,
  LOKR: async () => (await import("./lokr.ts")).lokr,
  OFT: async () => (await import("./oft.ts")).oft,
  TRAINABLE_TOKENS: async () => (await import("../trainable_tokens/trainable_tokens.ts")).trainableTokens,
  VERA: async () => (await import("./vera.ts")).vera,
};

/** Loads a method. */
export function loadMethod<Type extends OtherType>(type: Type): Promise<PeftMethods[Type]> {
  return LOADERS[type]();
}
