/**
 * Values by name into the parameters of a module.
 * @module
 */

import { sameShape, showShape, type Tensor } from "../autograd/mod.ts";
import { type LoadResult, mismatchError, type StateDict } from "./state_dict.ts";

/**
 * Copies values into a module's parameters.
 * @param options `strict` (default): missing and unexpected names are errors too
 * @throws {TypeError} listing every mismatch; nothing is copied then
 */
export function loadInto(
  own: StateDict,
  state: ReadonlyMap<string, Tensor>,
  options: { readonly strict?: boolean },
): LoadResult {
  const missingKeys = [...own.keys()].filter((name) => !state.has(name));
  const unexpectedKeys = [...state.keys()].filter((name) => !own.has(name));
  const lines: string[] = [];
  for (const [name, parameter] of own) {
    const value = state.get(name);
    if (!value) continue;
    if (!sameShape(value.shape, parameter.shape)) {
      lines.push(`"${name}" expected ${showShape(parameter.shape)}, found ${showShape(value.shape)}`);
    } else if (value.dtype !== parameter.dtype) {
      lines.push(`"${name}" expected ${parameter.dtype}, found ${value.dtype}`);
    }
  }
  if (options.strict ?? true) {
    lines.push(...missingKeys.map((name) => `"${name}" is missing`));
    lines.push(...unexpectedKeys.map((name) => `"${name}" is unexpected`));
  }
  if (lines.length > 0) throw mismatchError("Cannot load the state dict", lines);
  for (const [name, parameter] of own) {
    const value = state.get(name);
    if (value && parameter.size > 0) parameter.device.copy(value.view, parameter.view);
  }
  return { missingKeys, unexpectedKeys };
}
