/**
 * What can go wrong between a model id and a folder on disk, as types that callers can tell apart.
 *
 * @module
 */

/**
 * Why the hub did not give a model.
 *
 * @example
 * ```ts
 * import { AutoTokenizer, HubError } from "@peft/webgpu";
 * import type { HubFailure } from "@peft/webgpu/hub";
 *
 * const cures: Partial<Record<HubFailure, string>> = { unauthorized: "Log in first.", "not-cached": "Go online once." };
 * try {
 *   await AutoTokenizer.fromPretrained("org/no-such-model", { localFilesOnly: true });
 * } catch (error) {
 *   if (!(error instanceof HubError)) throw error;
 *   console.log(cures[error.failure] ?? error.message); // Go online once.
 * }
 * ```
 */
export type HubFailure =
  /** 401 or 403: a token is missing, wrong or not allowed, or the licence was not accepted. */
  | "unauthorized"
  /** 404: no such model, revision or required file. */
  | "not-found"
  /** The server could not be reached, or broke off more often than is retried. */
  | "offline"
  /** `localFilesOnly`, and the cache does not have the files. */
  | "not-cached"
  /** The server answered with something that is not what it announced: wrong hash, size, or no API answer. */
  | "bad-answer"
  /** Any other status (429, 5xx, …) after the retries. */
  | "status";

/**
 * Thrown when a model cannot be got from the hub or its cache.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, HubError } from "@peft/webgpu";
 *
 * try {
 *   await AutoModelForCausalLM.fromPretrained("org/no-such-model", { localFilesOnly: true });
 * } catch (error) {
 *   if (!(error instanceof HubError)) throw error;
 *   console.log(error.failure, error.message); // not-cached
 * }
 * ```
 */
export class HubError extends Error {
  /** "HubError". */
  override name = "HubError";
  /** Why, for programs. */
  readonly failure: HubFailure;
  /** The HTTP status, where there was an answer. */
  readonly status?: number;

  /**
   * An error with its reason.
   *
   * @param failure why, for programs.
   * @param message why, for people.
   * @param options `status` of the answer and `cause`.
   */
  constructor(failure: HubFailure, message: string, options: { status?: number; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.failure = failure;
    this.status = options.status;
  }
}
