/**
 * Adapters of several methods on one model (`peft`'s `PeftMixedModel`): each linear layer holds them side by side. What
 * adapters add to a weight adds up; what one does to the input comes before what those activated earlier do.
 * @module
 */

import type { PeftConfig } from "../config/peft_config.ts";
import { AdaptedLinear, isLinearTarget } from "../layers/adapted_linear.ts";
import type { PeftMethod } from "../methods/method.ts";
import { methodOf, peftMethods } from "../registry.ts";
import { quoteAll } from "../targets/names.ts";
import { isPromptLearning } from "../virtual_tokens/virtual_token_types.ts";
import type { Conv1D, Linear } from "../../nn/mod.ts";

/**
 * A method for a mixed model, whose linear layers hold adapters of any method.
 * @throws {RangeError} if the method does not adapt linear layers
 */
export function mixedMethod(config: PeftConfig, name: string): PeftMethod {
  const method = isPromptLearning(config) ? null : methodOf(config.peftType);
  if (!method?.linear) {
    const able = peftMethods().filter(([, { linear }]) => linear).map(([type]) => type);
    throw new RangeError(
      `Cannot add adapter "${name}": The provided \`peft_type\` '${config.peftType}' is not compatible with a mixed model. Compatible types are: ${
        quoteAll(able)
      }`,
    );
  }
  return {
    ...method,
    supports: isLinearTarget,
    wrap: (module, state) =>
      new AdaptedLinear(
        module as Conv1D | Linear,
        state,
        (own, facts, context) => methodOf(own.peftType).linear!(own, facts, context),
      ),
  };
}
