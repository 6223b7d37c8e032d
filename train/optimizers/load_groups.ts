/**
 * The groups of an optimizer's state that is loaded.
 * @module
 */

import type { Tensor } from "../../autograd/mod.ts";
import type { OptimizerStateDict } from "./optimizer.ts";

/**
 * Takes over the options of a state's groups.
 * @throws {TypeError} unless groups and sizes are those of the optimizer; nothing is taken over then
 */
export function loadGroups(
  groups: readonly { readonly params: readonly Tensor[] }[],
  { paramGroups, state }: OptimizerStateDict,
  sizesOf: (index: number) => Readonly<Record<string, number>>,
): void {
  const counts = (all: readonly { readonly params: readonly unknown[] }[]) =>
    all.map(({ params }) => params.length).join(", ");
  if (counts(groups) !== counts(paramGroups)) {
    throw new TypeError(
      `Cannot load the optimizer's state: groups of ${counts(groups)} parameters are required, received ${
        counts(paramGroups)
      }`,
    );
  }
  const params = groups.flatMap(({ params }) => params);
  for (const [index, { buffers }] of state) {
    if (!params[index]) {
      throw new TypeError(
        `Cannot load the optimizer's state: ${params.length} parameters are required, received one of number ${index}`,
      );
    }
    for (const [name, size] of Object.entries(sizesOf(index))) {
      const received = buffers[name]?.length;
      if (received === size) continue;
      throw new TypeError(
        `Cannot load the optimizer's state: "${name}" of parameter ${index} must have ${size} elements, received ${
          received ?? "none"
        }`,
      );
    }
  }
  groups.forEach((group, i) => {
    const { params: _, ...options } = paramGroups[i];
    Object.assign(group, options);
  });
}
