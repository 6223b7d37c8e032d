/**
 * The page's end of the engine: calls as promises, events to a listener.
 * @module
 */

import type { CallName, Calls, EngineEvent, FromEngine, StudioError, ToEngine } from "../protocol.ts";

/** What a worker is, as far as calls go; a `MessagePort` is one too. */
export interface EnginePort {
  postMessage(message: ToEngine, transfer?: Transferable[]): void;
  onmessage: ((event: MessageEvent<FromEngine>) => void) | null;
}

/** A call that failed, with what the page shows. */
export class EngineError extends Error {
  /** For those who tell errors by their names. */
  override name = "EngineError";
  /** What the engine says of it. */
  readonly error: StudioError;

  /** @param error as the engine sent it */
  constructor(error: StudioError) {
    super(`${error.title} ${error.whatToDo}`);
    this.error = error;
  }
}

interface Pending {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: EngineError) => void;
  readonly onEvent: ((event: EngineEvent) => void) | undefined;
}

/** A started engine. */
export class EngineClient {
  readonly #port: EnginePort;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  /** Receives events that belong to no call: a lost device. */
  onEvent: ((event: EngineEvent) => void) | null = null;

  /** Takes the port for itself. @param port the worker */
  constructor(port: EnginePort) {
    this.#port = port;
    port.onmessage = ({ data }) => this.#receive(data);
  }

  /**
   * Calls the engine.
   * @param options `onEvent`: receives the call's events; `signal`: cancels it
   * @throws {EngineError} what the engine answers
   */
  call<Name extends CallName>(
    call: Name,
    params: Calls[Name]["params"],
    options: { onEvent?: (event: EngineEvent) => void; signal?: AbortSignal } = {},
  ): Promise<Calls[Name]["result"]> {
    const id = this.#nextId++;
    const { onEvent, signal } = options;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve: resolve as (result: unknown) => void, reject, onEvent });
      this.#port.postMessage({ id, call, params } as ToEngine);
      const cancel = () => this.#port.postMessage({ cancel: id });
      if (signal?.aborted) cancel();
      else signal?.addEventListener("abort", cancel, { once: true });
    });
  }

  #receive(message: FromEngine): void {
    if ("event" in message) {
      if ("id" in message) this.#pending.get(message.id)?.onEvent?.(message);
      else this.onEvent?.(message);
      return;
    }
    const pending = this.#pending.get(message.id);
    if (!pending) return;
    this.#pending.delete(message.id);
    if (message.ok) pending.resolve(message.result);
    else pending.reject(new EngineError(message.error));
  }
}
