/**
 * Every kernel of the library, for the checks that walk them all and for printing one.
 * @module
 */
import type { KernelSpec } from "./kernel_spec.ts";

/** Every kernel, generated variants with their default options included; names are unique. */
export function allKernels(): KernelSpec[] {
  return [];
}
