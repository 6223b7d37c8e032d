/**
 * Errors as OpenAI's interface has them, which its clients turn into exceptions by status.
 * @module
 */

/** What a status means to a client. */
const TYPES: Readonly<Record<number, string>> = {
  400: "invalid_request_error",
  401: "authentication_error",
  404: "not_found_error",
  405: "invalid_request_error",
  408: "timeout_error",
  409: "conflict_error",
  413: "invalid_request_error",
  429: "rate_limit_error",
  500: "server_error",
  503: "service_unavailable_error",
};

/**
 * Statuses that the server answers with.
 *
 * @example
 * ```ts
 * import type { ErrorStatus } from "@peft/webgpu/serve";
 *
 * const passing: ErrorStatus[] = [408, 429, 503]; // a client may try again after a while
 * const mayTryAgain = ({ status }: Response) => (passing as number[]).includes(status);
 * console.log(mayTryAgain(new Response(null, { status: 429 }))); // true
 * ```
 */
export type ErrorStatus = 400 | 401 | 404 | 405 | 408 | 409 | 413 | 429 | 500 | 503;

/**
 * The body of an answer that is an error.
 *
 * @example
 * ```ts
 * import { ApiError, type ErrorBody } from "@peft/webgpu/serve";
 *
 * const body: ErrorBody = new ApiError(400, "top_p: a number up to 1 is required", "invalid_value", "top_p").body;
 * console.log(body.error.type, body.error.param); // invalid_request_error top_p
 * ```
 */
export interface ErrorBody {
  /** What went wrong: for people, its kind, the field that is wrong, and a word for programs. */
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string | null;
  };
}

/**
 * A request that cannot be answered, and what its client is told.
 *
 * @example
 * ```ts
 * import { ApiError } from "@peft/webgpu/serve";
 *
 * const error = new ApiError(404, 'the model "gpt-9" does not exist', "model_not_found", "model");
 * console.log(error.status, error.message);
 * ```
 */
export class ApiError extends Error {
  /** Always "ApiError". */
  override readonly name = "ApiError";

  /**
   * An error with what its client is told.
   * @param status the HTTP status
   * @param code a word that programs may compare, such as `model_not_found`
   * @param param the field of the request that is wrong
   */
  constructor(
    readonly status: ErrorStatus,
    message: string,
    readonly code: string | null = null,
    readonly param: string | null = null,
  ) {
    super(message);
  }

  /** What is sent. */
  get body(): ErrorBody {
    const { message, param, code, status } = this;
    return { error: { message, type: TYPES[status], param, code } };
  }
}

/** Whether an answer ended because its time was up. */
export const isTimeout = (error: unknown): boolean =>
  error instanceof DOMException && error.name === "TimeoutError";

/** What a client is told of an error that it did not cause. */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (isTimeout(error)) {
    return new ApiError(408, "the answer took longer than this server allows", "timeout");
  }
  if (error instanceof DOMException && error.name === "AbortError") {
    return new ApiError(408, "the client left", "cancelled"); // nobody reads it
  }
  const message = error instanceof Error ? error.message : String(error);
  return new ApiError(500, message, "internal_error");
}
