/**
 * The flags that say how tokens are chosen.
 * @module
 */

import { flag, integer, number } from "../options/rules.ts";

/** Flags of `generate` and `chat`. */
export const SAMPLING_FLAGS = {
  sample: { rule: flag, help: "Draw tokens instead of taking the most likely one" },
  temperature: { rule: number(), needs: "sample", help: "Divides the logits, with --sample" },
  "top-k": { rule: integer(0, 1e9), needs: "sample", help: "Keep the k most likely tokens, with --sample" },
  "top-p": {
    rule: number(0, 1),
    needs: "sample",
    help: "Keep the most likely tokens up to this mass, with --sample",
  },
  "min-p": {
    rule: number(0, 1),
    needs: "sample",
    help: "Keep tokens of at least this part of the greatest probability, with --sample",
  },
  "repetition-penalty": {
    rule: number(),
    default: 1,
    help: "Above 1, tokens that occurred become less likely",
  },
  seed: {
    rule: integer(0, Number.MAX_SAFE_INTEGER),
    default: 0,
    needs: "sample",
    help: "Seed of --sample",
  },
} as const;
