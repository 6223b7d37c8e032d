/**
 * HTTP for the model hub: the token goes to the hub's own origin alone, redirects are followed by hand and checked,
 * connections and bodies have time limits.
 *
 * @module
 */
import { HubError } from "./hub_errors.ts";

/**
 * Time limits of hub requests, in milliseconds.
 *
 * @example
 * ```ts
 * import { AutoTokenizer } from "@peft/webgpu";
 * import type { HubTimeouts } from "@peft/webgpu/hub";
 *
 * const patient: HubTimeouts = { connectMs: 60_000, stallMs: 120_000 }; // a slow line
 * await AutoTokenizer.fromPretrained("gpt2", { timeouts: patient });
 * ```
 */
export interface HubTimeouts {
  /** Until the server answers with headers; default 10,000. */
  connectMs?: number;
  /** Between two pieces of a body; default 30,000. */
  stallMs?: number;
  /** First wait before a retry, doubled each time; default 500. */
  retryMs?: number;
}

/** A connection to one hub. */
export interface HubConnection {
  /** The hub's address without a final slash. */
  hubUrl: string;
  /** The given fetch or the global one. */
  fetch: typeof fetch;
  /** Access token; sent to the hub's origin alone, and only over https or to this machine. */
  token: string | undefined;
  /** Limits with their defaults filled in. */
  timeouts: Required<HubTimeouts>;
}

/** API answers are read whole up to this size. */
const MAX_API_BYTES = 10 * 1024 * 1024;
const MAX_REDIRECTS = 10;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);

/** Hosts that only a hub on this machine or network may point to. */
const PRIVATE_HOST =
  /^(localhost|.*\.localhost|127\.|10\.|0\.|169\.254\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|\[(::1?|f[cd].*|fe80.*|::ffff:.*)\])/i;

function isLoopback(url: URL): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(url.hostname);
}

/** Where a redirect leads, when it may be followed. */
function redirectTarget(from: URL, location: string | null, hub: URL): URL {
  let to: URL | undefined;
  try {
    to = new URL(location ?? "", from);
  } catch {
    // refused below
  }
  const allowed = to && location &&
    (to.protocol === "https:" || to.protocol === "http:" && from.protocol === "http:") &&
    (!PRIVATE_HOST.test(to.hostname) || PRIVATE_HOST.test(hub.hostname));
  if (allowed) return to!;
  throw new HubError(
    "bad-answer",
    `Cannot fetch from ${hub.origin}: a redirect must lead to a public https address, received ${
      to && location ? `${to.protocol}//${to.host}` : "none"
    }`,
  );
}

function withToken(connection: HubConnection, url: URL, headers: HeadersInit | undefined): Headers {
  const merged = new Headers(headers);
  merged.delete("Authorization");
  const own = url.origin === new URL(connection.hubUrl).origin &&
    (url.protocol === "https:" || isLoopback(url));
  if (connection.token && own) merged.set("Authorization", `Bearer ${connection.token}`);
  return merged;
}

/** One request without redirects, with the connect limit. The signal given stays in force for the body. */
async function once(
  connection: HubConnection,
  url: URL,
  init: RequestInit,
  redirect: RequestRedirect = "manual",
): Promise<Response> {
  const limit = new AbortController();
  const timer = setTimeout(
    () => limit.abort(new Error(`no answer within ${connection.timeouts.connectMs} ms`)),
    connection.timeouts.connectMs,
  );
  try {
    const signal = init.signal ? AbortSignal.any([init.signal, limit.signal]) : limit.signal;
    return await connection.fetch(url, {
      ...init,
      signal,
      redirect,
      headers: withToken(connection, url, init.headers),
    });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new HubError("offline", `Cannot reach ${url.origin}: ${reason}`, { cause });
  } finally {
    clearTimeout(timer);
  }
}

/**
 * A request that follows redirects.
 *
 * @throws {HubError} "offline" when nobody answers in time, "bad-answer" for a redirect that must not be followed.
 */
export async function request(
  connection: HubConnection,
  address: string,
  init: RequestInit = {},
): Promise<Response> {
  const hub = new URL(connection.hubUrl);
  let url = new URL(address);
  for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
    const response = await once(connection, url, init);
    if (response.type === "opaqueredirect") { // browsers do not show where it leads: let them follow it
      return await once(connection, url, init, "follow");
    }
    if (!REDIRECTS.has(response.status)) return response;
    await response.body?.cancel();
    url = redirectTarget(url, response.headers.get("Location"), hub);
  }
  throw new HubError(
    "bad-answer",
    `Cannot fetch from ${hub.origin}: received more than ${MAX_REDIRECTS} redirects`,
  );
}

/**
 * The pieces of a body.
 *
 * @throws {HubError} "offline" when the connection breaks or nothing arrives for `stallMs`.
 */
export async function* bodyOf(response: Response, stallMs: number): AsyncIterableIterator<Uint8Array> {
  const reader = response.body?.getReader();
  if (!reader) return;
  let finished = false;
  try {
    for (;;) {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const stalled = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error(`nothing arrived for ${stallMs} ms`)), stallMs);
      });
      let piece;
      try {
        piece = await Promise.race([reader.read(), stalled]);
      } catch (cause) {
        const reason = cause instanceof Error ? cause.message : String(cause);
        throw new HubError("offline", `Cannot finish the download: ${reason}`, { cause });
      } finally {
        clearTimeout(timer);
      }
      if (piece.done) break;
      yield piece.value;
    }
    finished = true;
  } finally {
    if (!finished) reader.cancel().catch(() => {}); // the connection may be gone already
  }
}

/**
 * A `fetch` for API calls of `@huggingface/hub`: {@linkcode request}, with the body read whole under the limits.
 */
export function apiFetch(connection: HubConnection): typeof fetch {
  return async (input, init) => {
    const address = input instanceof Request ? input.url : String(input);
    const response = await request(connection, address, init);
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    let size = 0;
    for await (const piece of bodyOf(response, connection.timeouts.stallMs)) {
      size += piece.length;
      if (size > MAX_API_BYTES) {
        throw new HubError(
          "bad-answer",
          `Cannot read the answer of ${connection.hubUrl}: it exceeds ${MAX_API_BYTES} bytes`,
        );
      }
      pieces.push(new Uint8Array(piece));
    }
    const headers = new Headers(response.headers);
    headers.delete("Content-Encoding");
    headers.delete("Content-Length");
    const empty = [204, 205, 304].includes(response.status);
    return new Response(empty ? null : new Blob(pieces), { status: response.status, headers });
  };
}

/** Waits before retry number `attempt` (from 0): the server's Retry-After (at most a minute), or doubling waits. */
export async function waitToRetry(
  connection: HubConnection,
  attempt: number,
  retryAfter: string | null | undefined,
): Promise<void> {
  const asked = Number(retryAfter ?? NaN) * 1000;
  const ms = asked >= 0 ? Math.min(asked, 60_000) : connection.timeouts.retryMs * 2 ** attempt;
  await new Promise((resolve) => setTimeout(resolve, ms));
}

/** True for answers that a later try may improve. */
export function isTransient(status: number): boolean {
  return status === 408 || status === 429 || status >= 500;
}

/** The error for an answer that is not a success. */
export function statusError(status: number, what: string, hubUrl: string): HubError {
  if (status === 401 || status === 403) {
    return new HubError(
      "unauthorized",
      `Cannot download ${what}: it does not exist or needs permission (status ${status}); ` +
        "check the name, accept the model's terms on its page, and set HF_TOKEN or pass a token",
      { status },
    );
  }
  if (status === 404) {
    return new HubError(
      "not-found",
      `Cannot download ${what}: ${hubUrl} has no such model, revision or file`,
      { status },
    );
  }
  return new HubError("status", `Cannot download ${what}: status 200 is required, received ${status}`, {
    status,
  });
}
