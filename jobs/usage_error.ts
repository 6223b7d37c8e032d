/**
 * The error of a command that was asked for wrongly.
 * @module
 */

/** A mistake of the user: printed without a stack, exit code 1. */
export class UsageError extends Error {
  override name = "UsageError";
}
