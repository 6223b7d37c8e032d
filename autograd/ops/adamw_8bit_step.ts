/**
 * The AdamW update with moments of eight bits.
 * @module
 */

import { adamw8bitKernel } from "../../kernels/adamw_8bit.ts";
import { codeLayout } from "./_code_layout.ts";
import type { UpdateRule } from "./_slot_state.ts";
import { adamwRule, type AdamWValues } from "./adamw_step.ts";

/** AdamW's rule with m and v in 8-bit codes, a scale for each block of 256. */
export const adamw8bitRule: UpdateRule<AdamWValues> = {
  ...adamwRule,
  layout: codeLayout,
  kernel: adamw8bitKernel,
};
