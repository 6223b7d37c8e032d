/**
 * An engine behind messages: those of a Web Worker, or of a port.
 * @module
 */

import type { FromEngine, Request, ToEngine } from "../protocol.ts";
import { Engine, type EngineHost } from "./engine.ts";
import { CANCELLED, studioError } from "./errors.ts";

/** What a worker's global scope is, as far as it is used; a `MessagePort` is one too. */
export interface EngineScope {
  postMessage(message: FromEngine): void;
  onmessage: ((event: MessageEvent<ToEngine>) => void) | null;
}

/** Lets an engine answer the messages of a scope. */
export function serve(scope: EngineScope, host: EngineHost): Engine {
  const engine = new Engine(host, (event) => scope.postMessage(event));
  const running = new Map<number, AbortController>();
  const run = async ({ id, call, params }: Request) => {
    const abort = new AbortController();
    running.set(id, abort);
    try {
      const result = await engine.call(call, params, { id, signal: abort.signal });
      scope.postMessage({ id, ok: true, result });
    } catch (error) {
      scope.postMessage({
        id,
        ok: false,
        error: studioError(abort.signal.aborted ? CANCELLED : error, call),
      });
    } finally {
      running.delete(id);
    }
  };
  scope.onmessage = ({ data }) => {
    if ("cancel" in data) running.get(data.cancel)?.abort(CANCELLED);
    else void run(data);
  };
  return engine;
}

/** Lets an engine answer the page that started this worker. */
export function serveWorker(more: Pick<EngineHost, "makeHelper"> = {}): void {
  const scope = globalThis as unknown as EngineScope & { navigator: EngineHost };
  const { storage, locks } = scope.navigator;
  serve(scope, { storage: storage ?? {}, locks, ...more });
}
