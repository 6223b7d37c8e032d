/**
 * Requests that change something on the hub, for `@huggingface/hub`: each is repeated where that is safe, so that a
 * connection that breaks once does not end an upload.
 *
 * @module
 */
import { HubError } from "./hub_errors.ts";
import { apiFetch, type HubConnection, isTransient, waitToRetry } from "./hub_fetch.ts";

/**
 * What `@huggingface/hub` is given for a token. It wants one that begins so; the connection's fetch puts the real one in
 * its place, for requests to the hub itself alone.
 */
export const TOKEN_FORM = "hf_";

/** Tries of one request. */
const TRIES = 4;

/** A connection that sends fewer bytes per millisecond than this is given up. */
const SLOWEST_BYTES_PER_MS = 20;

/** Bytes of a request's body; 0 where nobody can tell. */
function bodyBytes(body: BodyInit | null | undefined): number {
  if (typeof body === "string") return body.length;
  return body instanceof Blob ? body.size : 0;
}

/** The same connection with time to send so many bytes before the answer. */
function patientFor(connection: HubConnection, bytes: number): HubConnection {
  const connectMs = connection.timeouts.connectMs + bytes / SLOWEST_BYTES_PER_MS;
  return { ...connection, timeouts: { ...connection.timeouts, connectMs } };
}

/**
 * A `fetch` for calls of `@huggingface/hub` that upload. A request is sent again when nobody answers or the answer is a
 * passing error, but for a commit that opens a pull request: sent twice it could open two.
 */
export function uploadFetch(connection: HubConnection): typeof fetch {
  return async (input, init = {}) => {
    const address = input instanceof Request ? input.url : String(input);
    const opensRequest = /\/commit\/[^?]*\?create_pr=1$/.test(address);
    const send = apiFetch(patientFor(connection, bodyBytes(init.body)));
    for (let attempt = 0;; attempt++) {
      const isLast = attempt + 1 >= TRIES || opensRequest;
      let retryAfter: string | null = null;
      try {
        const response = await send(address, init);
        if (isLast || !isTransient(response.status)) return response;
        retryAfter = response.headers.get("Retry-After");
      } catch (error) {
        if (init.signal?.aborted) throw init.signal.reason;
        if (isLast || !(error instanceof HubError && error.failure === "offline")) throw error;
      }
      await waitToRetry(connection, attempt, retryAfter);
    }
  };
}
